//! Pauses between attempts, and what counts as a database that is away.

use std::time::Duration;

use plyr_likes::{
    retry::{Backoff, spread},
    store::is_unavailable,
};

use crate::support::database::fresh;

const SECOND: Duration = Duration::from_secs(1);
const BACKOFF: Backoff = Backoff::new(SECOND, Duration::from_mins(1));

#[test]
fn pauses_double_up_to_a_bound() {
    let pauses: Vec<u64> = (0..9).map(|failures| BACKOFF.pause(failures, 1.0).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(BACKOFF.pause(u32::MAX, 1.0), Duration::from_mins(1));
    let long = Backoff::new(Duration::MAX / 2, Duration::MAX);
    assert!(long.pause(3, 0.0) > Duration::MAX / 3, "no overflow");
}

#[test]
fn jitter_takes_up_to_half_of_a_pause_and_a_fifth_of_a_period() {
    for (jitter, pause_ms, period_ms) in
        [(-1.0, 500, 800), (0.0, 500, 800), (0.5, 750, 900), (1.0, 1000, 1000), (2.0, 1000, 1000)]
    {
        assert_eq!(BACKOFF.pause(0, jitter), Duration::from_millis(pause_ms), "{jitter}");
        assert_eq!(spread(SECOND, jitter), Duration::from_millis(period_ms), "{jitter}");
    }
}

#[tokio::test]
async fn a_database_is_away_by_what_it_says_and_not_by_any_error() {
    let database = fresh().await;
    // In the order of: stopped by its operator, no connection left, deadlock, no lock in time, read-only after a failover.
    for (code, is_away) in [
        ("57P01", true),
        ("53300", true),
        ("40P01", true),
        ("55P03", true),
        ("25006", true),
        ("23505", false),
        ("42P01", false),
        ("22003", false),
        ("XX000", false),
    ] {
        let raise = format!("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$");
        let error = sqlx::raw_sql(sqlx::AssertSqlSafe(raise)).execute(&database.pool).await.unwrap_err();
        assert_eq!(is_unavailable(&error), is_away, "{code}: {error}");
    }
    assert!(is_unavailable(&sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())));
    assert!(is_unavailable(&sqlx::Error::PoolTimedOut));
    assert!(!is_unavailable(&sqlx::Error::RowNotFound));
}
