//! Case H4: for how long a repo is read that its host gives slowly, and how much of it is held. Time is let pass where a test waits for it.

use std::time::Duration;

use plyr_likes::{
    atproto::{Did, Tid},
    crawl::resync::{Ours, Progress, ReadError, RepoSource, read_listed},
    model::Collections,
    pds::{HostError, HostUrl, Memory, Server, XrpcError},
};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    pipeline::pds::{ManualClock, open_client},
    support::host::{Asked, Host, Reply},
};

const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
const CID: &str = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a";

/// Reads the likes that this gives for each page, by the number of the request; of the other collections there is nothing.
async fn read(tries: u32, likes: impl Fn(usize) -> Reply + Send + Sync + 'static) -> (Result<usize, ReadError>, usize) {
    let host = Host::start(move |asked: &Asked| match asked.target.as_str() {
        target if target.contains("getLatestCommit") => {
            let rev = Tid::from_number(0x6_0000_0000_0000).to_string();
            Reply::ok(json!({"cid": CID, "rev": rev}).to_string())
        }
        target if target.contains("collection=fm.plyr.like&") => likes(asked.number),
        _ => Reply::ok(r#"{"records":[]}"#),
    })
    .await;
    let server = Server::untrusted(open_client(&ManualClock::new()), HostUrl::parse(&host.url()).unwrap());
    let (collections, did) = (Collections::of_namespace("fm.plyr").unwrap(), Did::parse(DID).unwrap());
    let source = RepoSource { server: &server, collections: &collections, did: &did };
    let mut progress = Progress::begin(server.client().memory(), tries);
    let read = read_listed(source, &Ours::default(), &mut progress).await;
    (read.map(|theirs| theirs.records.len()), host.asked().len())
}

/// A page of so many likes that are on no page of another number.
fn page(number: usize, records: usize) -> Reply {
    let record = |at: usize| {
        let rkey = Tid::from_number(0x6_0000_0000_0000 + i64::try_from(number * 1_000 + at).unwrap());
        json!({"uri": format!("at://{DID}/fm.plyr.like/{rkey}"), "cid": CID, "value": {}})
    };
    let records: Vec<_> = (0..records).map(record).collect();
    Reply::ok(json!({"records": records, "cursor": number.to_string()}).to_string())
}

/// A host that says nothing is waited for ten seconds, and longer after each failure: an honest one that is slow is read in the end.
#[tokio::test]
async fn h4_a_host_that_brings_nothing_is_not_waited_for() {
    for (tries, seconds) in [(0, 10), (1, 20), (20, 60)] {
        let begun = Instant::now();
        let passing = async {
            // The request is sent by then.
            tokio::time::sleep(Duration::from_millis(200)).await;
            tokio::time::pause();
        };
        let ((outcome, _), ()) = tokio::join!(read(tries, |_| Reply::Hang), passing);
        assert!(matches!(outcome, Err(ReadError::TooSlow(_) | ReadError::Xrpc(XrpcError::Host(HostError::TimedOut)))));
        let took = begun.elapsed().as_secs();
        // The request itself has a limit of 30 seconds.
        assert_eq!(took, seconds.min(30), "{outcome:?} after {took} s");
        tokio::time::resume();
    }
}

/// Each of these goes on for ever, and is known for what it is by the second page.
#[tokio::test]
async fn h4_pages_without_end_are_noticed() {
    let endless: [fn(usize) -> Reply; 3] = [
        // The same records under ever other cursors.
        |number| match page(0, 100) {
            Reply::Answer(status, headers, body) => {
                let body = String::from_utf8(body).unwrap();
                Reply::Answer(
                    status,
                    headers,
                    body.replace(r#""cursor":"0""#, &format!(r#""cursor":"{number}""#)).into(),
                )
            }
            other => other,
        },
        // The same cursor for ever.
        |_| page(7, 3),
        // A cursor of 60 KB.
        |number| Reply::ok(json!({"records": [], "cursor": format!("{number}{}", "c".repeat(60_000))}).to_string()),
    ];
    for likes in endless {
        let (outcome, asked) = read(0, likes).await;
        assert!(matches!(outcome, Err(ReadError::Xrpc(XrpcError::BadAnswer(_)))), "{outcome:?}");
        assert!(asked < 6, "{asked} requests");
    }
    // Empty pages with ever other cursors are the end.
    let empty = |number: usize| Reply::ok(json!({"records": [], "cursor": number.to_string()}).to_string());
    assert!(matches!(read(0, empty).await.0, Ok(0)));
    // A repo of many pages is none of these.
    let many = |number: usize| if number < 40 { page(number, 100) } else { Reply::ok(r#"{"records":[]}"#) };
    let (outcome, _) = read(0, many).await;
    assert!(outcome.is_ok_and(|records| records > 3_000));
}

/// All readings together hold a quarter of a gibibyte; what ordinary repos need waits for none of it.
#[tokio::test(start_paused = true)]
async fn h4_what_readings_hold_is_bounded_in_total() {
    let memory = Memory::default();
    let mut large: Vec<_> = (0..2).map(|_| memory.hold()).collect();
    for held in &mut large {
        for _ in 0..128 {
            held.grow(1 << 20).await.unwrap();
        }
    }
    let mut small = memory.hold();
    small.grow(1 << 20).await.unwrap();
    let begun = Instant::now();
    let mut third = memory.hold();
    assert_eq!(third.grow(8 << 20).await, Err(HostError::NoRoom));
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
    // What one returns, another has.
    let waiting = async { memory.hold().grow(64 << 20).await };
    let returning = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        large.clear();
    };
    assert_eq!(tokio::join!(waiting, returning).0, Ok(()));
}
