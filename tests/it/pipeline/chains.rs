//! Repos whose owners we know are followed from commit to commit: one that is missing shows by the next.

use ipld_core::ipld::Ipld;

use crate::{
    pipeline::wire::{message, set},
    support::{
        dump,
        history::{Dialect, Message},
        repo::{Repo, encode, map},
        world::World,
    },
};
use serde_json::json;

const REV: i64 = 0x6_0000_0000_0000;

fn like(key: char) -> (String, Vec<u8>) {
    let subject = map([
        ("uri", "at://did:plc:artist/fm.plyr.track/3l3pte3p2e325".into()),
        ("cid", "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a".into()),
    ]);
    let record =
        map([("$type", "fm.plyr.like".into()), ("createdAt", "2026-07-04T12:00:00.000Z".into()), ("subject", subject)]);
    (format!("fm.plyr.like/3l3qo2vu2222{key}"), encode(&record))
}

/// Commits one after the other, each of one like.
fn commits(repo: &mut Repo, count: u8) -> Vec<Ipld> {
    (0..count)
        .map(|at| {
            let (path, record) = like(char::from(b'a' + at));
            repo.commit(REV + i64::from(at), &[(&path, Some(record))])
        })
        .collect()
}

/// The same commits, of a collection that is not ours.
fn foreign_commits(repo: &mut Repo, revs: impl Iterator<Item = i64>) -> Vec<Ipld> {
    revs.map(|rev| {
        let (path, record) = (format!("app.example.post/{rev}"), encode(&map([("text", rev.to_string().into())])));
        repo.commit(REV + rev, &[(&path, Some(record))])
    })
    .collect()
}

fn frame(host: usize, kind: &str, payload: &Ipld) -> Message {
    let bytes = message(&json!({"op": 1, "t": kind}), payload);
    Message {
        host,
        dialect: Dialect::Firehose,
        position: 1,
        bytes,
        writes: Vec::new(),
        account_event: None,
        garbage: false,
    }
}

async fn deliver(world: &mut World, host: usize, payloads: &[Ipld]) {
    let messages: Vec<Message> = payloads.iter().map(|payload| frame(host, "#commit", payload)).collect();
    world.deliver(&messages).await;
}

/// Whose chain is broken, and between which revs.
async fn breaks(world: &World) -> Vec<(String, i64, i64)> {
    sqlx::query_as("SELECT did, from_value - $1, to_value - $1 FROM gaps WHERE reason = 'chain' ORDER BY id")
        .bind(REV)
        .fetch_all(&world.database.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn t1_a_repo_that_follows_on_opens_no_gap_however_often_it_comes() {
    let mut world = World::new().await;
    let payloads = commits(&mut Repo::new("did:plc:one", 7), 12);
    for batch in payloads.chunks(5) {
        deliver(&mut world, 1, batch).await;
    }
    deliver(&mut world, 2, &payloads).await;
    for payload in payloads.iter().rev() {
        deliver(&mut world, 1, std::slice::from_ref(payload)).await;
    }
    assert_eq!(breaks(&world).await, []);
    assert_eq!(dump::count_rejects(&world.database.pool).await, 0);
    let kept: Vec<(i64,)> =
        sqlx::query_as("SELECT rev - $1 FROM commit_chains").bind(REV).fetch_all(&world.database.pool).await.unwrap();
    assert_eq!(kept, [(11,)]);
}

#[tokio::test]
async fn t14_a_commit_that_never_came_shows_by_the_next_of_any_collection() {
    let mut world = World::new().await;
    let mut repo = Repo::new("did:plc:one", 7);
    let ours = commits(&mut repo, 5);
    let foreign = foreign_commits(&mut repo, 5..9);
    deliver(&mut world, 1, &[&ours[..2], &ours[3..4]].concat()).await;
    assert_eq!(breaks(&world).await, [("did:plc:one".to_owned(), 1, 3)]);
    deliver(&mut world, 1, &foreign[..1]).await;
    deliver(&mut world, 1, &foreign[1..3]).await;
    assert_eq!(breaks(&world).await, [("did:plc:one".to_owned(), 1, 5)], "the open gap is widened, and no more");
    sqlx::query("UPDATE gaps SET state = 'closed', closed_at = now(), closed_by = 'repair'")
        .execute(&world.database.pool)
        .await
        .unwrap();
    deliver(&mut world, 1, &foreign[3..]).await;
    assert_eq!(breaks(&world).await.len(), 1, "it follows on again");
}

#[tokio::test]
async fn t15_two_sources_that_each_miss_others_follow_on_together() {
    let mut world = World::new().await;
    let payloads = commits(&mut Repo::new("did:plc:one", 7), 12);
    let of_host = |host: usize| {
        let some = payloads.iter().enumerate().filter(move |(at, _)| at % 3 != host);
        some.map(|(_, payload)| frame(host, "#commit", payload)).collect::<Vec<_>>()
    };
    let both = [of_host(1), of_host(2)].concat();
    world.deliver(&both).await;
    assert_eq!(breaks(&world).await, []);
    world.clear().await;
    world.deliver(&of_host(1)).await;
    assert_eq!(breaks(&world).await, [("did:plc:one".to_owned(), 0, 11)], "the fault was there to be found");
}

#[tokio::test]
async fn unknown_actors_are_not_followed_and_a_new_actor_begins() {
    let mut world = World::new().await;
    let mut repo = Repo::new("did:plc:one", 7);
    let foreign = foreign_commits(&mut repo, 0..6);
    deliver(&mut world, 1, &[&foreign[..2], &foreign[4..]].concat()).await;
    let count = async |world: &World| -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM commit_chains").fetch_one(&world.database.pool).await.unwrap()
    };
    assert_eq!(count(&world).await, 0);
    let (path, record) = like('y');
    let first = repo.commit(REV + 9, &[(&path, Some(record))]);
    deliver(&mut world, 1, &[first]).await;
    assert_eq!((breaks(&world).await, count(&world).await), (Vec::new(), 1));
}

/// Both commits follow on the same one by their revs; only the roots show that the second is of another history.
#[tokio::test]
async fn a_history_that_forks_shows_by_its_roots() {
    let mut world = World::new().await;
    let (mut repo, mut other) = (Repo::new("did:plc:one", 7), Repo::new("did:plc:one", 7));
    let ours = commits(&mut repo, 2);
    let (path, record) = like('z');
    other.commit(REV, &[(&path, Some(record))]);
    let theirs = foreign_commits(&mut other, 1..2);
    deliver(&mut world, 1, &ours[..1]).await;
    deliver(&mut world, 1, &theirs).await;
    assert_eq!(breaks(&world).await, [("did:plc:one".to_owned(), 0, 1)]);
}

/// A `#sync` that names this rev as the head of a repo, which it holds as it is now.
fn sync(repo: &Repo, rev: i64) -> Ipld {
    let mut sync = map([("did", "did:plc:one".into()), ("time", "2026-07-04T12:00:00.000Z".into())]);
    set(&mut sync, "rev", crate::support::model::tid_text(REV + rev).into());
    set(&mut sync, "seq", Ipld::Integer(9));
    set(&mut sync, "blocks", Ipld::Bytes(repo.archive(REV + rev)));
    sync
}

async fn sync_gaps(world: &World) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM gaps WHERE reason = 'sync'").fetch_one(&world.database.pool).await.unwrap()
}

/// What a PDS sends of a new account: its first commit, which is empty, a `#sync` of that, and then what is written.
#[tokio::test]
async fn h9_a_sync_of_what_came_as_a_commit_is_no_gap() {
    for together in [true, false] {
        let mut world = World::new().await;
        let mut repo = Repo::new("did:plc:one", 7);
        let first = frame(1, "#commit", &repo.commit(REV, &[]));
        let begins = frame(1, "#sync", &sync(&repo, 0));
        let (path, record) = like('a');
        let second = frame(1, "#commit", &repo.commit(REV + 1, &[(&path, Some(record))]));
        let messages = [first, begins, second, frame(2, "#sync", &sync(&repo, 1))];
        for batch in messages.chunks(if together { messages.len() } else { 1 }) {
            world.deliver(batch).await;
        }
        assert_eq!(sync_gaps(&world).await, 0, "together: {together}");

        // Another tree under the same rev, and a rev that never came, are gaps.
        let mut other = Repo::new("did:plc:one", 7);
        let (path, record) = like('b');
        other.commit(REV + 1, &[(&path, Some(record))]);
        world.deliver(&[frame(1, "#sync", &sync(&other, 1))]).await;
        assert_eq!(sync_gaps(&world).await, 1, "together: {together}");
        world.clear().await;
        deliver(&mut world, 1, &[repo.commit(REV + 2, &[])]).await;
        let (path, record) = like('c');
        deliver(&mut world, 1, &[repo.commit(REV + 3, &[(&path, Some(record))])]).await;
        world.deliver(&[frame(1, "#sync", &sync(&repo, 9))]).await;
        assert_eq!(sync_gaps(&world).await, 1, "together: {together}");
    }
}

#[tokio::test]
async fn a9_a_sync_begins_a_repo_again() {
    let mut world = World::new().await;
    let mut repo = Repo::new("did:plc:one", 7);
    let before = commits(&mut repo, 2);
    foreign_commits(&mut repo, 5..7);
    let sync = sync(&repo, 6);
    let after = foreign_commits(&mut repo, 7..9);
    deliver(&mut world, 1, &before).await;
    world.deliver(&[frame(1, "#sync", &sync)]).await;
    deliver(&mut world, 1, &after).await;
    assert_eq!(breaks(&world).await, []);
    let forked = foreign_commits(&mut Repo::new("did:plc:one", 7), 9..10);
    deliver(&mut world, 1, &forked).await;
    assert_eq!(breaks(&world).await, [("did:plc:one".to_owned(), 8, 9)]);
}
