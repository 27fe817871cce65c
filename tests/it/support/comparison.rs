//! What the API says, compared with what the PDS says, record by record.
//!
//! The PDS's `listRecords` is the truth; every view of the API follows from it. Nothing is taken from the program's database.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::network::{Account, Stored};
use super::program::Program;

/// The most addresses that one question may name.
const URIS_MAX: usize = 100;
/// Small enough that every test turns pages.
const PAGE_LIMIT: &str = "30";

/// Of an account, what the API shows.
pub struct Who {
    /// Its DID.
    pub did: String,
    /// What it is called now.
    pub handle: String,
}

/// What the PDS holds of some accounts.
#[derive(Default)]
pub struct Truth {
    accounts: Vec<Who>,
    likes: BTreeMap<String, Vec<Stored>>,
    lists: BTreeMap<String, Vec<Stored>>,
    tracks: BTreeMap<String, Stored>,
    /// Who likes, by the URI of the subject.
    likers: BTreeMap<String, BTreeSet<String>>,
    /// URIs of tracks that are gone.
    absent: BTreeSet<String>,
    handles_known: bool,
}

impl Truth {
    /// Reads all records of the accounts. `other` are addresses of tracks to ask for besides those that exist.
    pub async fn read(accounts: &[Account], other: &BTreeSet<String>) -> Self {
        let mut truth = Self::default();
        for account in accounts {
            let who = Who { did: account.did.clone(), handle: account.handle.clone() };
            let mut records = account.list_records("fm.plyr.like").await;
            records.extend(account.list_records("fm.plyr.list").await);
            records.extend(account.list_records("fm.plyr.track").await);
            truth.take(who, records);
        }
        truth.ask_for(other);
        truth
    }

    /// One more account, with its likes, lists and tracks.
    pub fn take(&mut self, who: Who, records: Vec<Stored>) {
        let (likes, lists) =
            (self.likes.entry(who.did.clone()).or_default(), self.lists.entry(who.did.clone()).or_default());
        for record in records {
            match record.uri.split('/').nth(3) {
                Some("fm.plyr.like") => {
                    self.likers.entry(subject(&record).0.to_owned()).or_default().insert(who.did.clone());
                    likes.push(record);
                }
                Some("fm.plyr.list") => lists.push(record),
                Some("fm.plyr.track") => drop(self.tracks.insert(record.uri.clone(), record)),
                _ => panic!("no record of ours: {record:?}"),
            }
        }
        self.accounts.push(who);
    }

    /// Whatever is liked or named here and does not exist is asked for too.
    pub fn ask_for(&mut self, other: &BTreeSet<String>) {
        let liked = self.likers.keys();
        self.absent = liked.chain(other).filter(|uri| !self.tracks.contains_key(*uri)).cloned().collect();
    }

    /// From now on every handle is expected: an identity event has come for each account that was already known.
    #[must_use]
    pub fn with_handles(mut self, known: bool) -> Self {
        self.handles_known = known;
        self
    }

    /// How many likes there are, to show that a test has compared something.
    pub fn like_count(&self) -> usize {
        self.likes.values().map(Vec::len).sum()
    }

    /// Compares every view of the API. The first difference ends the test, with the end of the program's log.
    pub async fn assert_shown_by(&self, program: &Program) {
        if let Err(difference) = self.compare(program).await {
            panic!("{difference}\nthe log ends:\n{}", program.log_tail());
        }
    }

    /// Compares every view of the API, and says the first difference.
    pub async fn compare(&self, program: &Program) -> Result<(), String> {
        for account in &self.accounts {
            self.compare_actor_likes(program, account).await?;
            self.compare_statuses(program, account).await?;
            self.compare_lists(program, account).await?;
            self.compare_liked_tracks(program, account).await?;
        }
        for uri in self.tracks.keys().chain(&self.absent) {
            self.compare_likers(program, uri).await?;
        }
        for track in self.tracks.values() {
            self.compare_track(program, track).await?;
        }
        for uri in &self.absent {
            let answer = program.get("/tracks/by-uri", &[("uri", uri)]).await;
            ensure_that(answer.as_ref().is_err_and(|error| error.contains(": 404 ")), || {
                format!("{uri} is no track, but by-uri says {answer:?}")
            })?;
        }
        self.compare_track_views(program).await
    }

    async fn compare_actor_likes(&self, program: &Program, account: &Who) -> Result<(), String> {
        let shown = all_pages(program, "fm.plyr.feed.getActorLikes", ("actor", &account.did), "likes").await?;
        let newest_first = shown.iter().map(|like| time(like, "createdAt")).collect::<Result<Vec<_>, _>>()?;
        ensure_that(newest_first.is_sorted_by(|newer, older| newer >= older), || {
            format!("the likes of {} are not newest first: {newest_first:?}", account.handle)
        })?;
        let mut found = BTreeMap::new();
        for like in &shown {
            let row = (word(&like["subject"], "uri")?, word(&like["subject"], "cid")?, time(like, "createdAt")?);
            let twice = found.insert(word(like, "uri")?, row).is_some();
            ensure_that(!twice, || format!("shown twice: {like}"))?;
        }
        let mut expected = BTreeMap::new();
        for like in &self.likes[&account.did] {
            let (uri, cid) = subject(like);
            expected.insert(like.uri.clone(), (uri.to_owned(), cid.to_owned(), time(&like.value, "createdAt")?));
        }
        ensure_same_rows(&format!("likes of {}", account.handle), &found, &expected)
    }

    async fn compare_statuses(&self, program: &Program, account: &Who) -> Result<(), String> {
        let uris: Vec<&str> = self.tracks.keys().chain(&self.absent).map(String::as_str).collect();
        for asked in uris.chunks(URIS_MAX) {
            let mut query = vec![("actor", account.did.as_str())];
            query.extend(asked.iter().map(|uri| ("uris", *uri)));
            let answer = program.get("/xrpc/fm.plyr.feed.getLikeStatuses", &query).await?;
            let statuses = array(&answer, "statuses")?;
            let order: Vec<&str> = statuses.iter().filter_map(|status| status["uri"].as_str()).collect();
            ensure_that(order == asked, || format!("statuses are not in the order asked: {answer}"))?;
            for (uri, status) in asked.iter().zip(statuses) {
                let mut likes = self.likes[&account.did].iter().filter(|like| subject(like).0 == *uri);
                let is_right = match (&status["liked"], status["like"].as_str()) {
                    (Value::Bool(false), None) => likes.next().is_none(),
                    (Value::Bool(true), Some(shown)) => likes.any(|like| like.uri == shown),
                    _ => false,
                };
                ensure_that(is_right, || format!("{} and {uri}: {status}", account.handle))?;
            }
        }
        Ok(())
    }

    async fn compare_likers(&self, program: &Program, uri: &str) -> Result<(), String> {
        let method = "fm.plyr.feed.getTrackLikes";
        let shown = all_pages(program, method, ("uri", uri), "likes").await?;
        let mut found = BTreeSet::new();
        for like in &shown {
            let did = word(&like["actor"], "did")?;
            let like_uri = word(like, "uri")?;
            let is_theirs = self
                .likes
                .get(&did)
                .is_some_and(|likes| likes.iter().any(|record| record.uri == like_uri && subject(record).0 == uri));
            ensure_that(is_theirs, || format!("{uri} is not liked by {like}"))?;
            ensure_that(found.insert(did), || format!("{uri}: one actor is shown twice: {shown:?}"))?;
        }
        let expected = self.likers_of(uri);
        ensure_same(&format!("likers of {uri}"), &found, &expected)?;
        let answer = program.get(&format!("/xrpc/{method}"), &[("uri", uri)]).await?;
        ensure_same(&format!("count of {uri}"), &answer["count"].as_u64(), &Some(expected.len() as u64))
    }

    fn likers_of(&self, uri: &str) -> BTreeSet<String> {
        self.likers.get(uri).cloned().unwrap_or_default()
    }

    async fn compare_track(&self, program: &Program, track: &Stored) -> Result<(), String> {
        let shown = program.get("/tracks/by-uri", &[("uri", &track.uri)]).await?;
        let owner = self.owner_of(&track.uri)?;
        let expected = [
            ("atproto_record_uri", track.uri.as_str().into()),
            ("atproto_record_cid", track.cid.as_str().into()),
            ("title", track.value["title"].clone()),
            ("artist", track.value["artist"].clone()),
            ("duration", track.value["duration"].clone()),
            ("audio_url", track.value["audioUrl"].clone()),
            ("artist_did", owner.did.as_str().into()),
            ("like_count", self.likers_of(&track.uri).len().into()),
            ("liked", false.into()),
        ];
        for (field, value) in expected {
            ensure_same(&format!("{field} of {}", track.uri), &shown[field], &value)?;
        }
        if self.handles_known || !shown["artist_handle"].is_null() {
            ensure_same("artist_handle", &shown["artist_handle"].as_str(), &Some(owner.handle.as_str()))?;
        }
        let id = shown["id"].as_i64().ok_or_else(|| format!("no id in {shown}"))?;
        ensure_same("by id and by URI", &program.get(&format!("/tracks/{id}"), &[]).await?, &shown)?;
        let mut dids = BTreeSet::new();
        for page in rest_pages(program, &format!("/tracks/{id}/likes")).await? {
            for user in array(&page, "users")? {
                ensure_that(dids.insert(word(user, "did")?), || format!("{user} is shown twice"))?;
            }
        }
        ensure_same(&format!("users who like {}", track.uri), &dids, &self.likers_of(&track.uri))
    }

    async fn compare_track_views(&self, program: &Program) -> Result<(), String> {
        let uris: Vec<&str> = self.tracks.keys().chain(&self.absent).map(String::as_str).collect();
        let mut found = BTreeMap::new();
        for asked in uris.chunks(URIS_MAX) {
            let query: Vec<(&str, &str)> = asked.iter().map(|uri| ("uris", *uri)).collect();
            let answer = program.get("/xrpc/fm.plyr.feed.getTracks", &query).await?;
            for view in array(&answer, "tracks")? {
                found
                    .insert(word(view, "uri")?, (word(view, "cid")?, word(view, "title")?, view["likeCount"].as_u64()));
            }
        }
        let view = |track: &Stored| {
            let title = word(&track.value, "title")?;
            Ok::<_, String>((track.cid.clone(), title, Some(self.likers_of(&track.uri).len() as u64)))
        };
        let mut expected = BTreeMap::new();
        for track in self.tracks.values() {
            expected.insert(track.uri.clone(), view(track)?);
        }
        ensure_same_rows("views of the tracks", &found, &expected)
    }

    async fn compare_lists(&self, program: &Program, account: &Who) -> Result<(), String> {
        let shown = all_pages(program, "fm.plyr.graph.getActorLists", ("actor", &account.did), "lists").await?;
        let mut found = BTreeMap::new();
        for list in &shown {
            let row = (word(list, "cid")?, text(list, "name"), text(list, "listType"), list["itemCount"].as_u64());
            found.insert(word(list, "uri")?, row);
        }
        ensure_that(found.len() == shown.len(), || format!("a list of {} is shown twice", account.handle))?;
        let mut expected = BTreeMap::new();
        for list in &self.lists[&account.did] {
            let items = array(&list.value, "items")?;
            let (name, list_type) = (text(&list.value, "name"), text(&list.value, "listType"));
            expected.insert(list.uri.clone(), (list.cid.clone(), name, list_type, Some(items.len() as u64)));
            let shown = all_pages(program, "fm.plyr.graph.getList", ("list", &list.uri), "items").await?;
            let in_order: Vec<&Value> = shown.iter().map(|item| &item["subject"]).collect();
            let written: Vec<&Value> = items.iter().map(|item| &item["subject"]).collect();
            ensure_same(&format!("items of {}", list.uri), &in_order, &written)?;
        }
        ensure_same_rows(&format!("lists of {}", account.handle), &found, &expected)
    }

    /// The REST view of what an account likes, asked for by handle where it must be known: tracks that exist, and no others.
    async fn compare_liked_tracks(&self, program: &Program, account: &Who) -> Result<(), String> {
        let path = format!("/users/{}/likes", if self.handles_known { &account.handle } else { &account.did });
        let mut found = Vec::new();
        for page in rest_pages(program, &path).await? {
            ensure_same(&path, &page["user"]["did"].as_str(), &Some(account.did.as_str()))?;
            for track in array(&page, "tracks")? {
                found.push(word(track, "atproto_record_uri")?);
            }
        }
        let likes = &self.likes[&account.did];
        let expected: BTreeSet<String> =
            likes.iter().map(|like| subject(like).0.to_owned()).filter(|uri| self.tracks.contains_key(uri)).collect();
        let distinct: BTreeSet<String> = found.iter().cloned().collect();
        ensure_same(&path, &distinct, &expected)?;
        ensure_that(distinct.len() == found.len(), || format!("{path} shows a track twice: {found:?}"))
    }

    fn owner_of(&self, uri: &str) -> Result<&Who, String> {
        let did = uri.split('/').nth(2).unwrap_or_default();
        self.accounts
            .iter()
            .find(|account| account.did == did)
            .ok_or_else(|| format!("{uri} belongs to no account of this test"))
    }
}

/// Turns all pages of an XRPC query.
async fn all_pages(program: &Program, method: &str, of: (&str, &str), field: &str) -> Result<Vec<Value>, String> {
    let mut rows = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![of, ("limit", PAGE_LIMIT)];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = program.get(&format!("/xrpc/{method}"), &query).await?;
        rows.extend_from_slice(array(&page, field)?);
        let Some(next) = page["cursor"].as_str() else { return Ok(rows) };
        ensure_that(cursor.as_deref() != Some(next), || format!("{method} gives the same cursor for ever"))?;
        cursor = Some(next.to_owned());
    }
}

/// Turns all pages of a REST view.
async fn rest_pages(program: &Program, path: &str) -> Result<Vec<Value>, String> {
    let mut pages: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("limit", PAGE_LIMIT)];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = program.get(path, &query).await?;
        let next = page["next_cursor"].as_str().map(str::to_owned);
        pages.push(page);
        if next.is_none() {
            return Ok(pages);
        }
        ensure_that(cursor != next, || format!("{path} gives the same cursor for ever"))?;
        cursor = next;
    }
}

/// URI and CID that a like names.
fn subject(like: &Stored) -> (&str, &str) {
    let subject = &like.value["subject"];
    (subject["uri"].as_str().unwrap_or_default(), subject["cid"].as_str().unwrap_or_default())
}

fn word(value: &Value, field: &str) -> Result<String, String> {
    value[field].as_str().map(str::to_owned).ok_or_else(|| format!("no {field} in {value}"))
}

/// What may be left out.
fn text(value: &Value, field: &str) -> Option<String> {
    value[field].as_str().map(str::to_owned)
}

fn time(value: &Value, field: &str) -> Result<DateTime<Utc>, String> {
    word(value, field)?.parse().map_err(|error| format!("{field} of {value}: {error}"))
}

fn array<'a>(value: &'a Value, field: &str) -> Result<&'a [Value], String> {
    value[field].as_array().map(Vec::as_slice).ok_or_else(|| format!("no {field} in {value}"))
}

fn ensure_that(holds: bool, complaint: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(complaint()) }
}

fn ensure_same<T: PartialEq + std::fmt::Debug>(what: &str, api: &T, pds: &T) -> Result<(), String> {
    ensure_that(api == pds, || format!("{what}\n  the API says {api:?}\n  the PDS says {pds:?}"))
}

/// Like [`ensure_same`], but complains only of the rows that differ.
fn ensure_same_rows<T: PartialEq + std::fmt::Debug>(
    what: &str,
    api: &BTreeMap<String, T>,
    pds: &BTreeMap<String, T>,
) -> Result<(), String> {
    let keys: BTreeSet<&String> = api.keys().chain(pds.keys()).collect();
    let differences: Vec<String> = keys
        .into_iter()
        .filter(|key| api.get(*key) != pds.get(*key))
        .map(|key| format!("  {key}\n    the API says {:?}\n    the PDS says {:?}", api.get(key), pds.get(key)))
        .collect();
    ensure_that(differences.is_empty(), || {
        let (api_count, pds_count) = (api.len(), pds.len());
        format!("{what} ({api_count} by the API, {pds_count} by the PDS)\n{}", differences.join("\n"))
    })
}
