//! How it stands with repos that are read from their PDSes, and what they held otherwise than the index.

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::{
    atproto::Timestamp,
    store::repos::{self, RepoCounts, drift},
};

/// Kinds of differences that are shown.
const DRIFT_SHOWN: i64 = 50;

/// Repos, as they are read from their PDSes.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReposStatus {
    /// To be read; with those that failed, 10,000 at most are counted.
    pub pending: i64,
    /// Could not be read, and will be tried again; likewise.
    pub failed: i64,
    /// Read, and read again by the audit; above 10,000 the database's estimate.
    pub done: i64,
    /// When the one of these was read that was not read for the longest.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest_at: Option<Timestamp>,
    /// When the last one was read.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub newest_at: Option<Timestamp>,
    /// What they held otherwise than the index, and was mended: the latest. In first readings everything is `missing`; of the
    /// cause `audit` there are none where all is well.
    pub drift: Vec<RepoDrift>,
}

/// Differences of one kind, found in readings of one cause.
#[derive(Debug, Serialize, ToSchema)]
pub struct RepoDrift {
    /// Why the repos were read: `discovered`, `first_seen`, `asked`, `gap`, `sync`, `chain`, `account` or `audit`.
    pub cause: String,
    /// `missing` from the index, `extra` in it, or `differing`.
    pub kind: String,
    /// The host that they were read from; on the admin listener alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How many, ever.
    pub count: i64,
    /// When the last was found.
    #[schema(value_type = String, format = DateTime)]
    pub last_at: Timestamp,
}

/// Reads how it stands.
pub async fn read_repos_status(connection: &mut PgConnection, at_most: i64) -> sqlx::Result<ReposStatus> {
    let RepoCounts { pending, failed, done, oldest_at, newest_at } = repos::count_some(connection, at_most).await?;
    let drift = drift::list(connection, DRIFT_SHOWN).await?.into_iter().map(|found| RepoDrift {
        cause: found.cause,
        kind: found.kind,
        host: Some(found.host),
        count: found.count,
        last_at: Timestamp::from_utc(found.last_at),
    });
    let (oldest_at, newest_at) = (oldest_at.map(Timestamp::from_utc), newest_at.map(Timestamp::from_utc));
    Ok(ReposStatus { pending, failed, done, oldest_at, newest_at, drift: drift.collect() })
}
