//! What should be shown by the history of the world, compared with what the program shows and holds.

use std::{
    collections::{BTreeSet, HashSet},
    time::{Duration, Instant},
};

use plyr_likes_sim::{
    accounts::Accounts,
    model::{Kind, Model, Record, State, What, Write, differences},
    sim::Sim,
    wire::time_text,
};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{hidden::Hidden, run::Run};
use crate::support::{
    comparison::{Truth, Who},
    dump,
    network::Stored,
};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the world's history, as far as upstreams send it, comes to.
pub struct Verdict {
    held: State,
    refused: BTreeSet<(String, String, i64)>,
    truth: Truth,
    hidden: Vec<Hidden>,
    tracks: Vec<String>,
}

impl Verdict {
    /// By all that has happened so far.
    pub fn of(sim: &Sim) -> Self {
        let state = sim.state();
        let world = &state.world;
        let writes: Vec<Write> = world.sent_writes().collect();
        let model = Model::of(&writes);
        let accounts = Accounts::of(world);
        let seen = accounts.seen(&writes);
        // The rows of hidden accounts are kept, and their likes are not counted; those of deleted ones are kept until they are purged.
        let mut held = model.state();
        held.retain(|key, _| !key.starts_with("count "));
        held.retain(|key, _| !key.split(' ').any(|part| accounts.is_gone(part)));
        held.extend(seen.state().into_iter().filter(|(key, _)| key.starts_with("count ")));
        let (mut truth, mut hidden) = (Truth::default(), Vec::new());
        for number in 0..u32::try_from(world.actor_count()).expect("few actors") {
            let did = world.did(number);
            if accounts.hides(did) {
                let theirs = || writes.iter().filter(|write| write.did == did);
                let lists = theirs().filter(|write| write.kind == Kind::List);
                let lists: BTreeSet<String> =
                    lists.map(|write| format!("at://{did}/fm.plyr.list/{}", write.rkey)).collect();
                hidden.push(Hidden {
                    did: did.to_owned(),
                    handle: world.handle(number),
                    is_deleted: accounts.is_gone(did),
                    has_written: theirs().any(|write| matches!(write.what, What::Valid { .. })),
                    lists: lists.into_iter().collect(),
                });
                continue;
            }
            // Likes of a hidden account's tracks are not shown either.
            let shows = |record: &Record| match record {
                Record::Like(like) => !like.subject.split('/').nth(2).is_some_and(|artist| accounts.hides(artist)),
                _ => true,
            };
            let records = seen.records().filter(|(owner, .., record)| *owner == did && shows(record));
            truth.take(Who { did: did.to_owned(), handle: world.handle(number) }, records.filter_map(stored).collect());
        }
        let tracks: Vec<String> = world.track_uris().collect();
        truth.ask_for(&tracks.iter().cloned().collect());
        let mut refused = model.refused().clone();
        refused.retain(|(did, ..)| !accounts.is_gone(did));
        Self { held, refused, truth, hidden, tracks }
    }

    /// How many likes there are, to show that something was compared.
    pub fn like_count(&self) -> usize {
        self.truth.like_count()
    }

    /// How many accounts must not be seen, and how many of them because they were deleted.
    pub fn hidden_count(&self) -> (usize, usize) {
        (self.hidden.len(), self.hidden.iter().filter(|hidden| hidden.is_deleted).count())
    }

    /// What the database holds otherwise.
    async fn differences(&self, pool: &PgPool, sim: &Sim) -> Vec<String> {
        let mut wrong = differences(&self.held, &found(pool, sim).await);
        let query = "SELECT a.did FROM hidden_actors h JOIN actors a ON a.id = h.actor_id";
        let held: Vec<String> = sqlx::query_scalar(query).fetch_all(pool).await.expect("the tables are there");
        let known = self.hidden.iter().filter(|hidden| hidden.has_written);
        let seen = known.filter(|hidden| !held.contains(&hidden.did));
        wrong.extend(seen.map(|hidden| format!("{} is not hidden", hidden.did)));
        wrong
    }

    /// Asks about all accounts of which nothing may be shown.
    pub async fn compare_hidden(&self, run: &Run) -> Result<(), String> {
        for hidden in &self.hidden {
            hidden.compare(run.program(), &self.tracks).await?;
        }
        Ok(())
    }

    /// Waits, for `patience` at most, until the index holds this, then compares everything that is shown with it, and each count with
    /// a recount.
    pub async fn compare(&self, run: &Run, patience: Duration) -> Result<(), String> {
        let (pool, started) = (&run.store.pool, Instant::now());
        loop {
            let wrong = self.differences(pool, &run.sim).await;
            if wrong.is_empty() {
                break;
            }
            if started.elapsed() > patience {
                return Err(format!("the index does not become right:\n{}", wrong.join("\n")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.truth.compare(run.program()).await?;
        self.compare_hidden(run).await?;
        let miscounted = dump::miscounted(pool).await;
        if !miscounted.is_empty() {
            return Err(format!("counts differ from a recount:\n{}", miscounted.join("\n")));
        }
        let missing: Vec<_> = self.refused.difference(&dump::refused(pool).await).cloned().collect();
        if !missing.is_empty() {
            return Err(format!("refused records are not among the rejects: {missing:?}"));
        }
        Ok(())
    }
}

/// What the database holds of the accounts of this world that are not deleted. Garbage names others, of which a refused record may
/// be known.
pub async fn found(pool: &PgPool, sim: &Sim) -> State {
    let mut found = dump::state(pool).await;
    let state = sim.state();
    let (dids, accounts) = (state.world.dids().collect::<HashSet<&str>>(), Accounts::of(&state.world));
    found.retain(|key, _| !key.starts_with("gone ") || key.split(' ').any(|part| dids.contains(part)));
    found.retain(|key, _| !key.split(' ').any(|part| accounts.is_gone(part)));
    found
}

/// A record as its PDS would list it. Profiles are not listed by the API.
fn stored((did, kind, rkey, cid, record): (&str, Kind, &str, &[u8], &Record)) -> Option<Stored> {
    let (collection, value) = match record {
        Record::Like(like) => {
            let subject = json!({"uri": like.subject, "cid": like.subject_cid});
            ("like", json!({"subject": subject, "createdAt": time_text(like.created_at)}))
        }
        Record::List(list) => {
            let item = |(uri, cid): &(String, String)| json!({"subject": {"uri": uri, "cid": cid}});
            let items: Vec<Value> = list.items.iter().map(item).collect();
            ("list", json!({"items": items, "name": list.name, "listType": list.list_type}))
        }
        Record::Track(track) => (
            "track",
            json!({"title": track.title, "artist": track.artist, "duration": track.duration, "audioUrl": track.audio_url}),
        ),
        Record::Profile(_) => return None,
    };
    assert_eq!(format!("{kind:?}").to_lowercase(), collection, "a record lies in its collection");
    let cid = format!("b{}", data_encoding::BASE32_NOPAD.encode(cid).to_lowercase());
    Some(Stored { uri: format!("at://{did}/fm.plyr.{collection}/{rkey}"), cid, value })
}
