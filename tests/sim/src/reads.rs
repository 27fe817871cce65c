//! What a host answers besides streams: as a PDS for its repos, as a PLC directory and relay for all.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

pub use crate::fault::{OddAnswer, ReadFault, ReadPlan};

use crate::{
    fault::When,
    http::{Answer, Request},
    model::tid_text,
    server::own_pages,
    signing,
    sim::{Shared, State, now_us},
    world::{Standing, index},
};

pub(crate) enum Reply {
    Answer(Answer),
    Truncated(Answer),
    Hang,
}

/// Answers one read.
pub(crate) fn answer(shared: &Shared, host: usize, request: &Request) -> Reply {
    if let Some(answer) = own_pages(shared, host, request) {
        return Reply::Answer(answer);
    }
    let number = shared.hosts[host].requests.fetch_add(1, Ordering::Relaxed);
    if let Some(method) = request.path.strip_prefix("/xrpc/") {
        shared.asked.note(method);
    }
    let fault = due(shared, host, (request, number));
    if let Some(fault) = &fault {
        shared.fired.note(&fault.name());
    }
    match &fault {
        Some(ReadFault::Status { status, retry_after }) => {
            let answer = Answer::error(*status, if *status == 429 { "RateLimitExceeded" } else { "Planned" });
            return Reply::Answer(match retry_after {
                Some(text) => answer.with("retry-after", text.clone()),
                None => answer,
            });
        }
        Some(ReadFault::Hang) => return Reply::Hang,
        Some(ReadFault::Redirect(to)) => {
            return Reply::Answer(Answer { status: 302, headers: vec![("location", to.clone())], body: Vec::new() });
        }
        Some(ReadFault::Move) => move_on(shared, request),
        _ => {}
    }
    let state = shared.read();
    let context = RequestContext { shared, state: &state, host, request, fault: fault.as_ref() };
    let mut answer = context.answer().unwrap_or_else(|refusal| refusal);
    if let Some(ReadFault::Odd(odd)) = fault
        && let Ok(mut json) = serde_json::from_slice(&answer.body)
    {
        odd.alter(&mut json);
        answer.body = json.to_string().into_bytes();
    }
    match fault {
        Some(ReadFault::Truncate) => Reply::Truncated(answer),
        _ => Reply::Answer(answer),
    }
}

fn due(shared: &Shared, host: usize, (request, number): (&Request, u64)) -> Option<ReadFault> {
    let host = &shared.hosts[host];
    let holds = |on: &str| {
        request.path.contains(on) || request.query.iter().any(|(name, value)| format!("{name}={value}").contains(on))
    };
    let due = host.reads.faults.iter().find(|(on, when, _)| {
        holds(on)
            && match when {
                When::At(at) => number == *at,
                When::Every(count) => (number + 1).is_multiple_of(*count),
                When::EveryMs(_) => false,
                When::OneIn(count) => host.one_in(*count),
            }
    });
    due.map(|(_, _, fault)| fault.clone())
}

/// The repo that is asked for gets another like.
fn move_on(shared: &Shared, request: &Request) {
    let Some(did) = request.first("repo").or(request.first("did")) else { return };
    shared.happen(|world| {
        if let Some(actor) = world.find_actor(did) {
            world.now_us = now_us().max(world.now_us + 1);
            crate::making::like(world, actor);
        }
    });
}

type Answered = Result<Answer, Answer>;

struct RequestContext<'s> {
    shared: &'s Shared,
    state: &'s State,
    host: usize,
    request: &'s Request,
    fault: Option<&'s ReadFault>,
}

fn refuse(error: &str) -> Answer {
    Answer::error(400, error)
}

impl RequestContext<'_> {
    fn answer(&self) -> Answered {
        match self.request.path.as_str() {
            "/xrpc/com.atproto.repo.listRecords" => self.list_records(),
            "/xrpc/com.atproto.repo.getRecord" => self.get_record(),
            "/xrpc/com.atproto.repo.describeRepo" => self.describe_repo(),
            "/xrpc/com.atproto.sync.getLatestCommit" => self.latest_commit(),
            "/xrpc/com.atproto.sync.getRepo" => self.repo_car(),
            "/xrpc/com.atproto.sync.getRepoStatus" => self.repo_status(),
            "/xrpc/com.atproto.sync.listRepos" => self.list_repos(),
            "/xrpc/com.atproto.sync.listReposByCollection" => self.list_repos_by_collection(),
            "/xrpc/com.atproto.server.describeServer" => Ok(self.describe_server()),
            "/xrpc/com.atproto.identity.resolveHandle" => self.resolve_handle(),
            "/xrpc/network.bsky.jetstream.getZstdDictionary" => self.dictionary(),
            "/xrpc/_health" => Ok(Answer::json(&json!({"version": "sim"}))),
            "/.well-known/atproto-did" => self.well_known_did(),
            "/.well-known/did.json" => self.web_document(),
            path => self.plc(path),
        }
    }

    /// The actor of a DID or handle.
    fn actor(&self, name: &str) -> Option<u32> {
        let world = &self.state.world;
        match name.strip_prefix("actor").and_then(|rest| rest.strip_suffix(".test")) {
            Some(number) => number.parse().ok().filter(|number: &u32| index(*number) < world.actor_count()),
            None => world.find_actor(name),
        }
    }

    fn parameter(&self, name: &str) -> Result<&str, Answer> {
        self.request.first(name).ok_or_else(|| refuse("InvalidRequest"))
    }

    fn limit(&self, default: usize, max: usize) -> Result<usize, Answer> {
        match self.request.first("limit") {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
                _ => Err(refuse("InvalidRequest")),
            },
        }
    }

    /// The actor whose repo is here, whatever its standing.
    fn repo_here(&self, parameter: &str) -> Result<u32, Answer> {
        let here = |actor: &u32| index(self.state.world.actor(*actor).pds) == self.host;
        self.actor(self.parameter(parameter)?).filter(here).ok_or_else(|| refuse("RepoNotFound"))
    }

    /// Likewise, where it is shown.
    fn shown_repo(&self, parameter: &str) -> Result<u32, Answer> {
        let actor = self.repo_here(parameter)?;
        match self.state.world.actor(actor).standing {
            Standing::Active => Ok(actor),
            Standing::Inactive("takendown") => Err(refuse("RepoTakendown")),
            Standing::Inactive("suspended") => Err(refuse("RepoSuspended")),
            Standing::Inactive("deleted") => Err(refuse("RepoNotFound")),
            Standing::Inactive(_) => Err(refuse("RepoDeactivated")),
        }
    }

    fn list_records(&self) -> Answered {
        let actor = self.shown_repo("repo")?;
        let collection = self.parameter("collection")?;
        let limit = self.limit(50, 100)?;
        let world = &self.state.world;
        let did = match self.fault {
            Some(ReadFault::WrongDid) => world.did((actor + 1) % u32::try_from(world.actor_count()).expect("few")),
            _ => world.did(actor),
        };
        let repo = self.shared.folded.repo(world, actor);
        let cursor = self.request.first("cursor");
        let oldest_first = self.request.first("reverse") == Some("true");
        let record = |(rkey, (cid, json)): (&str, &(ipld_core::cid::Cid, Value))| json!({"uri": format!("at://{did}/{collection}/{rkey}"), "cid": cid.to_string(), "value": json});
        let page: Vec<(&str, _)> = if oldest_first {
            repo.list(collection).filter(|(rkey, _)| cursor.is_none_or(|cursor| *rkey > cursor)).take(limit).collect()
        } else {
            let older = repo.list(collection).rev();
            older.filter(|(rkey, _)| cursor.is_none_or(|cursor| *rkey < cursor)).take(limit).collect()
        };
        if self.fault == Some(&ReadFault::Empty) {
            return Ok(Answer::json(&json!({"records": []})));
        }
        let mut body = json!({"records": page.iter().copied().map(record).collect::<Vec<_>>()});
        if let Some((last, _)) = page.last()
            && page.len() == limit
        {
            body["cursor"] = (*last).into();
        }
        if self.fault == Some(&ReadFault::Omit)
            && let Some(records) = body["records"].as_array_mut().filter(|records| !records.is_empty())
        {
            records.remove(0);
        }
        if self.fault == Some(&ReadFault::SameCursor) {
            body["cursor"] = cursor.unwrap_or("3zzzzzzzzzzzz").into();
        }
        Ok(Answer::json(&body))
    }

    fn get_record(&self) -> Answered {
        let actor = self.shown_repo("repo")?;
        let (collection, rkey) = (self.parameter("collection")?, self.parameter("rkey")?);
        let world = &self.state.world;
        let repo = self.shared.folded.repo(world, actor);
        let Some((cid, json)) = repo.records.get(&format!("{collection}/{rkey}")) else {
            return Err(refuse("RecordNotFound"));
        };
        let uri = format!("at://{}/{collection}/{rkey}", world.did(actor));
        Ok(Answer::json(&json!({"uri": uri, "cid": cid.to_string(), "value": json})))
    }

    fn describe_repo(&self) -> Answered {
        let actor = self.shown_repo("repo")?;
        let world = &self.state.world;
        Ok(Answer::json(&json!({
            "did": world.did(actor), "handle": world.handle(actor), "handleIsCorrect": true,
            "didDoc": self.document(actor), "collections": [],
        })))
    }

    fn latest_commit(&self) -> Answered {
        let actor = self.shown_repo("did")?;
        let world = &self.state.world;
        let repo = self.shared.folded.repo(world, actor);
        let cid = repo.commit_cid(world, actor).to_string();
        Ok(Answer::json(&json!({"cid": cid, "rev": tid_text(repo.rev)})))
    }

    fn repo_car(&self) -> Answered {
        let actor = self.shown_repo("did")?;
        let world = &self.state.world;
        let repo = self.shared.folded.repo(world, actor);
        Ok(Answer::bytes("application/vnd.ipld.car", repo.car(world, actor)))
    }

    fn status_of(&self, actor: u32) -> Value {
        let held = self.state.world.actor(actor);
        let mut status = json!({"did": self.state.world.did(actor), "active": held.standing == Standing::Active});
        match held.standing {
            Standing::Active => status["rev"] = tid_text(held.commit_rev).into(),
            Standing::Inactive(how) => status["status"] = how.into(),
        }
        status
    }

    fn repo_status(&self) -> Answered {
        let actor = self.repo_here("did")?;
        match self.state.world.actor(actor).standing {
            Standing::Inactive("deleted") => Err(refuse("RepoNotFound")),
            _ => Ok(Answer::json(&self.status_of(actor))),
        }
    }

    /// A page of these actors.
    fn page(&self, actors: impl Iterator<Item = u32>, limit: usize, show: impl Fn(u32) -> Value) -> Answered {
        let after = match self.request.first("cursor") {
            None => None,
            Some(text) => Some(text.parse::<u32>().map_err(|_| refuse("InvalidRequest"))?),
        };
        let actors: Vec<u32> = actors.filter(|actor| after.is_none_or(|after| *actor > after)).take(limit).collect();
        let mut body = json!({"repos": actors.iter().map(|actor| show(*actor)).collect::<Vec<_>>()});
        if let Some(last) = actors.last()
            && actors.len() == limit
        {
            body["cursor"] = last.to_string().into();
        }
        if self.fault == Some(&ReadFault::SameCursor) {
            body["cursor"] = self.request.first("cursor").unwrap_or("0").into();
        }
        Ok(Answer::json(&body))
    }

    fn all_actors(&self) -> impl Iterator<Item = u32> {
        0..u32::try_from(self.state.world.actor_count()).expect("few actors")
    }

    fn list_repos(&self) -> Answered {
        let world = &self.state.world;
        let here = self.all_actors().filter(|actor| {
            let held = world.actor(*actor);
            index(held.pds) == self.host && held.standing != Standing::Inactive("deleted")
        });
        self.page(here, self.limit(500, 1000)?, |actor| {
            let mut row = self.status_of(actor);
            row["rev"] = tid_text(world.actor(actor).commit_rev).into();
            row["head"] = crate::wire::some_cid(world.did(actor)).into();
            row
        })
    }

    /// Repos that ever had a record of a collection, as a relay keeps them.
    fn list_repos_by_collection(&self) -> Answered {
        let collection = self.parameter("collection")?;
        let world = &self.state.world;
        let ever = |actor: &u32| {
            let held = world.actor(*actor);
            held.standing != Standing::Inactive("deleted")
                && held.events.iter().any(|event| world.events()[index(*event)].concerns(collection))
        };
        let limit = self.limit(500, 2000)?;
        self.page(self.all_actors().filter(ever), limit, |actor| json!({"did": world.did(actor)}))
    }

    fn describe_server(&self) -> Answer {
        let did = format!("did:web:localhost%3A{}", self.shared.hosts[self.host].address.port());
        Answer::json(&json!({"did": did, "availableUserDomains": [".test"], "inviteCodeRequired": false}))
    }

    fn dictionary(&self) -> Answered {
        let dictionary = self.shared.dictionary();
        match self.request.first("id") {
            Some(id) if id != dictionary.id.to_string() => Err(refuse("UnknownZstdDictionary")),
            _ => Ok(Answer::bytes("application/octet-stream", dictionary.bytes.to_vec())),
        }
    }

    /// Who a handle is: the handle is the host that was asked for.
    fn well_known_did(&self) -> Answered {
        let host = self.request.header("host").unwrap_or_default().split(':').next().unwrap_or_default();
        let actor = self.actor(host).ok_or_else(|| Answer::error(404, "NotFound"))?;
        Ok(Answer::bytes("text/plain", self.state.world.did(actor).as_bytes().to_vec()))
    }

    fn resolve_handle(&self) -> Answered {
        let actor = self.actor(self.parameter("handle")?).ok_or_else(|| refuse("HandleNotFound"))?;
        Ok(Answer::json(&json!({"did": self.state.world.did(actor)})))
    }

    fn document(&self, actor: u32) -> Value {
        let world = &self.state.world;
        let did = match self.fault {
            Some(ReadFault::WrongDid) => "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa",
            _ => world.did(actor),
        };
        let pds = match self.fault {
            Some(ReadFault::WrongPds(url)) => url.clone(),
            _ => format!("http://{}", self.shared.hosts[index(world.actor(actor).pds)].address),
        };
        json!({
            "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
            "id": did,
            "alsoKnownAs": [format!("at://{}", world.handle(actor))],
            "verificationMethod": [{
                "id": format!("{did}#atproto"), "type": "Multikey", "controller": did,
                "publicKeyMultibase": signing::public_key(world, actor),
            }],
            "service": [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds}],
        })
    }

    fn web_document(&self) -> Answered {
        let did = format!("did:web:localhost%3A{}", self.shared.hosts[self.host].address.port());
        let actor = self.state.world.find_actor(&did).ok_or_else(|| Answer::error(404, "NotFound"))?;
        Ok(Answer::json(&self.document(actor)))
    }

    /// `/did:plc:..`, and the little of its log that there is.
    fn plc(&self, path: &str) -> Answered {
        let not_found = || Answer::error(404, "NotFound");
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let did = parts.next().filter(|did| did.starts_with("did:plc:")).ok_or_else(not_found)?;
        let actor = self.state.world.find_actor(did).ok_or_else(not_found)?;
        if self.state.world.actor(actor).standing == Standing::Inactive("deleted") {
            return Err(Answer::error(410, "Gone"));
        }
        match parts.next() {
            None => Ok(Answer::json(&self.document(actor))),
            Some("data") => {
                let document = self.document(actor);
                Ok(Answer::json(&json!({"did": document["id"], "alsoKnownAs": document["alsoKnownAs"],
                    "verificationMethods": {"atproto": format!("did:key:{}", signing::public_key(&self.state.world, actor))},
                    "services": {"atproto_pds": {"type": "AtprotoPersonalDataServer",
                        "endpoint": document["service"][0]["serviceEndpoint"]}}})))
            }
            Some("log" | "log/audit") => Ok(Answer::json(&json!([]))),
            Some(_) => Err(not_found()),
        }
    }
}
