//! A repo read and compared: what counts as read, what as a difference, and what is written of it.

use std::sync::{
    LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use plyr_likes::{
    apply::Lowered,
    atproto::{Cid, Did, RecordKey, Tid},
    crawl::resync::{
        Both, Drift, Held, Ours, Path, Progress, ReadError, Record, RepoSource, Theirs, compare, plan, read_listed,
    },
    decode::RawFormat,
    model::{Collection, Collections, Event, EventBody},
    pds::{HostUrl, Server},
};
use serde_json::{Value, json};

use crate::{
    pipeline::pds::{ManualClock, open_client},
    support::host::{Asked, Host, Reply},
};

const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
const CID: &str = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a";
const REV: i64 = 0x6_0000_0000_0000;

fn did() -> Did {
    Did::parse(DID).unwrap()
}

fn collections() -> Collections {
    Collections::of_namespace("fm.plyr").unwrap()
}

fn rev(step: i64) -> Tid {
    Tid::from_number(REV + step)
}

fn path(number: usize) -> Path {
    (Collection::Like, RecordKey::parse(["3l3qo2vuowo22", "3l3qo2vuowo2c", "3l3qo2vuowo2k"][number]).unwrap())
}

fn like(title: &str) -> Vec<u8> {
    let subject = json!({"uri": format!("at://{DID}/fm.plyr.track/{title}"), "cid": CID});
    let record = json!({"$type": "fm.plyr.like", "createdAt": "2026-01-01T00:00:00Z", "subject": subject});
    record.to_string().into_bytes()
}

fn version(number: u8) -> Cid {
    Cid::of_record(&[number])
}

/// A repo at a rev, which holds these versions.
fn theirs(at: Tid, records: &[(usize, u8)]) -> Theirs {
    let record = |version| Record { cid: version, format: RawFormat::RecordJson, bytes: like("3l3pte3p2e325") };
    let records = records.iter().map(|(place, number)| (path(*place), record(version(*number))));
    Theirs { rev: at, records: records.collect() }
}

/// What the index holds: at each path a rev, and a version unless it is a tombstone.
fn ours(held: &[(usize, Tid, Option<u8>)]) -> Ours {
    let rows = held.iter().map(|(place, rev, number)| {
        (path(*place), Held { rev: *rev, head: number.map(|number| version(number).head()) })
    });
    Ours { paths: rows.collect(), ..Ours::default() }
}

/// What the index holds came after the repo was read, or may have.
fn after<'a>(theirs: &'a Theirs, ours: &'a Ours) -> Both<'a> {
    static NOTHING: LazyLock<Ours> = LazyLock::new(Ours::default);
    Both { theirs, ours, earlier: &NOTHING }
}

fn compare_after(theirs: &Theirs, ours: &Ours) -> Vec<(Path, Drift)> {
    compare(after(theirs, ours))
}

/// A rev that the index held before the head was asked for, and that the repo has not reached, is none of the repo as it is: a host that was
/// restored from a backup, or a rev of next year. What came meanwhile is not meant, nor what changed meanwhile.
#[test]
fn h5_a_rev_above_the_head_is_drift_if_it_was_there_before() {
    let read = theirs(rev(10), &[(0, 1)]);
    let held = ours(&[(0, rev(12), Some(1)), (1, rev(11), Some(2)), (2, rev(12), None)]);
    let found = compare(Both { theirs: &read, ours: &held, earlier: &held });
    assert_eq!(found, [(path(0), Drift::Differing), (path(1), Drift::Extra), (path(2), Drift::Extra)]);
    let repair = plan(&collections(), &did(), Both { theirs: &read, ours: &held, earlier: &held });
    let lowered = Lowered { did: did(), revs: vec![rev(11), rev(12)], to: rev(8) };
    assert_eq!(repair.batch.lowered, [lowered]);
    assert!(repair.batch.events.iter().all(|event| event.rev() == Some(rev(10))) && repair.batch.events.len() == 3);

    let before = ours(&[(0, rev(3), Some(1)), (1, rev(3), Some(2))]);
    assert_eq!(compare(Both { theirs: &read, ours: &held, earlier: &before }), []);
    let repair = plan(&collections(), &did(), Both { theirs: &read, ours: &held, earlier: &before });
    assert_eq!((repair.batch.lowered, repair.batch.events.len()), (Vec::new(), 0));
}

#[test]
fn b5_each_way_to_differ() {
    let found =
        compare_after(&theirs(rev(10), &[(0, 1), (1, 2)]), &ours(&[(1, rev(3), Some(9)), (2, rev(4), Some(3))]));
    assert_eq!(found, [(path(0), Drift::Missing), (path(1), Drift::Differing), (path(2), Drift::Extra)]);
    let same = ours(&[(0, rev(3), Some(1)), (1, rev(10), Some(2)), (2, rev(4), None)]);
    assert_eq!(compare_after(&theirs(rev(10), &[(0, 1), (1, 2)]), &same), []);
    let gone = ours(&[(0, rev(3), None)]);
    assert_eq!(compare_after(&theirs(rev(10), &[(0, 1)]), &gone), [(path(0), Drift::Missing)]);
}

/// Rev 10 was read. Meanwhile a stream has brought rev 11: a create, an update and a delete.
#[test]
fn b1_what_came_after_the_reading_is_no_difference() {
    let since = ours(&[(0, rev(11), Some(1)), (1, rev(11), Some(9)), (2, rev(11), None)]);
    assert_eq!(compare_after(&theirs(rev(10), &[(1, 2), (2, 3)]), &since), []);
    // The same at the rev of the reading is what the reading says.
    let with_it = ours(&[(0, rev(10), Some(1)), (1, rev(10), Some(9)), (2, rev(10), None)]);
    let found = compare_after(&theirs(rev(10), &[(1, 2), (2, 3)]), &with_it);
    assert_eq!(found, [(path(0), Drift::Extra), (path(1), Drift::Differing), (path(2), Drift::Missing)]);
}

/// What was refused once is held, as a reject: it is not refused again with each reading.
#[test]
fn b5_what_is_kept_as_a_reject_is_not_missing() {
    let repo = theirs(rev(10), &[(0, 1), (1, 2)]);
    let mut held = ours(&[(0, rev(3), None)]);
    held.refused.extend([(path(0), version(1)), (path(1), version(2))]);
    assert_eq!(compare_after(&repo, &held), []);
    // Another version of it is.
    assert_eq!(compare_after(&theirs(rev(11), &[(0, 7)]), &held), [(path(0), Drift::Missing)]);
}

#[test]
fn b5_what_differs_is_written_at_the_rev_of_the_reading() {
    let (read, held) = (theirs(rev(10), &[(0, 1)]), ours(&[(1, rev(3), Some(9))]));
    let repair = plan(&collections(), &did(), after(&read, &held));
    let revs: Vec<Tid> = repair
        .batch
        .events
        .iter()
        .map(|event| match &event.body {
            EventBody::Commit(commit) => commit.rev,
            other => panic!("no commit: {other:?}"),
        })
        .collect();
    let revs_of_rejects = repair.batch.rejects.iter().filter_map(|(_, reject)| Some(reject.path.as_ref()?.rev));
    assert_eq!(revs.into_iter().chain(revs_of_rejects).collect::<Vec<_>>(), [rev(10), rev(10)]);
    assert_eq!((repair.paths.len(), repair.compared), (2, 1));
}

#[test]
fn b5_what_is_held_wrongly_at_the_rev_of_the_reading_loses() {
    let (read, held) = (theirs(rev(10), &[(0, 1)]), ours(&[(0, rev(10), Some(9)), (1, rev(10), Some(9))]));
    let repair = plan(&collections(), &did(), after(&read, &held));
    assert_eq!(repair.batch.lowered, [Lowered { did: did(), revs: vec![rev(10)], to: rev(8) }]);
    let revs = repair.batch.events.iter().filter_map(Event::rev);
    let revs_of_rejects = repair.batch.rejects.iter().filter_map(|(_, reject)| Some(reject.path.as_ref()?.rev));
    assert_eq!(revs.chain(revs_of_rejects).collect::<Vec<Tid>>(), [rev(10); 2], "{:?}", repair.paths);
}

/// A PDS that has one like, at the revs that it names one after the other, and these other records.
async fn pds(revs: &'static [i64], also: Vec<Value>) -> (Host, Server) {
    let asked_for_revs = AtomicUsize::new(0);
    let host = Host::start(move |asked: &Asked| {
        if asked.target.contains("getLatestCommit") {
            let at = asked_for_revs.fetch_add(1, Ordering::SeqCst).min(revs.len() - 1);
            return Reply::ok(json!({"cid": CID, "rev": rev(revs[at]).to_string()}).to_string());
        }
        let mut records = Vec::new();
        if asked.target.contains("fm.plyr.like") {
            let key = &path(0).1;
            records.push(json!({"uri": format!("at://{DID}/fm.plyr.like/{key}"), "cid": CID, "value": {}}));
            records.extend(also.clone());
        }
        Reply::ok(json!({"records": records}).to_string())
    })
    .await;
    let server = Server::untrusted(open_client(&ManualClock::new()), HostUrl::parse(&host.url()).unwrap());
    (host, server)
}

async fn read(server: &Server) -> Result<Theirs, ReadError> {
    let source = RepoSource { server, collections: &collections(), did: &did() };
    read_listed(source, &Ours::default(), &mut Progress::begin(server.client().memory(), 0)).await
}

#[tokio::test]
async fn b1_a_repo_that_changes_while_it_is_listed_is_listed_again() {
    let (host, server) = pds(&[1, 2, 2], Vec::new()).await;
    let theirs = read(&server).await.unwrap();
    assert_eq!((theirs.rev, theirs.records.len()), (rev(2), 1));
    let listings = host.asked().iter().filter(|asked| asked.target.contains("collection=fm.plyr.like&")).count();
    assert_eq!(listings, 2, "what was listed between two revs is of neither");
}

/// B6: without these two it would look as if their owner had deleted them.
#[tokio::test]
async fn b6_a_listing_that_is_not_complete_is_no_listing() {
    let uri = format!("at://{DID}/fm.plyr.like/3l3qo2vuowo2c");
    for broken in [json!({"uri": uri, "value": {}}), json!({"uri": "at://absent", "cid": CID, "value": {}})] {
        let (_host, server) = pds(&[1], vec![broken]).await;
        assert!(matches!(read(&server).await, Err(ReadError::Malformed(1))));
    }
    let (_host, server) = pds(&[1], Vec::new()).await;
    assert_eq!(read(&server).await.unwrap().records.len(), 1);
}
