//! What servers answer of repos, and servers that are not to be believed.

use plyr_likes::{
    atproto::{AtUri, Did, Nsid},
    model::AccountStatus,
    pds::{Cursors, HostError, HostUrl, RecordQuery, RepoBounds, Server, XrpcError},
};
use serde_json::{Value, json};

use super::{ManualClock, open_client};
use crate::support::host::{Host, Reply};

const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
const CID: &str = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a";

fn did() -> Did {
    Did::parse(DID).unwrap()
}

fn likes() -> Nsid {
    Nsid::parse("fm.plyr.like").unwrap()
}

/// A server that answers everything with this.
async fn answering(reply: Reply) -> (Host, Server) {
    let host = Host::start(move |_| reply.clone()).await;
    let server = Server::untrusted(open_client(&ManualClock::new()), HostUrl::parse(&host.url()).unwrap());
    (host, server)
}

fn record(uri: &str) -> Value {
    json!({"uri": uri, "cid": CID, "value": {"$type": "fm.plyr.like", "n": 1}})
}

async fn list(page: Value, cursor: Option<&str>) -> Result<(Vec<String>, usize, Option<String>), XrpcError> {
    let (host, server) = answering(Reply::ok(page.to_string())).await;
    let query = RecordQuery { did: &did(), collection: &likes(), limit: 100, reverse: true };
    let page = server.fetch_records(query, cursor).await;
    assert!(host.asked()[0].target.starts_with(
        "/xrpc/com.atproto.repo.listRecords?repo=did%3Aplc%3Aewvi7nxzyoun6zhxrhs64oiz&collection=fm.plyr.like&limit=100&reverse=true"
    ));
    page.map(|page| {
        let keys = page.records.iter().map(|record| record.rkey.as_str().to_owned()).collect();
        (keys, page.malformed, page.cursor)
    })
}

#[tokio::test]
async fn a_page_of_records() {
    let uri = |key: &str| format!("at://{DID}/fm.plyr.like/{key}");
    let page = json!({"cursor": "next", "records": [record(&uri("a")), record("at://absent"), record(&uri("b"))]});
    let read = list(page.clone(), None).await.unwrap();
    assert_eq!(read, (vec!["a".to_owned(), "b".to_owned()], 1, Some("next".to_owned())));
    let same = list(page, Some("next")).await;
    assert_eq!(same, Err(XrpcError::BadAnswer("it gives the same page for ever")));
    let end = list(json!({"cursor": "more", "records": []}), Some("x")).await.unwrap();
    assert_eq!(end, (Vec::new(), 0, None), "an empty page is the last");
    let strange =
        ["at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/fm.plyr.like/a".to_owned(), format!("at://{DID}/fm.plyr.track/a")];
    for uri in strange {
        let answer = list(json!({"records": [record(&uri)]}), None).await;
        assert!(matches!(answer, Err(XrpcError::BadAnswer(_))), "{uri}: {answer:?}");
    }
    let none = list(json!({"records": 7}), None).await;
    assert!(matches!(none, Err(XrpcError::Host(HostError::NotAsExpected(_)))), "{none:?}");
}

#[test]
fn b3_pages_that_go_in_a_circle() {
    let mut cursors = Cursors::default();
    for cursor in [Some("a"), Some("b"), None, Some("c")] {
        cursors.advance(cursor).unwrap();
    }
    assert!(matches!(cursors.advance(Some("b")), Err(XrpcError::BadAnswer(_))));
}

#[tokio::test]
async fn what_is_wrong_with_a_repo() {
    let error = |name: &str, message: &str| {
        let body = json!({"error": name, "message": message}).to_string();
        Reply::Answer(400, vec![("Content-Type", "application/json".to_owned())], body.into_bytes())
    };
    for (name, expected) in [
        ("RepoNotFound", XrpcError::RepoNotFound),
        ("RepoTakendown", XrpcError::RepoTakendown),
        ("RepoSuspended", XrpcError::RepoSuspended),
        ("RepoDeactivated", XrpcError::RepoDeactivated),
    ] {
        let (_host, server) = answering(error(name, "why")).await;
        let answer = server.fetch_latest_commit(&did()).await.unwrap_err();
        assert!(answer.is_unavailable());
        assert_eq!(answer, expected);
    }
    let (_host, server) = answering(error("InvalidRequest", &format!("Could not find repo: {DID}"))).await;
    let query = RecordQuery { did: &did(), collection: &likes(), limit: 1, reverse: false };
    assert_eq!(server.fetch_records(query, None).await.unwrap_err(), XrpcError::RepoNotFound);
    let (_host, server) = answering(error("InvalidRequest", "no such method")).await;
    let answer = server.fetch_latest_commit(&did()).await.unwrap_err();
    assert!(!answer.is_unavailable() && matches!(answer, XrpcError::Host(HostError::Status { status: 400, .. })));
    // B6: what is no answer of a PDS says nothing of the repo.
    for reply in [Reply::status(404), Reply::status(500), Reply::ok("<html>"), Reply::ok("{}"), Reply::Cut] {
        let (_host, server) = answering(reply.clone()).await;
        let answer = server.fetch_latest_commit(&did()).await.unwrap_err();
        assert!(!answer.is_unavailable() && matches!(answer, XrpcError::Host(_)), "{reply:?}: {answer:?}");
    }
}

#[tokio::test]
async fn answers_about_another_repo() {
    let (_host, server) =
        answering(Reply::ok(json!({"did": DID, "active": false, "status": "takendown"}).to_string())).await;
    let status = server.fetch_repo_status(&did()).await.unwrap();
    assert_eq!((status.active, status.status, status.rev), (false, Some(AccountStatus::Takendown), None));
    let other = Did::parse("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
    assert!(matches!(server.fetch_repo_status(&other).await, Err(XrpcError::BadAnswer(_))));
    let (_host, server) = answering(Reply::ok(record(&format!("at://{DID}/fm.plyr.like/b")).to_string())).await;
    let uri = |key: &str| AtUri::parse(&format!("at://{DID}/fm.plyr.like/{key}")).unwrap();
    assert_eq!(server.fetch_record(&uri("b")).await.unwrap().value.get(), r#"{"$type":"fm.plyr.like","n":1}"#);
    assert!(matches!(server.fetch_record(&uri("a")).await, Err(XrpcError::BadAnswer(_))));
}

#[tokio::test]
async fn the_relays_list() {
    let page = json!({"cursor": "next", "repos": [{"did": DID}, {"did": "absent"}, {"did": "did:web:example.com"}]});
    let (host, server) = answering(Reply::ok(page.to_string())).await;
    let read = server.fetch_repos_by_collection(&likes(), 2000, None).await.unwrap();
    assert_eq!((read.dids.len(), read.malformed, read.cursor.as_deref()), (2, 1, Some("next")));
    assert_eq!(
        host.asked()[0].target,
        "/xrpc/com.atproto.sync.listReposByCollection?collection=fm.plyr.like&limit=2000"
    );
    assert!(matches!(server.fetch_repos_by_collection(&likes(), 1, Some("next")).await, Err(XrpcError::BadAnswer(_))));
}

#[tokio::test]
async fn a_repo_that_is_too_large() {
    let (_host, server) = answering(Reply::Flood).await;
    let bounds = RepoBounds { bytes_max: 100_000, ..RepoBounds::default() };
    let mut download = server.fetch_repo(&did(), None, bounds).await.unwrap();
    let mut bytes = 0;
    let error = loop {
        match download.next().await {
            Ok(piece) => bytes += piece.unwrap().len(),
            Err(error) => break error,
        }
    };
    assert_eq!(error, HostError::TooLarge { bytes_max: 100_000 });
    assert!(bytes <= 100_000);
}
