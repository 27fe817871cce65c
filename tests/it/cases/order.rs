//! Cases O1 to O11: what order, repetition and lateness may not change. Each goes through decode and apply into the real
//! database and is compared with the referee, besides what it says itself.

use crate::support::{
    history::{History, Random, START_US, World as Shape, deliver, did, key, tid, track_uri},
    wire::{Body, Commit, Operation, like, list, some_cid, track, updated},
    world::World,
};

const AT: &str = "2025-01-01T00:00:00Z";

/// The rev of the commit that a repo makes in second `second`.
fn rev(second: i64) -> i64 {
    tid(START_US + second * 1_000_000, 17)
}

/// A commit with one operation on one of the actor's likes.
fn like_commit(actor: usize, second: i64, number: usize, body: Body) -> Commit {
    Commit::new(&did(actor), rev(second), vec![Operation::like(&key(1, number), body)])
}

/// A commit with one operation on the first actor's first track.
fn track_commit(second: i64, body: Body) -> Commit {
    Commit::new(&did(0), rev(second), vec![Operation::track(&key(3, 0), body)])
}

/// Every order of these commits.
fn orders(commits: &[Commit]) -> Vec<Vec<Commit>> {
    if commits.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in 0..commits.len() {
        let mut rest = commits.to_vec();
        let taken = rest.remove(first);
        for mut order in orders(&rest) {
            order.insert(0, taken.clone());
            all.push(order);
        }
    }
    all
}

/// Each order of the commits, in one batch and in one batch each, must leave this count on the first track.
async fn in_every_order(world: &mut World, before: &[Commit], commits: &[Commit], count: i64) {
    for order in orders(commits) {
        for at_once in [true, false] {
            world.clear().await;
            world.commit(before).await;
            if at_once {
                world.commit(&order).await;
            } else {
                world.commit_each(&order).await;
            }
            world.check().await;
            assert_eq!(world.like_count(&track_uri(0, 0)).await, count, "at once: {at_once}, order: {order:#?}");
        }
    }
}

#[tokio::test]
async fn o1_three_operations_with_one_rev_all_apply() {
    let mut world = World::new().await;
    let old = like_commit(1, 1, 0, like(&track_uri(0, 0), AT));
    let items = [(track_uri(0, 1), some_cid("1"))];
    let commit = Commit::new(
        &did(1),
        rev(2),
        vec![
            Operation::like(&key(1, 0), Body::Delete),
            Operation::like(&key(1, 1), like(&track_uri(0, 1), AT)),
            Operation::list(&key(2, 0), list(&items, Some("Liked"), Some("liked"), (AT, None))),
        ],
    );
    for way in ["one batch", "three batches", "three batches backwards", "one frame"] {
        world.clear().await;
        world.commit(std::slice::from_ref(&old)).await;
        let mut messages = world.v1_messages(std::slice::from_ref(&commit));
        if way.ends_with("backwards") {
            messages.reverse();
        }
        let mut applied = 0;
        match way {
            "one batch" => applied += world.deliver(&messages).await.applied,
            "one frame" => applied += world.firehose(&commit).await.applied,
            _ => {
                for message in &messages {
                    applied += world.deliver(std::slice::from_ref(message)).await.applied;
                }
            }
        }
        assert_eq!(applied, 3, "{way}");
        world.check().await;
        assert_eq!(world.like_count(&track_uri(0, 0)).await, 0, "{way}");
        assert_eq!(world.like_count(&track_uri(0, 1)).await, 1, "{way}");
    }
}

#[tokio::test]
async fn o2_delete_before_create() {
    let mut world = World::new().await;
    let create = like_commit(1, 1, 0, like(&track_uri(0, 0), AT));
    let delete = like_commit(1, 2, 0, Body::Delete);
    in_every_order(&mut world, &[], &[create, delete], 0).await;
}

#[tokio::test]
async fn o3_a_create_hours_after_the_delete_of_a_path_never_seen_stays_deleted() {
    let mut world = World::new().await;
    world.commit(&[like_commit(1, 2, 0, Body::Delete), track_commit(2, Body::Delete)]).await;
    let others: Vec<Commit> = (3..300).map(|second| like_commit(3, second, 9, like(&track_uri(2, 2), AT))).collect();
    world.commit(&others).await;
    world.restart();
    let applied =
        world.commit(&[like_commit(1, 1, 0, like(&track_uri(0, 0), AT)), track_commit(1, track("Late", AT))]).await;
    assert_eq!((applied.applied, applied.ignored), (0, 2));
    world.check().await;
    assert_eq!(world.like_count(&track_uri(0, 0)).await, 0);
}

#[tokio::test]
async fn o4_a_path_created_again_after_its_delete_is_live() {
    let mut world = World::new().await;
    let commits = [
        like_commit(1, 1, 0, like(&track_uri(0, 0), AT)),
        like_commit(1, 2, 0, Body::Delete),
        like_commit(1, 3, 0, like(&track_uri(0, 0), AT)),
    ];
    world.commit_each(&commits).await;
    world.check().await;
    assert_eq!(world.like_count(&track_uri(0, 0)).await, 1);
}

#[tokio::test]
async fn o5_an_update_of_an_unknown_path_creates_it() {
    let mut world = World::new().await;
    let commits = [
        like_commit(1, 1, 0, updated(like(&track_uri(0, 0), AT))),
        track_commit(1, updated(track("Never created", AT))),
        Commit::new(&did(2), rev(1), vec![Operation::list(&key(2, 0), updated(list(&[], None, None, (AT, Some(AT)))))]),
    ];
    assert_eq!(world.commit(&commits).await.applied, 3);
    world.check().await;
    assert_eq!(world.like_count(&track_uri(0, 0)).await, 1);
}

#[tokio::test]
async fn o6_an_older_update_after_a_newer_is_ignored() {
    let mut world = World::new().await;
    for at_once in [false, true] {
        world.clear().await;
        let newer = [
            like_commit(1, 9, 0, updated(like(&track_uri(0, 1), AT))),
            track_commit(9, updated(track("Second title", AT))),
        ];
        let older = [
            like_commit(1, 8, 0, updated(like(&track_uri(0, 0), AT))),
            track_commit(8, updated(track("First title", AT))),
        ];
        if at_once {
            let applied = world.commit(&[newer, older].concat()).await;
            assert_eq!((applied.applied, applied.ignored), (2, 2));
        } else {
            world.commit(&newer).await;
            let applied = world.commit(&older).await;
            assert_eq!((applied.applied, applied.ignored), (0, 2));
        }
        world.check().await;
        assert_eq!(world.like_count(&track_uri(0, 0)).await, 0);
        assert_eq!(world.like_count(&track_uri(0, 1)).await, 1);
    }
}

#[tokio::test]
async fn o7_a_repo_that_emits_its_whole_history_again_moves_nothing() {
    let mut world = World::new().await;
    let mut random = Random::new(7);
    let history = History::of(Shape { actors: 3, keys: 4, commits: 300 }, &mut random);
    for batch in deliver(&history, &mut random) {
        world.deliver(&batch).await;
    }
    world.check().await;
    world.restart();
    for actor in 0..3 {
        let repo: Vec<Commit> = history.commits.iter().filter(|commit| commit.did == did(actor)).cloned().collect();
        assert_eq!(world.commit(&repo).await.applied, 0);
        world.check().await;
    }
}

#[tokio::test]
async fn o8_create_delete_create_of_one_path_in_every_order() {
    let mut world = World::new().await;
    let commits = [
        like_commit(1, 1, 0, like(&track_uri(0, 1), AT)),
        like_commit(1, 2, 0, Body::Delete),
        like_commit(1, 3, 0, like(&track_uri(0, 0), AT)),
    ];
    in_every_order(&mut world, &[], &commits, 1).await;
    let commits = [
        like_commit(1, 4, 0, Body::Delete),
        like_commit(1, 5, 0, like(&track_uri(0, 0), AT)),
        like_commit(1, 6, 0, Body::Delete),
    ];
    in_every_order(&mut world, &[like_commit(1, 1, 0, like(&track_uri(0, 0), AT))], &commits, 0).await;
}

#[tokio::test]
async fn o8_like_unlike_like_with_new_keys_in_every_order() {
    let mut world = World::new().await;
    let commits = [
        like_commit(1, 1, 0, like(&track_uri(0, 0), AT)),
        like_commit(1, 2, 0, Body::Delete),
        like_commit(1, 3, 1, like(&track_uri(0, 0), AT)),
    ];
    in_every_order(&mut world, &[], &commits, 1).await;
    let commits = [
        like_commit(1, 2, 0, Body::Delete),
        like_commit(1, 3, 1, like(&track_uri(0, 0), AT)),
        like_commit(1, 4, 1, Body::Delete),
    ];
    in_every_order(&mut world, &[like_commit(1, 1, 0, like(&track_uri(0, 0), AT))], &commits, 0).await;
}

#[tokio::test]
async fn o9_two_likes_by_one_actor_on_one_track_are_one() {
    let mut world = World::new().await;
    let (first, second) =
        (like_commit(1, 1, 0, like(&track_uri(0, 0), AT)), like_commit(1, 2, 1, like(&track_uri(0, 0), AT)));
    let (delete_first, delete_second) = (like_commit(1, 3, 0, Body::Delete), like_commit(1, 4, 1, Body::Delete));
    for deletes in [[&delete_first, &delete_second], [&delete_second, &delete_first]] {
        world.clear().await;
        world.commit(&[first.clone(), second.clone()]).await;
        assert_eq!(world.like_count(&track_uri(0, 0)).await, 1);
        world.check().await;
        for (delete, left) in deletes.into_iter().zip([1, 0]) {
            world.commit(std::slice::from_ref(delete)).await;
            assert_eq!(world.like_count(&track_uri(0, 0)).await, left);
            world.check().await;
        }
    }
    in_every_order(&mut world, &[first, second], &[delete_first, delete_second], 0).await;
}

#[tokio::test]
async fn o10_an_update_moves_a_like_to_another_track() {
    let mut world = World::new().await;
    let likes = [like_commit(1, 1, 0, like(&track_uri(0, 0), AT)), like_commit(2, 1, 0, like(&track_uri(0, 0), AT))];
    world.commit(&likes).await;
    world.commit(&[like_commit(1, 2, 0, updated(like(&track_uri(0, 1), AT)))]).await;
    world.check().await;
    assert_eq!(world.like_count(&track_uri(0, 0)).await, 1);
    assert_eq!(world.like_count(&track_uri(0, 1)).await, 1);
    // Moved onto a track that the actor likes already by another record, and away again.
    world.commit(&[like_commit(2, 3, 1, like(&track_uri(0, 1), AT))]).await;
    world.commit(&[like_commit(2, 4, 0, updated(like(&track_uri(0, 1), AT)))]).await;
    world.check().await;
    assert_eq!(world.like_count(&track_uri(0, 0)).await, 0);
    assert_eq!(world.like_count(&track_uri(0, 1)).await, 2);
    let swap = [
        like_commit(2, 5, 0, updated(like(&track_uri(0, 0), AT))),
        like_commit(1, 5, 0, updated(like(&track_uri(0, 0), AT))),
    ];
    world.commit(&swap).await;
    world.check().await;
    assert_eq!(world.like_count(&track_uri(0, 0)).await, 2);
    assert_eq!(world.like_count(&track_uri(0, 1)).await, 1);
}

#[tokio::test]
async fn o11_likes_survive_what_happens_to_their_track() {
    let mut world = World::new().await;
    let uri = track_uri(0, 0);
    world.commit(&[like_commit(1, 1, 0, like(&uri, AT)), like_commit(2, 1, 0, like(&uri, AT))]).await;
    assert_eq!(world.like_count(&uri).await, 2, "the likes count before their track is known");
    let id = track_id(&world, &uri).await;
    let life = [
        track_commit(2, track("First", AT)),
        track_commit(3, updated(track("Edited", AT))),
        track_commit(4, Body::Delete),
        track_commit(5, track("Created again", AT)),
    ];
    for commit in life {
        world.restart();
        world.commit(&[commit]).await;
        world.check().await;
        assert_eq!(world.like_count(&uri).await, 2);
        assert_eq!(track_id(&world, &uri).await, id, "an id is for life");
    }
}

async fn track_id(world: &World, uri: &str) -> i64 {
    sqlx::query_scalar("SELECT id FROM tracks WHERE uri = $1")
        .bind(uri)
        .fetch_one(&world.database.pool)
        .await
        .expect("the track has an id from its first mention")
}

/// S1: what the writer cached of a database does not hold for an older state of it.
#[tokio::test]
async fn s1_a_database_that_was_restored_is_written_to_as_it_is() {
    let mut world = World::new().await;
    let uri = track_uri(0, 0);
    world.commit(&[track_commit(1, track("A", AT)), like_commit(1, 2, 0, like(&uri, AT))]).await;
    world.lose().await;
    world.commit(&[like_commit(1, 3, 1, like(&uri, AT)), track_commit(4, track("B", AT))]).await;
    world.check().await;
}
