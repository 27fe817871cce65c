//! Cases T4 to T8, T13 and A9: what may have been missed is known, once, and nothing else is called a gap.

use std::{
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use plyr_likes::{
    apply::{Applier, Batch, Gap, GapChange, Reached},
    clock::Clock,
    ingest,
    model::{Collections, GapReason, PositionKind},
    source::Start,
    store::gaps::{self, By, End, State, StoredGap, Which},
};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    database::fresh,
    dump,
    history::{START_US, did, key, tid, track_uri},
    model::{Model, Write},
    program::{Program, Settings},
    run::{Pump, command, until, until_as},
    upstream::{Act, Request, Upstream},
    wire::{self, Commit, Operation, like},
};

const AT: &str = "2025-01-01T00:00:00Z";
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const THE_FIRST_GAP: &str = "SELECT count(*) = 1 FROM gaps";
const ONE_THAT_HAS_ENDED: &str = "SELECT count(*) = 1 AND bool_and(to_at IS NOT NULL) FROM gaps";

/// A like by the fan with this number.
fn commit(number: usize) -> Commit {
    let rev = tid(START_US + i64::try_from(number).expect("small") * 1_000, 1);
    Commit::new(&did(number + 3), rev, vec![Operation::like(&key(1, number), like(&track_uri(0, 0), AT))])
}

fn v1(number: usize, time_us: i64) -> Act {
    Act::Text(String::from_utf8(wire::v1_message(&commit(number), 0, time_us)).expect("JSON is UTF-8"))
}

fn firehose(number: usize, seq: i64, time_us: i64) -> Act {
    Act::Binary(wire::firehose_message(&commit(number), seq, time_us))
}

fn model(numbers: impl IntoIterator<Item = usize>) -> Model {
    let writes: Vec<Write> = numbers.into_iter().flat_map(|number| commit(number).writes()).collect();
    Model::of(&writes)
}

async fn list(pool: &PgPool) -> Vec<StoredGap> {
    let mut connection = pool.acquire().await.expect("a connection");
    gaps::list(&mut connection, Which::All, 100).await.expect("the gaps can be read")
}

/// The reason and the numbers of each gap, the newest first.
async fn recorded_gaps(pool: &PgPool) -> Vec<(&'static str, Option<i64>, Option<i64>)> {
    list(pool).await.iter().map(|gap| (gap.reason.as_str(), gap.from.value, gap.to.value)).collect()
}

async fn position(pool: &PgPool, address: std::net::SocketAddr) -> Option<i64> {
    let held = dump::positions(pool).await;
    held.into_iter().find(|(source, ..)| source.ends_with(&address.to_string())).map(|(_, _, value)| value)
}

/// Says for each connection what to do, and then stays; `go` breaks it off.
async fn scripted(connections: Vec<Vec<Act>>) -> Upstream {
    Upstream::start(move |request| {
        let mut acts = connections.get(request.connection).or(connections.last()).cloned().unwrap_or_default();
        acts.extend([Act::WaitForGo, Act::Drop, Act::Stay]);
        acts
    })
    .await
}

/// A Jetstream that has these events, by stamp, and answers a cursor with all that it has from there on.
struct Host {
    upstream: Upstream,
    events: Arc<Mutex<Vec<(i64, usize)>>>,
}

impl Host {
    async fn start(events: &[(i64, usize)]) -> Self {
        Self::start_and_then(events, vec![Act::WaitForGo, Act::Drop]).await
    }

    async fn start_and_then(events: &[(i64, usize)], then: Vec<Act>) -> Self {
        let events = Arc::new(Mutex::new(events.to_vec()));
        let kept = events.clone();
        let upstream = Upstream::start(move |request| {
            let cursor = request.cursor().unwrap_or(0);
            let mut wanted: Vec<(i64, usize)> = kept.lock().expect("no panic").clone();
            wanted.retain(|(time_us, _)| *time_us >= cursor);
            wanted.sort_unstable();
            let mut acts: Vec<Act> = wanted.into_iter().map(|(time_us, number)| v1(number, time_us)).collect();
            acts.extend(then.clone());
            acts
        })
        .await;
        Self { upstream, events }
    }

    fn source(&self) -> String {
        format!("jetstream+ws://{}", self.upstream.address)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<(i64, usize)>)) {
        change(&mut self.events.lock().expect("no panic"));
    }

    /// Breaks the connection off, and waits until there is another. Those of a pump that has stopped are released too.
    async fn break_off(&self) {
        let before = self.upstream.requests().len();
        let released = self.upstream.done().iter().filter(|(_, act)| act == "wait").count();
        (released..before).for_each(|_| self.upstream.go());
        self.upstream.wait_until(|upstream| upstream.requests().len() > before).await;
    }
}

#[tokio::test]
async fn t4_ordinary_life_opens_no_gap() {
    let database = fresh().await;
    // Stamps that run backwards, and several events with one stamp.
    let stamps = [4, 3, 3, 5, 1, 2, 6, 6, 0];
    let events = |range: std::ops::Range<usize>, from: i64| -> Vec<(i64, usize)> {
        range.map(|number| (from + stamps[number % stamps.len()] * SECOND / 10, number)).collect()
    };
    let host = Host::start(&events(0..9, START_US)).await;
    let mut pump = Pump::start(&database.pool, &host.source());
    let mut count = 9;
    for round in 1..8 {
        until_as(&database.pool, &model(0..count)).await;
        let later = events(count..count + 4, START_US + round * HOUR);
        count += later.len();
        host.change(|events| events.extend(later));
        if round % 3 == 0 {
            pump.stop().await;
            pump = Pump::start(&database.pool, &host.source());
        }
        host.break_off().await;
    }
    until_as(&database.pool, &model(0..count)).await;
    pump.stop().await;
    assert!(host.upstream.done().iter().filter(|(_, act)| act == "drop").count() >= 5, "nothing was broken off");
    assert_eq!(recorded_gaps(&database.pool).await, []);
}

#[tokio::test]
async fn t6_a_jetstream_that_no_longer_has_what_we_had() {
    let database = fresh().await;
    let host = Host::start(&[(START_US, 0), (START_US + SECOND, 1)]).await;
    let pump = Pump::start(&database.pool, &host.source());
    until_as(&database.pool, &model(0..2)).await;
    let later = START_US + 40 * HOUR;
    host.change(|events| *events = vec![(later, 2), (later + SECOND, 3)]);
    host.break_off().await;
    until_as(&database.pool, &model(0..4)).await;
    let expected = [("clamped", Some(START_US + SECOND), Some(later))];
    assert_eq!(recorded_gaps(&database.pool).await, expected);
    // It is no gap again, neither on the same host nor after a restart.
    host.break_off().await;
    pump.stop().await;
    host.change(|events| events.push((later + HOUR, 4)));
    let pump = Pump::start(&database.pool, &host.source());
    until_as(&database.pool, &model(0..5)).await;
    assert_eq!(recorded_gaps(&database.pool).await, expected);
    // The next one of the kind makes it longer while it is open..
    host.change(|events| *events = vec![(later + 80 * HOUR, 5)]);
    host.break_off().await;
    until_as(&database.pool, &model(0..6)).await;
    let wider = [("clamped", Some(START_US + SECOND), Some(later + 80 * HOUR))];
    assert_eq!(recorded_gaps(&database.pool).await, wider);
    // ..and is another once it is closed.
    close(&database.pool, list(&database.pool).await[0].id).await;
    host.change(|events| *events = vec![(later + 120 * HOUR, 6)]);
    host.break_off().await;
    until_as(&database.pool, &model(0..7)).await;
    assert_eq!(recorded_gaps(&database.pool).await.len(), 2);
    pump.stop().await;
}

async fn close(pool: &PgPool, id: i64) {
    let mut connection = pool.acquire().await.expect("a connection");
    let now = chrono::Utc::now();
    assert!(gaps::close(&mut connection, id, By::Operator, Some("seen"), now).await.expect("an answer"));
}

#[tokio::test]
async fn t6_a_firehose_that_says_that_the_cursor_is_outdated() {
    let database = fresh().await;
    let outdated = || Act::Binary(wire::firehose_info("OutdatedCursor"));
    let upstream = scripted(vec![
        // A source without a position has missed nothing, whatever the upstream says.
        vec![outdated(), firehose(0, 10, START_US)],
        vec![outdated(), Act::WaitForGo, firehose(1, 900, START_US + 90 * HOUR)],
        vec![firehose(2, 901, START_US + 90 * HOUR)],
    ])
    .await;
    let pump = Pump::start(&database.pool, &format!("firehose+ws://{}", upstream.address));
    until_as(&database.pool, &model([0])).await;
    assert_eq!(recorded_gaps(&database.pool).await, []);
    upstream.go();
    // It is known before anything comes, and the position still stands before it.
    until(&database.pool, THE_FIRST_GAP).await;
    assert_eq!(recorded_gaps(&database.pool).await, [("too_old", Some(10), None)]);
    assert_eq!(position(&database.pool, upstream.address).await, Some(10));
    upstream.go();
    until_as(&database.pool, &model([0, 1])).await;
    until(&database.pool, ONE_THAT_HAS_ENDED).await;
    upstream.go();
    until_as(&database.pool, &model([0, 1, 2])).await;
    assert_eq!(recorded_gaps(&database.pool).await, [("too_old", Some(10), Some(900))]);
    pump.stop().await;
}

#[tokio::test]
async fn t6_a_relay_that_begins_later_without_a_word() {
    let database = fresh().await;
    let upstream = scripted(vec![
        vec![firehose(0, 10, START_US), firehose(1, 12, START_US + SECOND)],
        // A little later, and some numbers that belong to no event of ours.
        vec![firehose(2, 20, START_US + 60 * SECOND)],
        vec![firehose(3, 5_000, START_US + 80 * HOUR)],
    ])
    .await;
    let pump = Pump::start(&database.pool, &format!("firehose+ws://{}", upstream.address));
    until_as(&database.pool, &model(0..2)).await;
    upstream.go();
    until_as(&database.pool, &model(0..3)).await;
    assert_eq!(recorded_gaps(&database.pool).await, []);
    upstream.go();
    until_as(&database.pool, &model(0..4)).await;
    assert_eq!(recorded_gaps(&database.pool).await, [("clamped", Some(20), Some(5_000))]);
    pump.stop().await;
}

#[tokio::test]
async fn t7_a_firehose_to_which_the_position_lies_in_the_future() {
    let database = fresh().await;
    let upstream = Upstream::start(|request| {
        let mut acts = match (request.connection, request.cursor().unwrap_or(0)) {
            (0, _) => vec![firehose(0, 1_000, START_US), Act::WaitForGo, Act::Drop],
            // The host was restored from a backup.
            (_, cursor) if cursor > 500 => vec![Act::Binary(wire::firehose_error("FutureCursor")), Act::Drop],
            (_, cursor) => (0..3)
                .map(|number| (7 + i64::try_from(number).expect("small"), number + 1))
                .filter(|(seq, _)| *seq > cursor)
                .map(|(seq, number)| firehose(number, seq, START_US + HOUR))
                .collect(),
        };
        acts.push(Act::Stay);
        acts
    })
    .await;
    let source = format!("firehose+ws://{}", upstream.address);
    let pump = Pump::start(&database.pool, &source);
    until_as(&database.pool, &model([0])).await;
    upstream.go();
    until_as(&database.pool, &model(0..4)).await;
    until(&database.pool, ONE_THAT_HAS_ENDED).await;
    assert_eq!(recorded_gaps(&database.pool).await, [("future", Some(1_000), Some(7))]);
    assert_eq!(position(&database.pool, upstream.address).await, Some(9), "the numbers are the new ones");
    pump.stop().await;
    // The next start goes on from there.
    let pump = Pump::start(&database.pool, &source);
    let asked_again = |upstream: &Upstream| upstream.requests().last().and_then(Request::cursor) == Some(9);
    upstream.wait_until(asked_again).await;
    pump.stop().await;
    assert_eq!(recorded_gaps(&database.pool).await.len(), 1);
}

#[tokio::test]
async fn t7_a_jetstream_position_in_the_future() {
    let database = fresh().await;
    let host = Host::start(&[(START_US, 0)]).await;
    let pump = Pump::start(&database.pool, &host.source());
    until_as(&database.pool, &model([0])).await;
    pump.stop().await;
    // As from a database that was written while the clock was wrong.
    let future = chrono::Utc::now().timestamp_micros() + 24 * HOUR;
    sqlx::query("UPDATE positions SET value = $1").bind(future).execute(&database.pool).await.expect("one");
    host.change(|events| events.push((START_US + HOUR, 1)));
    let pump = Pump::start(&database.pool, &host.source());
    until_as(&database.pool, &model(0..2)).await;
    until(&database.pool, ONE_THAT_HAS_ENDED).await;
    assert_eq!(recorded_gaps(&database.pool).await, [("future", Some(future), Some(START_US))]);
    assert_eq!(position(&database.pool, host.upstream.address).await, Some(START_US + HOUR));
    // The same process goes on, and so does the next.
    host.break_off().await;
    pump.stop().await;
    host.change(|events| events.push((START_US + 2 * HOUR, 2)));
    let pump = Pump::start(&database.pool, &host.source());
    until_as(&database.pool, &model(0..3)).await;
    pump.stop().await;
    assert_eq!(recorded_gaps(&database.pool).await.len(), 1);
}

#[tokio::test]
async fn t8_numbers_that_start_again() {
    let database = fresh().await;
    let upstream = Upstream::start(|request| {
        let mut acts = match (request.connection, request.cursor().unwrap_or(0)) {
            (0, _) => vec![firehose(0, 500, START_US), Act::WaitForGo, Act::Drop],
            // It knows nothing of the old numbers, and does not say so.
            (_, 500) => vec![firehose(2, 4, START_US + HOUR)],
            (_, 4) => vec![],
            _ => vec![firehose(1, 3, START_US + HOUR), firehose(2, 4, START_US + HOUR)],
        };
        acts.push(Act::Stay);
        acts
    })
    .await;
    let source = format!("firehose+ws://{}", upstream.address);
    let pump = Pump::start(&database.pool, &source);
    until_as(&database.pool, &model([0])).await;
    upstream.go();
    until_as(&database.pool, &model(0..3)).await;
    until(&database.pool, ONE_THAT_HAS_ENDED).await;
    let gaps = recorded_gaps(&database.pool).await;
    assert!(matches!(gaps.as_slice(), [("reset", Some(500), Some(3 | 4))]), "{gaps:?}");
    assert_eq!(position(&database.pool, upstream.address).await, Some(4), "not the greater one of before");
    pump.stop().await;
    let pump = Pump::start(&database.pool, &source);
    upstream.wait_until(|upstream| upstream.requests().last().and_then(Request::cursor) == Some(4)).await;
    pump.stop().await;
    assert_eq!(recorded_gaps(&database.pool).await.len(), 1);
}

#[tokio::test]
async fn t8_a_message_that_cannot_be_read_says_nothing_of_numbers() {
    let database = fresh().await;
    let garbage = |seq| Act::Binary(wire::firehose_account("not a did", seq, START_US));
    let acts = vec![firehose(0, 500, START_US), garbage(3), garbage(1_000_000_000_000), firehose(1, 501, START_US)];
    let upstream = scripted(vec![acts]).await;
    let pump = Pump::start(&database.pool, &format!("firehose+ws://{}", upstream.address));
    until_as(&database.pool, &model(0..2)).await;
    pump.stop().await;
    assert_eq!(dump::count_rejects(&database.pool).await, 2, "both have come");
    assert_eq!(position(&database.pool, upstream.address).await, Some(501));
    assert_eq!(recorded_gaps(&database.pool).await, []);
}

/// Lets a source come to `last`, and then leave the settings.
async fn leave(pool: &PgPool, last: i64) {
    let host = Host::start(&[(last, 0)]).await;
    let pump = Pump::start(pool, &host.source());
    until_as(pool, &model([0])).await;
    pump.stop().await;
}

#[tokio::test]
async fn t5_a_change_of_host_with_an_overlap_is_no_gap() {
    let database = fresh().await;
    leave(&database.pool, START_US).await;
    let host = Host::start(&[(START_US - HOUR, 1), (START_US + HOUR, 2)]).await;
    let pump = Pump::start(&database.pool, &host.source());
    until_as(&database.pool, &model(0..3)).await;
    pump.stop().await;
    assert_eq!(recorded_gaps(&database.pool).await, []);
    assert_eq!(dump::positions(&database.pool).await.len(), 2, "what was known of the old host stays");
}

#[tokio::test]
async fn t5_a_change_of_host_without_an_overlap_is_a_gap() {
    let database = fresh().await;
    leave(&database.pool, START_US).await;
    let host = Host::start(&[(START_US + HOUR, 1), (START_US + 2 * HOUR, 2)]).await;
    for _ in 0..2 {
        let pump = Pump::start(&database.pool, &host.source());
        until_as(&database.pool, &model(0..3)).await;
        pump.stop().await;
        let gaps = list(&database.pool).await;
        assert_eq!(recorded_gaps(&database.pool).await, [("host_change", None, Some(START_US + HOUR))]);
        assert_eq!(gaps[0].from.at.map(plyr_likes::atproto::Timestamp::micros), Some(START_US));
    }
}

#[tokio::test]
async fn t5_one_of_several_new_hosts_that_reaches_back_is_enough() {
    let database = fresh().await;
    leave(&database.pool, START_US).await;
    let late = Host::start(&[(START_US + HOUR, 1)]).await;
    // It sends only after the other has.
    let early = Upstream::start(|_| vec![Act::WaitForGo, v1(2, START_US - HOUR), Act::Stay]).await;
    let early_source = format!("jetstream+ws://{}", early.address);
    let pump = Pump::with(&database.pool, Pump::options(&[&late.source(), &early_source]));
    until(&database.pool, THE_FIRST_GAP).await;
    assert_eq!(list(&database.pool).await[0].state, State::Open);
    early.go();
    until(&database.pool, "SELECT bool_and(state = 'closed' AND closed_by = 'source') FROM gaps").await;
    pump.stop().await;
}

#[tokio::test]
async fn t5_a_source_beside_one_that_stays_is_no_change_of_host() {
    let database = fresh().await;
    let old = Host::start(&[(START_US, 0)]).await;
    let pump = Pump::start(&database.pool, &old.source());
    until_as(&database.pool, &model([0])).await;
    pump.stop().await;
    let new = Host::start(&[(START_US + HOUR, 1)]).await;
    let options = ingest::Options { start: Start::Live, ..Pump::options(&[&old.source(), &new.source()]) };
    let pump = Pump::with(&database.pool, options);
    until_as(&database.pool, &model(0..2)).await;
    pump.stop().await;
    assert_eq!(recorded_gaps(&database.pool).await, []);
}

#[tokio::test]
async fn t13_a_quiet_night_is_remembered_and_opens_no_gap() {
    let database = fresh().await;
    let now = chrono::Utc::now().timestamp_micros();
    // One that answers pings.
    let host = Host::start_and_then(&[(now, 0)], vec![Act::Stay]).await;
    let mut options = Pump::options(&[&host.source()]);
    options.tuning.ping_interval = Duration::from_millis(20);
    let pump = Pump::with(&database.pool, options);
    // While the upstream answers, the quiet grows.
    until(&database.pool, "SELECT EXISTS (SELECT FROM positions WHERE quiet_until IS NOT NULL)").await;
    let grows = "SELECT EXISTS (SELECT FROM positions WHERE quiet_until > event_at - interval '58 seconds')";
    until(&database.pool, grows).await;
    assert_eq!(position(&database.pool, host.upstream.address).await, Some(now), "the position stays where it is");
    pump.stop().await;

    // The last event was thirty hours ago, and the host keeps a day; until a minute ago we were there.
    let age = "UPDATE positions SET value = value - 108000000000, event_at = event_at - interval '30 hours'";
    sqlx::query(age).execute(&database.pool).await.expect("one");
    host.change(|events| *events = vec![(now + 1, 1)]);
    let pump = Pump::start(&database.pool, &host.source());
    until_as(&database.pool, &model(0..2)).await;
    pump.stop().await;
    assert_eq!(recorded_gaps(&database.pool).await, []);

    // The same without having been there.
    sqlx::query(age).execute(&database.pool).await.expect("one");
    sqlx::query("UPDATE positions SET quiet_until = NULL").execute(&database.pool).await.expect("one");
    host.change(|events| *events = vec![(now + 2, 2)]);
    let pump = Pump::start(&database.pool, &host.source());
    until_as(&database.pool, &model(0..3)).await;
    pump.stop().await;
    assert_eq!(recorded_gaps(&database.pool).await, [("clamped", Some(now + 1 - 30 * HOUR), Some(now + 2))]);
}

#[tokio::test]
async fn a9_a_sync_of_a_known_repo_opens_a_gap_once_for_each_head() {
    let database = fresh().await;
    let known = did(3);
    let rev = |number: i64| tid(START_US + number * SECOND, 1);
    let sync = |did: &str, number: i64, seq: i64| Act::Binary(wire::firehose_sync(did, rev(number), seq, START_US));
    let upstream = scripted(vec![
        vec![
            firehose(0, 1, START_US),
            sync(&did(99), 5, 2),
            sync(&known, 5, 3),
            // Again, and an older one.
            sync(&known, 5, 4),
            sync(&known, 4, 5),
            firehose(1, 6, START_US),
        ],
        vec![sync(&known, 5, 7), sync(&known, 3, 8), firehose(2, 9, START_US)],
        vec![sync(&known, 9, 10), firehose(3, 11, START_US)],
    ])
    .await;
    let pump = Pump::start(&database.pool, &format!("firehose+ws://{}", upstream.address));
    until_as(&database.pool, &model(0..2)).await;
    assert_eq!(recorded_gaps(&database.pool).await, [("sync", None, Some(rev(5)))]);
    let gap = list(&database.pool).await.remove(0);
    assert_eq!(gap.did.as_ref().map(ToString::to_string), Some(known));
    // Once it is closed, a head that was received before opens no gap, and a newer one does.
    close(&database.pool, gap.id).await;
    upstream.go();
    until_as(&database.pool, &model(0..3)).await;
    assert_eq!(recorded_gaps(&database.pool).await.len(), 1);
    upstream.go();
    until_as(&database.pool, &model(0..4)).await;
    assert_eq!(recorded_gaps(&database.pool).await, [("sync", None, Some(rev(9))), ("sync", None, Some(rev(5)))]);
    pump.stop().await;
}

#[tokio::test]
async fn a_gap_that_a_repair_has_taken_up_is_not_closed_past_what_came_since() {
    let database = fresh().await;
    let host = Host::start(&[(START_US, 0)]).await;
    let pump = Pump::start(&database.pool, &host.source());
    until_as(&database.pool, &model([0])).await;
    host.change(|events| *events = vec![(START_US + 40 * HOUR, 1)]);
    host.break_off().await;
    until_as(&database.pool, &model(0..2)).await;
    let mut connection = database.pool.acquire().await.expect("a connection");
    let id = gaps::list_open(&mut connection, 10).await.expect("an answer")[0].id;
    assert!(gaps::set_state(&mut connection, id, State::Repairing).await.expect("an answer"));
    assert_eq!(gaps::list_open(&mut connection, 10).await.expect("an answer"), []);
    // While it works, more is lost.
    host.change(|events| *events = vec![(START_US + 80 * HOUR, 2)]);
    host.break_off().await;
    until_as(&database.pool, &model(0..3)).await;
    let done_at = chrono::Utc::now();
    assert!(
        !gaps::close(&mut connection, id, By::Repair, None, done_at).await.expect("an answer"),
        "it did not look there"
    );
    assert!(gaps::set_state(&mut connection, id, State::Repairing).await.expect("an answer"));
    assert!(gaps::close(&mut connection, id, By::Repair, None, done_at).await.expect("an answer"));
    assert!(!gaps::close(&mut connection, id, By::Repair, None, done_at).await.expect("an answer"), "twice");
    pump.stop().await;
}

/// The database refuses the gap, and nothing else of the batch: then the position behind it is not stored either.
#[tokio::test]
async fn t6_a_position_never_passes_a_gap_that_could_not_be_opened() {
    let database = fresh().await;
    let mut connection = database.pool.acquire().await.expect("a connection");
    let run = async |statement: &'static str| {
        sqlx::query(statement).execute(&database.pool).await.expect("a statement");
    };
    run("ALTER TABLE gaps ADD CONSTRAINT none CHECK (reason <> 'too_old')").await;
    let source: Arc<str> = "firehose+wss://relay.example".into();
    let lost = GapChange::Opens {
        reason: GapReason::TooOld,
        kind: Some(PositionKind::FirehoseSeq),
        from: End { value: Some(10), at: None },
        to: End { value: Some(900), at: None },
        detail: "the upstream says so".to_owned(),
    };
    let batch = Batch {
        gaps: vec![Gap { source: source.clone(), change: lost }],
        positions: vec![Reached::to(source, PositionKind::FirehoseSeq, 900)],
        ..Batch::default()
    };
    let mut applier = Applier::new(Collections::of_namespace("fm.plyr").expect("a namespace"), Clock::system());
    let refused = applier.apply(&mut connection, &batch).await.expect_err("the gap is refused");
    assert!(refused.is_about_a_row(), "{refused}");
    let positions = "SELECT count(*) FROM positions";
    let count = async || sqlx::query_scalar::<_, i64>(positions).fetch_one(&database.pool).await.expect("a count");
    assert_eq!(count().await, 0);
    run("ALTER TABLE gaps DROP CONSTRAINT none").await;
    applier.apply(&mut connection, &batch).await.expect("both are taken");
    assert_eq!((count().await, recorded_gaps(&database.pool).await), (1, vec![("too_old", Some(10), Some(900))]));
}

fn index(database_url: &str, source: &str, folder: &std::path::Path) -> Child {
    command(database_url)
        .arg("index")
        .env("PLYR_SOURCES", source)
        .env("PLYR_ADMIN_BIND", "127.0.0.1:0")
        .env("PLYR_DATA_DIR", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts")
}

#[tokio::test]
async fn t6_a_gap_survives_kill_9_and_is_one() {
    let database = fresh().await;
    let folder = tempfile::tempdir().expect("a folder");
    let outdated = || Act::Binary(wire::firehose_info("OutdatedCursor"));
    let upstream = Upstream::start(move |request| {
        let mut acts = match (request.connection, request.cursor().unwrap_or(0)) {
            (0, _) => vec![firehose(0, 10, START_US)],
            // The first process that receives this dies before any event comes.
            (1, 10) => vec![outdated()],
            (_, 10) => vec![outdated(), firehose(1, 900, START_US + 90 * HOUR), firehose(2, 901, START_US + 90 * HOUR)],
            (_, 901) => vec![],
            (connection, cursor) => panic!("connection {connection} asks for {cursor}"),
        };
        acts.push(Act::Stay);
        acts
    })
    .await;
    let source = format!("firehose+ws://{}", upstream.address);
    let kill = |mut child: Child| {
        child.kill().expect("our own child");
        child.wait().expect("our own child");
    };
    let child = index(&database.url, &source, folder.path());
    until_as(&database.pool, &model([0])).await;
    kill(child);
    let child = index(&database.url, &source, folder.path());
    until(&database.pool, THE_FIRST_GAP).await;
    kill(child);
    assert_eq!(recorded_gaps(&database.pool).await, [("too_old", Some(10), None)]);
    for _ in 0..2 {
        let child = index(&database.url, &source, folder.path());
        until_as(&database.pool, &model(0..3)).await;
        until(&database.pool, ONE_THAT_HAS_ENDED).await;
        kill(child);
        assert_eq!(recorded_gaps(&database.pool).await, [("too_old", Some(10), Some(900))]);
    }
}

#[tokio::test]
async fn t6_a_gap_is_seen_over_http_and_closed_by_command() {
    let database = fresh().await;
    let host = Host::start(&[(START_US, 0)]).await;
    // Reading repos is off: the gap stays for the operator.
    let settings = Settings::new()
        .with("DATABASE_URL", &database.url)
        .with("PLYR_SOURCES", host.source())
        .with("PLYR_READ_REPOS", "false");
    let program = Program::serve(&settings).await;
    until_as(&database.pool, &model([0])).await;
    let none = json!({"open": 0, "repairing": 0, "oldest_at": null, "by_reason": {}});
    assert_eq!(program.get("/status", &[]).await.expect("an answer")["gaps"], none);
    assert!(text(&settings, &["gaps"]).contains("there is no gap"));
    assert!(text(&settings, &["status"]).contains("no gap is open"));
    host.change(|events| *events = vec![(START_US + 40 * HOUR, 1)]);
    host.break_off().await;
    until_as(&database.pool, &model(0..2)).await;

    let gaps = until_open(&program, 1).await;
    assert_eq!(gaps["by_reason"], json!({"clamped": 1}));
    assert!(gaps["oldest_at"].is_string(), "{gaps}");
    let opened = "plyr_gaps_opened_total{reason=\"clamped\"} 1";
    let metrics = program.metrics().await;
    assert!(
        metrics.contains(opened) && metrics.contains("plyr_gaps_opened_total{reason=\"incomplete\"} 0"),
        "{metrics}"
    );
    until_metric(&program, "plyr_gaps_open{reason=\"clamped\"} 1").await;
    let listed = text(&settings, &["gaps"]);
    assert!(listed.contains("clamped") && listed.contains(&host.source()) && listed.contains("open"), "{listed}");
    assert!(text(&settings, &["status"]).contains("OPEN GAPS"));
    let id = list(&database.pool).await[0].id.to_string();
    let shown = text(&settings, &["gaps", "show", &id]);
    assert!(shown.contains("the upstream began later") && shown.contains("jetstream_v1_us"), "{shown}");

    assert!(text(&settings, &["gaps", "close", &id, "--note", "replayed the log"]).contains("closed"));
    assert_eq!(until_open(&program, 0).await, none);
    assert!(text(&settings, &["gaps"]).contains("there is no gap"));
    let all = text(&settings, &["gaps", "list", "--all"]);
    assert!(all.contains("clamped") && all.contains("closed"), "{all}");
    let shown = text(&settings, &["gaps", "show", &id]);
    assert!(shown.contains("operator") && shown.contains("replayed the log"), "{shown}");
    until_metric(&program, "plyr_gaps_open{reason=\"clamped\"} 0").await;
    for (arguments, why) in [
        (vec!["gaps", "close", &id, "--note", "again"], "is closed already"),
        (vec!["gaps", "close", "4711", "--note", "which"], "there is no gap 4711"),
        (vec!["gaps", "show", "4711"], "there is no gap 4711"),
    ] {
        let output = settings.try_run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(settings.try_run(&["gaps", "close", &id]).status.code(), Some(2), "a note is due");
}

/// What a command prints.
fn text(settings: &Settings, arguments: &[&str]) -> String {
    String::from_utf8(settings.run(arguments).stdout).expect("UTF-8")
}

/// The gaps of the report, which may be a second old.
async fn until_open(program: &Program, open: i64) -> Value {
    program
        .wait_until("the report says how many gaps are open", async |program| {
            let gaps = program.get("/status", &[]).await?["gaps"].clone();
            if gaps["open"] == open { Ok(()) } else { Err(gaps.to_string()) }
        })
        .await;
    program.get("/status", &[]).await.expect("an answer")["gaps"].clone()
}

async fn until_metric(program: &Program, line: &str) {
    program
        .wait_until(line, async |program| {
            let metrics = program.metrics().await;
            if metrics.contains(line) { Ok(()) } else { Err(metrics) }
        })
        .await;
}
