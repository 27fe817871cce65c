//! The same against a real PLC directory and a real PDS.

use plyr_likes::{
    atproto::{AtUri, Cid, Did, Handle, Nsid, Tid},
    model::AccountStatus,
    pds::{Cursors, Directory, HandleAnswer, HostUrl, RecordQuery, RepoBounds, Server, XrpcError},
};

use super::{ManualClock, client, names, options};
use crate::support::network::{Network, Operation, like, track};

#[tokio::test]
async fn a_real_account() {
    let network = Network::start_fast().await;
    let alice = network.account("alice").await;
    let song = alice.create("fm.plyr.track", track("Song")).await;
    let operations: Vec<Operation> = (0..120).map(|_| Operation::create("fm.plyr.like", like(&song))).collect();
    alice.apply_writes(&operations).await;

    // The PDS calls itself localhost.
    let client = client(options(true), &names(&[("localhost", &["127.0.0.1"])], &[]), &ManualClock::new());
    let directory = Directory::new(client.clone(), names(&[], &[]), HostUrl::parse(&network.plc_url).unwrap());
    let did = Did::parse(&alice.did).unwrap();
    let document = directory.fetch_document(&did).await.unwrap();
    let handle = Handle::parse("alice.test").unwrap();
    assert_eq!(document.handle, Some(handle.clone()));
    assert!(document.signing_key.is_some());
    let pds = document.pds.unwrap();
    assert_eq!(directory.fetch_handle_owner(&handle, Some(&pds)).await, HandleAnswer::Of(did.clone()));
    let absent = Did::parse("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
    assert!(directory.fetch_document(&absent).await.is_err());

    let server = Server::untrusted(client, pds);
    let head = server.fetch_latest_commit(&did).await.unwrap();
    let (cid, rev) = alice.get_latest_commit().await;
    assert_eq!((head.cid, head.rev), (Cid::parse(&cid).unwrap(), Tid::parse(&rev).unwrap()));

    let likes = Nsid::parse("fm.plyr.like").unwrap();
    let expected: Vec<(String, String)> = alice
        .list_records("fm.plyr.like")
        .await
        .iter()
        .map(|like| (like.rkey().to_owned(), like.cid.clone()))
        .collect();
    assert_eq!(expected.len(), 120);
    for reverse in [false, true] {
        let (mut listed, mut cursors, mut cursor) = (Vec::new(), Cursors::default(), None);
        loop {
            let query = RecordQuery { did: &did, collection: &likes, limit: 50, reverse };
            let page = server.fetch_records(query, cursor.as_deref()).await.unwrap();
            assert_eq!(page.malformed, 0);
            listed.extend(page.records.iter().map(|one| (one.rkey.as_str().to_owned(), one.cid.to_string())));
            cursors.advance(page.cursor.as_deref()).unwrap();
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        if reverse {
            listed.reverse();
        }
        assert_eq!(listed, expected, "reverse: {reverse}");
    }
    let one = server.fetch_record(&AtUri::parse(&song.uri).unwrap()).await.unwrap();
    assert_eq!(one.cid.to_string(), song.cid);

    let mut download = server.fetch_repo(&did, None, RepoBounds::default()).await.unwrap();
    let mut car = Vec::new();
    while let Some(piece) = download.next().await.unwrap() {
        car.extend_from_slice(&piece);
    }
    // The CAR names the head as its root.
    assert!(car.windows(36).any(|window| window == head.cid.to_bytes()), "{} bytes", car.len());

    let status = server.fetch_repo_status(&did).await.unwrap();
    assert_eq!((status.active, status.status, status.rev), (true, None, Some(head.rev)));
    alice.deactivate().await;
    let status = server.fetch_repo_status(&did).await.unwrap();
    assert_eq!((status.active, status.status), (false, Some(AccountStatus::Deactivated)));
    assert_eq!(server.fetch_latest_commit(&did).await, Err(XrpcError::RepoDeactivated));
    alice.activate().await;
    network.takedown(&alice.did, true).await;
    assert_eq!(server.fetch_latest_commit(&did).await, Err(XrpcError::RepoTakendown));
    network.takedown(&alice.did, false).await;
    network.delete_account(alice).await;
    assert_eq!(server.fetch_latest_commit(&did).await, Err(XrpcError::RepoNotFound));
    let query = RecordQuery { did: &did, collection: &likes, limit: 50, reverse: false };
    assert_eq!(server.fetch_records(query, None).await.unwrap_err(), XrpcError::RepoNotFound);
}
