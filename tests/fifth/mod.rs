//! A fifth collection goes through decode, apply, resync, status and purge: adding one leaves nothing out.
//!
//! A part of the library's own tests, so that `make checks` builds one more crate for it and no program ever holds it.

#![expect(clippy::unwrap_used, reason = "its helpers are parts of a test")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    apply::{Answer, Answered, Applier, Batch, Decision, Origin, act_on_answer},
    atproto::{Cid, Did, RecordKey, Tid, Timestamp},
    clock::Clock,
    crawl::resync::{Both, Drift, Record, Theirs, load_ours, plan},
    decode::{Item, RawFormat, jetstream_v1},
    maintenance::follow_accounts,
    model::{AccountStatus, ActorId, Collection, Collections, EventKind, RejectReason},
    store::{
        actors::account_checks::{self, CheckReason},
        records::comments,
        views::operation::count_rows,
    },
};

#[path = "../it/support/database.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod database;

const AUTHOR: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const START: i64 = 1_750_000_000_000_000;

fn tid(number: i64) -> Tid {
    Tid::from_number((START + number) << 10)
}

fn comment(text: &str) -> Value {
    let track =
        json!({"uri": "at://did:plc:bbbbbbbbbbbbbbbbbbbbbbbb/fm.plyr.track/3lqqqqqqqqq22", "cid": cid("a track")});
    json!({"$type": "fm.plyr.comment", "subject": track, "text": text, "createdAt": "2025-06-15T15:06:40Z"})
}

fn cid(text: &str) -> String {
    Cid::of_record(text.as_bytes()).to_string()
}

struct Index {
    connection: PgConnection,
    collections: Collections,
    applier: Applier,
}

impl Index {
    /// One operation on a comment, by the wire.
    async fn deliver(&mut self, rkey: Tid, rev: Tid, record: Option<Value>) -> u64 {
        let operation = if record.is_some() { "create" } else { "delete" };
        let mut commit = json!({
            "rev": rev.to_string(), "operation": operation, "collection": "fm.plyr.comment", "rkey": rkey.to_string()
        });
        if let Some(record) = record {
            commit["cid"] = cid(&record.to_string()).into();
            commit["record"] = record;
        }
        let message = json!({"did": AUTHOR, "time_us": START, "kind": "commit", "commit": commit});
        let mut batch = Batch::default();
        for item in jetstream_v1::decode_message(&self.collections, message.to_string().as_bytes()).items {
            match item {
                Item::Event(event) => batch.events.push(event),
                Item::Reject(reject) => {
                    assert_eq!(reject.reason, RejectReason::Lexicon, "{reject:?}");
                    let origin = Origin { source: "test".into(), kind: None, position: None };
                    batch.rejects.push((origin, *reject));
                }
            }
        }
        let applied = self.applier.apply(&mut self.connection, &batch).await.unwrap();
        let kinds: BTreeMap<&str, u64> =
            applied.by_kind().map(|(kind, counts)| (kind.as_str(), counts.applied)).collect();
        assert_eq!(kinds[EventKind::Record(Collection::Comment).as_str()], applied.applied);
        applied.applied + applied.tombstoned
    }

    /// What the tables hold live, by what the operator's status says, too.
    async fn texts(&mut self) -> Vec<String> {
        let texts: Vec<String> = sqlx::query_scalar("SELECT text FROM comments WHERE cid IS NOT NULL ORDER BY rkey")
            .fetch_all(&mut self.connection)
            .await
            .unwrap();
        let counts = count_rows(&mut self.connection).await.unwrap();
        assert_eq!(counts.records[Collection::Comment], i64::try_from(texts.len()).unwrap());
        texts
    }
}

#[tokio::test]
async fn a_fifth_collection_is_left_out_nowhere() {
    let database = database::fresh().await;
    let collections = Collections::of_namespace("fm.plyr").unwrap();
    let applier = Applier::new(collections.clone(), Clock::system());
    let mut index = Index { connection: database.pool.acquire().await.unwrap().detach(), collections, applier };
    sqlx::raw_sql(comments::TABLE).execute(&mut index.connection).await.unwrap();
    let author = Did::parse(AUTHOR).unwrap();

    // Decode and apply: a record, an older delete, a newer record that breaks the lexicon.
    assert_eq!(index.deliver(tid(1), tid(10), Some(comment("first"))).await, 1);
    assert_eq!(index.deliver(tid(1), tid(9), None).await, 0);
    assert_eq!(index.deliver(tid(2), tid(11), Some(comment("second"))).await, 1);
    assert_eq!(index.texts().await, ["first", "second"]);
    assert_eq!(index.deliver(tid(2), tid(12), Some(comment(""))).await, 1);
    assert_eq!(index.texts().await, ["first"]);
    crate::store::records::analyze(&mut index.connection).await.unwrap();

    // Resync: the repo has another record in place of the first.
    let record = comment("third").to_string();
    let third =
        Record { cid: cid(&record).parse().unwrap(), format: RawFormat::RecordJson, bytes: record.into_bytes() };
    let path = |number| (Collection::Comment, RecordKey::parse(&tid(number).to_string()).unwrap());
    let theirs = Theirs { rev: tid(20), records: BTreeMap::from([(path(3), third)]) };
    let ours = load_ours(&mut index.connection, &index.collections, &author).await.unwrap();
    let repair = plan(&index.collections, &author, Both { theirs: &theirs, ours: &ours, earlier: &ours });
    assert_eq!(repair.paths, [(path(1), Drift::Extra), (path(3), Drift::Missing)]);
    index.applier.apply(&mut index.connection, &repair.batch).await.unwrap();
    assert_eq!(index.texts().await, ["third"]);

    // Purge: nothing is left of a deleted account, and nothing of it comes back, up to the greatest rev that was held.
    let last = Tid::last_at(Timestamp::parse("2099-01-01T00:00:00Z").unwrap());
    assert_eq!(index.deliver(tid(4), last, Some(comment("from a clock ahead"))).await, 1);
    let id = sqlx::query_scalar("SELECT id FROM actors WHERE did = $1").bind(AUTHOR).fetch_one(&mut index.connection);
    let id: i64 = id.await.unwrap();
    let now = Clock::system().now();
    account_checks::request(&mut index.connection, &[(ActorId::from(id), CheckReason::Deleted)], now.utc())
        .await
        .unwrap();
    let due = account_checks::list_due(&mut index.connection, now.utc(), 10, &[]).await.unwrap();
    let answer = Answer::Inactive { status: Some(AccountStatus::Deleted) };
    let answered = Answered { answer, asked_at: now };
    let decision = act_on_answer(&mut index.connection, &due[0], answered, now).await.unwrap();
    assert_eq!(decision, Decision::Remove);
    follow_accounts(&mut index.connection, None).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM comments").fetch_one(&mut index.connection).await.unwrap();
    assert_eq!(left, 0);
    assert_eq!(index.deliver(tid(4), last, Some(comment("late"))).await, 0);
    assert_eq!(index.texts().await, Vec::<String>::new());
}
