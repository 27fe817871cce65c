//! Case F13: what is learnt before the row exists that it belongs to.

use std::time::{Duration, Instant};

use super::{Case, PATIENCE, did};

impl Case {
    async fn wait_until_confirmed(&self, number: usize) {
        let begun = Instant::now();
        let confirmed = "SELECT EXISTS (SELECT FROM identities WHERE did = $1 AND confirmed_at IS NOT NULL)";
        while !sqlx::query_scalar::<_, bool>(confirmed)
            .bind(did(number).as_str())
            .fetch_one(&self.database.pool)
            .await
            .unwrap()
        {
            assert!(begun.elapsed() < PATIENCE, "the handle is not confirmed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A repo that a relay tells of is read, and its owner's document with it, before its first record is applied.
#[tokio::test]
async fn f13_a_handle_that_was_confirmed_before_its_actor_came_is_shown() {
    let mut case = Case::new().await;
    case.set_handle(0, "alice.test");
    case.identities.find(&did(0)).await.unwrap();
    case.run();
    case.wait_until_confirmed(0).await;
    let asked = case.asked();
    case.meet(0..1).await;
    case.wait_until_shown(&[Some("alice.test")]).await;
    // Likewise of an account that was deleted, which frees its handle, and is back.
    let freed = "UPDATE actors SET handle = NULL";
    sqlx::query(freed).execute(&case.database.pool).await.unwrap();
    case.wait_until_shown(&[Some("alice.test")]).await;
    assert_eq!(case.asked(), asked, "it need not be looked up again");
    case.stop().await;
}

/// The first look-up of an account is under way, so that there is no row of it, when an event says that its document has changed.
#[tokio::test]
async fn f13_an_event_during_the_first_look_up_is_not_lost() {
    let case = Case::new().await;
    case.set_handle(0, "old.test");
    case.world().slow_by = Duration::from_millis(500);
    case.meet(0..1).await;
    let identities = case.identities.clone();
    let first = tokio::spawn(async move { identities.find(&did(0)).await });
    while case.asked() == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    case.set_handle(0, "new.test");
    case.manual_clock.advance(Duration::from_secs(1));
    assert_eq!(case.identity_event(0).await, 1);
    case.manual_clock.advance(Duration::from_secs(1));
    first.await.unwrap().unwrap();
    case.manual_clock.advance(Duration::from_mins(1));
    case.identities.find(&did(0)).await.unwrap();
    assert_eq!(case.asked(), 2, "what came with the first answer was older than the event");
    let claimed: String =
        sqlx::query_scalar("SELECT handle FROM identities").fetch_one(&case.database.pool).await.unwrap();
    assert_eq!(claimed, "new.test");
}
