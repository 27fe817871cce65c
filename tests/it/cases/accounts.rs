//! Cases A1 to A7: what an account's fate does to what is shown.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use plyr_likes::{
    apply::{Answer, Decision, decide},
    atproto::{Did, Tid},
    clock::Clock,
    maintenance::{check_counts, follow_accounts},
    model::AccountStatus,
    store::actors::{account_checks::AccountCheck, tombstones},
};
use serde_json::{Value, json};

use crate::support::{
    crowd::{Fan, MANY, like_many},
    dump,
    history::{did, key, track_uri},
    stage::{AT, Stage, account_message, moment, rev},
    wire::{Body, Commit, Operation, like, track},
};

#[tokio::test]
async fn a1_a_deleted_account_is_gone_everywhere_at_once() {
    let mut stage = Stage::new().await;
    stage.assert_listener(true).await;
    stage.say(1, (false, Some("deleted")), 10).await;
    stage.assert_listener(false).await;
    // Hidden, and kept until the account's own server has said so.
    assert_eq!(stage.rows_of(1).await, 3);
    assert_eq!(stage.checks().await, [(did(1), "deleted".to_owned())]);
    assert_eq!(stage.answer(Answer::Unreachable, 11).await, Decision::Wait);
    assert_eq!(stage.rows_of(1).await, 3);
    sqlx::query("UPDATE account_checks SET due_at = now()").execute(stage.pool()).await.unwrap();
    assert_eq!(stage.answer(Answer::NotFound, 12).await, Decision::Remove);
    stage.assert_listener(false).await;
    assert_eq!(stage.rows_of(1).await, 0);
    // Old commits do not come back, whichever source brings them.
    let old = Commit::new(&did(1), rev(3), vec![Operation::like(&key(1, 0), like(&track_uri(0, 0), AT))]);
    let unseen = Commit::new(&did(1), rev(9), vec![Operation::like(&key(1, 5), like(&track_uri(0, 0), AT))]);
    let applied = stage.world.commit(&[old, unseen]).await;
    assert_eq!((applied.applied, applied.ignored), (0, 2));
    stage.world.restart();
    let track = Commit::new(&did(1), rev(8), vec![Operation::track(&key(3, 0), track("Late", AT))]);
    assert_eq!(stage.world.commit(&[track]).await.applied, 0);
    assert_eq!(stage.rows_of(1).await, 0);
}

#[tokio::test]
async fn a1_likes_of_a_deleted_artists_tracks_are_not_shown_and_survive() {
    let mut stage = Stage::new().await;
    let uri = track_uri(0, 0);
    assert!(stage.is_track_shown(&uri).await && stage.likes(2, &uri).await);
    stage.say(0, (false, Some("deleted")), 10).await;
    for is_removed in [false, true] {
        assert!(!stage.is_track_shown(&uri).await);
        assert!(!stage.likes(2, &uri).await && !stage.likes(1, &uri).await);
        assert_eq!(stage.likers(&uri).await, BTreeSet::new());
        assert_eq!((stage.like_records(1).await, stage.like_records(2).await), (1, 0));
        // A like that comes now changes nothing of that, and neither does a new version of the track.
        let second = if is_removed { 60 } else { 50 };
        stage
            .world
            .commit(&[Commit::new(&did(3), rev(second), vec![Operation::like(&key(1, 0), like(&uri, AT))])])
            .await;
        assert!(!stage.likes(3, &uri).await);
        if !is_removed {
            assert_eq!(stage.answer(Answer::Tombstoned, 11).await, Decision::Remove);
            stage.follow_counts().await;
            assert_eq!(stage.rows_of(0).await, 0);
        }
    }
    let likes = "SELECT count(*) FROM likes l JOIN tracks t ON t.id = l.subject_id WHERE t.uri = $1";
    let kept: i64 = sqlx::query_scalar(likes).bind(&uri).fetch_one(stage.pool()).await.unwrap();
    assert_eq!(kept, 3);
    assert_eq!(dump::miscounted(stage.pool()).await, Vec::<String>::new());
}

#[tokio::test]
async fn a2_what_each_status_means() {
    let mut stage = Stage::new().await;
    let mut second = 10;
    for status in [Some("deactivated"), Some("suspended"), Some("takendown"), Some("a word of tomorrow"), None] {
        second += 2;
        stage.say(1, (false, status), second).await;
        stage.assert_listener(false).await;
        // Slowed down or out of step says nothing of visibility, in either state.
        for unclear in ["throttled", "desynchronized"] {
            second += 1;
            stage.say(1, (false, Some(unclear)), second).await;
            stage.assert_listener(false).await;
        }
        second += 1;
        stage.say(1, (true, None), second).await;
        stage.assert_listener(true).await;
        for unclear in ["throttled", "desynchronized"] {
            second += 1;
            stage.say(1, (false, Some(unclear)), second).await;
            stage.assert_listener(true).await;
        }
    }
    assert_eq!(stage.checks().await.len(), 1);
    stage.answer(Answer::Inactive { status: Some(AccountStatus::Throttled) }, 100).await;
    stage.assert_listener(true).await;
    stage.say(1, (false, Some("throttled")), 110).await;
    assert_eq!(stage.checks().await, [(did(1), "unclear".to_owned())]);
}

#[tokio::test]
async fn a3_reactivation_restores_everything_also_what_was_written_while_hidden() {
    let mut stage = Stage::new().await;
    stage.say(1, (false, Some("deactivated")), 10).await;
    stage.follow_counts().await;
    let while_hidden = vec![
        Operation::like(&key(1, 0), Body::Delete),
        Operation::like(&key(1, 2), like(&track_uri(0, 0), AT)),
        Operation::like(&key(1, 3), like(&track_uri(2, 0), AT)),
        Operation::like(&key(1, 4), like(&track_uri(3, 0), AT)),
        Operation::track(&key(3, 1), track("Written in the dark", AT)),
    ];
    stage.world.commit(&[Commit::new(&did(1), rev(20), while_hidden)]).await;
    assert_eq!(dump::miscounted(stage.pool()).await, Vec::<String>::new());
    let liked = Commit::new(&did(2), rev(21), vec![Operation::like(&key(1, 9), like(&track_uri(1, 1), AT))]);
    stage.world.commit(&[liked]).await;
    for uri in [track_uri(0, 0), track_uri(2, 0)] {
        assert!(!stage.likers(&uri).await.contains(&did(1)));
    }
    assert!(!stage.is_track_shown(&track_uri(1, 1)).await && !stage.likes(2, &track_uri(1, 1)).await);
    stage.say(1, (true, None), 30).await;
    for _ in 0..2 {
        assert_eq!(stage.likers(&track_uri(0, 0)).await, BTreeSet::from([did(1), did(2)]));
        assert_eq!(stage.likers(&track_uri(2, 0)).await, BTreeSet::from([did(1)]));
        assert_eq!(stage.likers(&track_uri(1, 1)).await, BTreeSet::from([did(2)]));
        assert!(stage.is_track_shown(&track_uri(1, 1)).await && stage.likes(2, &track_uri(1, 1)).await);
        assert_eq!((stage.like_records(1).await, stage.lists(1).await), (4, 1));
        stage.follow_counts().await;
    }
    // Nothing is left behind: the index is as if the account had never been away.
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM uncounted_actors").fetch_one(stage.pool()).await.unwrap();
    assert_eq!(left, 0);
    stage.world.check().await;
}

#[tokio::test]
async fn a4_an_old_deletion_that_comes_again_changes_nothing() {
    let mut stage = Stage::new().await;
    stage.say(1, (false, Some("deleted")), 10).await;
    stage.say(1, (true, None), 20).await;
    sqlx::query("DELETE FROM account_checks").execute(stage.pool()).await.unwrap();
    stage.say(1, (false, Some("deleted")), 10).await;
    stage.assert_listener(true).await;
    assert_eq!(stage.checks().await, [(did(1), "contradicted".to_owned())]);
    stage.answer(Answer::Active { rev: None }, 30).await;
    stage.assert_listener(true).await;
    assert_eq!((stage.checks().await.len(), stage.rows_of(1).await), (0, 3));
}

#[tokio::test]
async fn a5_an_account_that_moved_is_believed_where_it_lives() {
    // The old server says inactive after or before the new one says active: whichever comes last, the server of the current DID
    // document has the last word.
    for (active_at, inactive_at) in [(10, 20), (20, 10)] {
        for active_first in [true, false] {
            let mut stage = Stage::new().await;
            for is_active in [active_first, !active_first] {
                let (word, at) = if is_active { ((true, None), active_at) } else { ((false, None), inactive_at) };
                stage.say(1, word, at).await;
            }
            // Until it has been asked, the later word stands.
            stage.assert_listener(active_at > inactive_at).await;
            if !stage.checks().await.is_empty() {
                stage.answer(Answer::Active { rev: None }, 30).await;
            }
            stage.assert_listener(true).await;
            // What was said before the answer is no news any more.
            stage.say(1, (false, None), inactive_at).await;
            stage.assert_listener(true).await;
        }
    }
}

#[tokio::test]
async fn a5_words_that_contradict_each_other_are_asked_about_whenever_they_come() {
    // A host that lags behind sends the last event, and it says that nothing has changed.
    let words = [((false, Some("deactivated")), 10), ((true, None), 20)];
    for (who, is_one_batch) in [(1, true), (4, true), (1, false), (4, false)] {
        for is_last_first in [false, true] {
            let mut stage = Stage::new().await;
            let mut messages: Vec<_> = words.iter().map(|(word, at)| account_message(&did(who), *word, *at)).collect();
            if is_last_first {
                messages.reverse();
            }
            if is_one_batch {
                let batch: Vec<_> =
                    messages.into_iter().map(|bytes| stage.world.v1_message(bytes, Vec::new())).collect();
                stage.world.deliver(&batch).await;
            } else {
                for bytes in messages {
                    stage.world.raw(bytes, Vec::new()).await;
                }
            }
            let like = Operation::like(&key(1, 7), like(&track_uri(2, 0), AT));
            stage.world.commit(&[Commit::new(&did(who), rev(9), vec![like])]).await;
            let case = format!("actor {who}, one batch: {is_one_batch}, the last word first: {is_last_first}");
            assert!(stage.likers(&track_uri(2, 0)).await.contains(&did(who)), "{case}: the last word stands for now");
            assert_eq!(stage.checks().await.len(), 1, "{case}");
            stage.answer(Answer::Inactive { status: Some(AccountStatus::Deactivated) }, 30).await;
            assert!(!stage.likers(&track_uri(2, 0)).await.contains(&did(who)), "{case}");
            assert_eq!(stage.checks().await, [], "{case}");
        }
    }
}

#[tokio::test]
async fn a6_a_commit_of_a_hidden_account_makes_us_ask() {
    let mut stage = Stage::new().await;
    stage.say(1, (false, Some("takendown")), 10).await;
    stage.answer(Answer::Inactive { status: Some(AccountStatus::Takendown) }, 11).await;
    let before = Commit::new(&did(1), rev(9), vec![Operation::like(&key(1, 6), like(&track_uri(2, 0), AT))]);
    stage.world.commit(&[before]).await;
    assert_eq!(stage.checks().await, [], "what was written before it was hidden says nothing");
    let after = Commit::new(&did(1), rev(12), vec![Operation::like(&key(1, 7), like(&track_uri(2, 0), AT))]);
    assert_eq!(stage.world.commit(&[after]).await.applied, 1);
    assert_eq!(stage.checks().await, [(did(1), "commit".to_owned())]);
    assert!(!stage.likers(&track_uri(2, 0)).await.contains(&did(1)));
    stage.answer(Answer::Active { rev: None }, 13).await;
    assert_eq!(stage.like_records(1).await, 4);
    assert!(stage.likers(&track_uri(2, 0)).await.contains(&did(1)));
}

#[tokio::test]
async fn a7_an_account_that_was_deleted_and_restored_is_read_again() {
    let mut stage = Stage::new().await;
    stage.say(1, (false, Some("deleted")), 10).await;
    stage.answer(Answer::Inactive { status: Some(AccountStatus::Deleted) }, 11).await;
    stage.follow_counts().await;
    assert_eq!(stage.rows_of(1).await, 0);
    // Its operator brings it back: it writes again, which is what we receive first.
    let first = Commit::new(&did(1), rev(20), vec![Operation::like(&key(1, 7), like(&track_uri(2, 0), AT))]);
    assert_eq!(stage.world.commit(std::slice::from_ref(&first)).await.applied, 1);
    assert_eq!(stage.checks().await, [(did(1), "commit".to_owned())]);
    let head = Tid::from_number(rev(20));
    stage.answer(Answer::Active { rev: Some(head) }, 21).await;
    let mut connection = stage.connection().await;
    let to_read = tombstones::list_pending_resync(&mut connection, 10).await.unwrap();
    assert_eq!(to_read.iter().map(|(_, did)| did.to_string()).collect::<Vec<_>>(), [did(1)]);
    // What its server lists is applied at the head; a commit that this list has overtaken stays away.
    let listed = vec![
        Operation::like(&key(1, 0), like(&track_uri(0, 0), AT)),
        Operation::like(&key(1, 7), like(&track_uri(2, 0), AT)),
    ];
    let old = Commit::new(&did(1), rev(3), vec![Operation::like(&key(1, 1), like(&track_uri(2, 0), AT))]);
    stage.world.commit_each(&[Commit::new(&did(1), rev(20), listed), old, first]).await;
    tombstones::mark_resynced(&mut connection, to_read[0].0).await.unwrap();
    assert_eq!(tombstones::list_pending_resync(&mut connection, 10).await.unwrap(), []);
    stage.follow_counts().await;
    assert_eq!((stage.like_records(1).await, stage.rows_of(1).await), (2, 2));
    assert!(stage.likers(&track_uri(0, 0)).await.contains(&did(1)));
    assert_eq!(dump::miscounted(stage.pool()).await, Vec::<String>::new());
}

#[tokio::test]
async fn a7_what_comes_back_as_it_was_has_the_rev_that_it_had() {
    let mut stage = Stage::new().await;
    let uri = track_uri(0, 0);
    stage.say(0, (false, Some("deleted")), 10).await;
    stage.answer(Answer::Tombstoned, 11).await;
    stage.follow_counts().await;
    assert_eq!(stage.rows_of(0).await, 0);
    stage.say(0, (true, None), 20).await;
    stage.answer(Answer::Active { rev: Some(Tid::from_number(rev(1))) }, 21).await;
    // Nothing was written since: what the server lists is at the rev of the first and only commit.
    let listed = Commit::new(&did(0), rev(1), vec![Operation::track(&key(3, 0), track("Of the artist", AT))]);
    assert_eq!(stage.world.commit(&[listed]).await.applied, 1);
    stage.follow_counts().await;
    assert!(stage.is_track_shown(&uri).await);
    assert_eq!(stage.likers(&uri).await, BTreeSet::from([did(1), did(2)]));
}

#[tokio::test]
async fn a7_a_refused_record_at_the_head_of_who_came_back_replaces_what_was_there() {
    let mut stage = Stage::new().await;
    stage.say(1, (false, Some("deleted")), 10).await;
    stage.answer(Answer::Tombstoned, 11).await;
    // It is back before anything was removed.
    stage.say(1, (true, None), 20).await;
    stage.answer(Answer::Active { rev: Some(Tid::from_number(rev(19))) }, 21).await;
    assert!(stage.likes(1, &track_uri(0, 0)).await);
    let broken = crate::support::wire::invalid(json!({"$type": "fm.plyr.like", "text": "no like"}));
    stage.world.commit(&[Commit::new(&did(1), rev(19), vec![Operation::like(&key(1, 0), broken)])]).await;
    assert!(!stage.likes(1, &track_uri(0, 0)).await && stage.likes(1, &track_uri(2, 0)).await);
}

#[tokio::test]
async fn a1_what_was_written_between_two_deletions_is_gone_as_well() {
    let mut stage = Stage::new().await;
    stage.say(1, (false, Some("deleted")), 10).await;
    // It came back, wrote, and was deleted again, of which we have received nothing when we ask.
    assert_eq!(stage.answer(Answer::Tombstoned, 50).await, Decision::Remove);
    stage.follow_counts().await;
    let late = Commit::new(&did(1), rev(30), vec![Operation::like(&key(1, 7), like(&track_uri(2, 0), AT))]);
    assert_eq!(stage.world.commit(&[late]).await.applied, 0);
    stage.say(1, (true, None), 20).await;
    stage.say(1, (false, Some("deleted")), 40).await;
    assert_eq!(stage.rows_of(1).await, 0);
    stage.assert_listener(false).await;
}

#[tokio::test]
async fn a1_a_refused_record_that_is_the_last_of_a_deleted_account_goes_with_it() {
    let mut stage = Stage::new().await;
    stage.say(1, (false, Some("deleted")), 10).await;
    // Written after its server was asked, and come before the answer.
    let refused = Operation::like(&key(1, 5), crate::support::wire::invalid(json!({"$type": "fm.plyr.like"})));
    stage.world.commit(&[Commit::new(&did(1), rev(12), vec![refused])]).await;
    assert_eq!(dump::count_rejects(stage.pool()).await, 1);
    stage.answer(Answer::Tombstoned, 11).await;
    stage.follow_counts().await;
    assert_eq!((dump::count_rejects(stage.pool()).await, stage.rows_of(1).await), (0, 0));
}

#[tokio::test]
async fn a1_refused_records_of_a_deleted_account_do_not_come_back() {
    let mut stage = Stage::new().await;
    let broken = || crate::support::wire::invalid(json!({"$type": "fm.plyr.like", "text": "something private"}));
    let commits: Vec<Commit> = [(5, key(1, 4)), (6, "no-tid".to_owned())]
        .into_iter()
        .map(|(second, rkey)| Commit::new(&did(1), rev(second), vec![Operation::like(&rkey, broken())]))
        .collect();
    stage.world.commit(&commits).await;
    assert_eq!(dump::count_rejects(stage.pool()).await, 2);
    stage.say(1, (false, Some("deleted")), 10).await;
    stage.answer(Answer::Tombstoned, 11).await;
    stage.follow_counts().await;
    assert_eq!(dump::count_rejects(stage.pool()).await, 0);
    stage.world.commit(&commits).await;
    assert_eq!(dump::count_rejects(stage.pool()).await, 0);
    // Those of other accounts are kept as before, and so is what a restored account writes.
    stage.say(1, (true, None), 20).await;
    stage.answer(Answer::Active { rev: Some(Tid::from_number(rev(19))) }, 21).await;
    let later = Commit::new(&did(1), rev(30), vec![Operation::like(&key(1, 4), broken())]);
    let others = Commit::new(&did(2), rev(5), vec![Operation::like(&key(1, 4), broken())]);
    stage.world.commit(&[later, others]).await;
    assert_eq!(dump::count_rejects(stage.pool()).await, 2);
}

#[tokio::test]
async fn a2_an_event_without_effect_on_an_unknown_account_replaces_no_other() {
    let mut stage = Stage::new().await;
    // The account has not written yet; the later event does not change visibility, in whatever order they come.
    for (who, first) in [(4, true), (5, false)] {
        let words = [((false, Some("takendown")), 10), ((false, Some("throttled")), 11)];
        for (word, second) in if first { words } else { [words[1], words[0]] } {
            stage.say(who, word, second).await;
        }
        let like = Operation::like(&key(1, 0), like(&track_uri(2, 0), AT));
        stage.world.commit(&[Commit::new(&did(who), rev(9), vec![like])]).await;
        assert!(!stage.likers(&track_uri(2, 0)).await.contains(&did(who)), "{who}");
    }
}

/// What a host says of an account at that second, as its event of that number.
fn numbered_message(who: usize, word: (bool, Option<&str>), second: i64, seq: i64) -> Vec<u8> {
    let mut message: Value = serde_json::from_slice(&account_message(&did(who), word, second)).unwrap();
    message["account"]["seq"] = seq.into();
    message.to_string().into_bytes()
}

#[tokio::test]
async fn h10_of_what_is_said_in_one_millisecond_the_last_number_counts() {
    let away = (false, Some("deactivated"));
    let mut stage = Stage::new().await;
    let mut second = 10;
    for is_known in [true, false] {
        for (last, words) in [(true, [away, (true, None)]), (false, [(true, None), away])] {
            for in_order in [true, false] {
                for together in [true, false] {
                    second += 1;
                    let who = if is_known { 1 } else { usize::try_from(second).unwrap() };
                    let mut numbered: Vec<_> = (7..).zip(words).collect();
                    if !in_order {
                        numbered.reverse();
                    }
                    let messages: Vec<_> = numbered
                        .into_iter()
                        .map(|(seq, word)| numbered_message(who, word, second, seq))
                        .map(|bytes| stage.world.v1_message(bytes, Vec::new()))
                        .collect();
                    let batches: Vec<_> = if together { vec![&messages[..]] } else { messages.chunks(1).collect() };
                    for batch in batches {
                        stage.world.deliver(batch).await;
                    }
                    if !is_known {
                        // Of whom nothing was known yet: what was said is remembered until the first record comes.
                        let like = Operation::like(&key(1, 0), like(&track_uri(2, 0), AT));
                        stage.world.commit(&[Commit::new(&did(who), rev(second), vec![like])]).await;
                    }
                    let shown = stage.likers(&track_uri(2, 0)).await.contains(&did(who));
                    assert_eq!(shown, last, "{who} {words:?}, in order: {in_order}, together: {together}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a3_what_is_said_while_an_account_is_asked_about_outlives_the_answer() {
    let deactivated = || Answer::Inactive { status: Some(AccountStatus::Deactivated) };
    let deleted = || Answer::Tombstoned;
    let active = || Answer::Active { rev: None };
    // What was asked about; what is said meanwhile; what was true when it was asked.
    let is_back: (bool, Option<&str>) = (true, None);
    let cases = [
        ((false, Some("deactivated")), is_back, deactivated()),
        ((false, Some("deleted")), is_back, deleted()),
        (is_back, (false, Some("takendown")), active()),
        ((false, Some("deactivated")), (false, Some("takendown")), active()),
    ];
    for (before, meanwhile, answer) in cases {
        let mut stage = Stage::new().await;
        stage.say(1, (false, Some("suspended")), 8).await;
        stage.say(1, before, 10).await;
        let check = stage.check_due().await;
        stage.say(1, meanwhile, 20).await;
        stage.answer_late(&check, answer.clone(), (15, 21)).await;
        stage.assert_listener(meanwhile.0).await;
        assert_eq!(stage.rows_of(1).await, 3, "nothing is removed");
        // It is asked about again, and that answer stands.
        stage.answer(deactivated(), 22).await;
        stage.assert_listener(false).await;
        assert_eq!(stage.checks().await, []);
    }
    // What was said before it was asked stands no longer, though it comes late; but it makes us ask once more.
    let mut stage = Stage::new().await;
    stage.say(1, (false, Some("suspended")), 8).await;
    let check = stage.check_due().await;
    stage.say(1, (false, Some("deleted")), 10).await;
    stage.answer_late(&check, active(), (15, 21)).await;
    stage.assert_listener(true).await;
    assert_eq!(stage.checks().await.len(), 1);
}

#[test]
fn a4_a5_only_an_accounts_own_server_removes_anything() {
    let check = |active: bool, status: Option<&str>, second: i64| AccountCheck {
        actor_id: 1.into(),
        did: Did::parse(&did(1)).expect("a DID"),
        active,
        status: status.map(str::to_owned),
        status_at: Some(moment(second)),
        status_seq: 0,
        since: moment(second),
        attempts: 0,
        requests: 1,
    };
    // Sent a year ago, and received just now.
    let replayed = AccountCheck { since: moment(0), ..check(false, Some("deleted"), -365 * 86_400) };
    // Checked for a year, and reported as deleted just now.
    let doubted = AccountCheck { since: moment(-365 * 86_400), ..check(false, Some("deleted"), 0) };
    let now = moment(1_000_000);
    let deleted = || Answer::Inactive { status: Some(AccountStatus::Deleted) };
    let deactivated = || Answer::Inactive { status: Some(AccountStatus::Deactivated) };
    let hidden = Decision::Hide { status: Some(AccountStatus::Deactivated) };
    for (held, answer, decision) in [
        (check(true, None, 0), deleted(), Decision::Remove),
        (check(true, None, 0), Answer::NotFound, Decision::Wait),
        (check(true, None, 0), Answer::Unreachable, Decision::Wait),
        (check(true, None, 0), deactivated(), hidden.clone()),
        (check(true, None, 0), Answer::Inactive { status: None }, Decision::Hide { status: None }),
        (check(false, Some("deactivated"), 0), Answer::NotFound, Decision::Wait),
        (check(false, Some("deactivated"), -90 * 86_400), Answer::Unreachable, Decision::Wait),
        (check(false, Some("deleted"), 0), Answer::Active { rev: None }, Decision::Show { rev: None }),
        (check(false, Some("deleted"), 0), deactivated(), hidden),
        (check(false, Some("deleted"), 0), Answer::NotFound, Decision::Remove),
        (check(false, Some("deleted"), 0), Answer::Unreachable, Decision::Wait),
        (check(false, Some("deleted"), -31 * 86_400), Answer::Unreachable, Decision::Remove),
        (check(false, Some("deleted"), 0), Answer::Inactive { status: Some(AccountStatus::Throttled) }, Decision::Keep),
        (replayed, Answer::Unreachable, Decision::Wait),
        (doubted, Answer::Unreachable, Decision::Wait),
        (check(false, None, 0), Answer::Tombstoned, Decision::Remove),
    ] {
        assert_eq!(decide(&held, answer.clone(), now), decision, "{held:?} {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a2_twenty_thousand_likes_are_hidden_and_shown_while_the_stream_flows() {
    let mut stage = Stage::new().await;
    let ends = like_many(stage.pool(), [&did(1), &did(2)]).await;
    for (round, (word, count)) in [((false, Some("deactivated")), 0), ((true, None), 1)].into_iter().enumerate() {
        let stop = Arc::new(AtomicBool::new(false));
        let round = i64::try_from(round).expect("small");
        let fan = Fan { did: did(3), track: track_uri(2, 0), first: round * 1_000_000 };
        let flowing = tokio::spawn(fan.like_on(stage.pool().clone(), stop.clone()));
        let started = Instant::now();
        stage.say(1, word, 10 + round).await;
        let flipped = started.elapsed();
        let mut connection = stage.connection().await;
        let following = tokio::spawn(async move { follow_accounts(&mut connection, None).await.expect("it follows") });
        let mut looks = 0;
        while !following.is_finished() {
            for uri in &ends {
                assert_eq!(stage.likers(uri).await.len(), count);
            }
            looks += 1;
        }
        let steps = following.await.expect("it ends");
        let took = started.elapsed();
        stop.store(true, Ordering::Relaxed);
        let mut waits = flowing.await.expect("the stream flows");
        waits.sort_unstable();
        let (usual, longest) = (waits[waits.len() * 95 / 100], waits[waits.len() - 1]);
        println!(
            "{MANY} likes {}: seen everywhere after {flipped:?}, counts followed in {steps} steps within {took:?}; meanwhile {} \
             batches, of which 95 in 100 took up to {usual:?} and the longest {longest:?}; looked {looks} times",
            if count == 0 { "hidden" } else { "shown" },
            waits.len()
        );
        assert!(steps > 20, "in small steps: {steps}");
        assert!(looks > 0 && waits.len() > 20, "{looks} looks, {} batches", waits.len());
        // How long it is held up is a figure of the machine; that it never waits for more than a few steps is not.
        assert!(usual < took / 5, "the stream was held up: {usual:?} of {took:?}");
        for uri in &ends {
            assert_eq!(stage.likers(uri).await.len(), count);
        }
        assert_eq!(dump::miscounted(stage.pool()).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn s3_a_count_that_has_drifted_is_found_and_corrected() {
    let mut stage = Stage::new().await;
    let mut connection = stage.connection().await;
    let clock = Clock::system();
    let drift = "UPDATE track_counts SET like_count = like_count + 5
        WHERE track_id = (SELECT id FROM tracks WHERE uri = $1)";
    sqlx::query(drift).bind(track_uri(0, 0)).execute(stage.pool()).await.unwrap();
    assert_eq!(dump::miscounted(stage.pool()).await.len(), 1);
    let mut corrected = 0;
    for _ in 0..4 {
        corrected += check_counts(&mut connection, None, 1, &clock).await.unwrap();
    }
    assert_eq!(corrected, 1);
    assert_eq!(dump::miscounted(stage.pool()).await, Vec::<String>::new());
    // A hidden account is no drift, neither before the counts have followed nor after.
    stage.say(1, (false, None), 10).await;
    for _ in 0..2 {
        assert_eq!(check_counts(&mut connection, None, 10, &clock).await.unwrap(), 0);
        stage.follow_counts().await;
    }
    let status = stage.client.get(format!("{}/status", stage.url)).send().await.unwrap();
    let status: Value = status.json().await.unwrap();
    assert_eq!(status["drift"]["drifted"], 1);
    assert!(status["drift"]["checked"].as_i64().is_some_and(|checked| checked >= 5), "{status}");
    assert_eq!(status["accounts"], json!({"hidden": 1, "checks": 1}));
}
