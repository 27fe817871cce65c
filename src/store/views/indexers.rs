//! Which indexers there are, and which of them works.

use sqlx::PgConnection;

use crate::atproto::Timestamp;

/// A process that indexes or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexerView {
    /// The name of its machine.
    pub host: String,
    /// Its number there.
    pub process: i32,
    /// `leading`; `standby`; or `silent`, when it has given no sign of life for a quarter of a minute.
    pub state: String,
    /// Since when it has held the lease, if it does.
    pub leading_since: Option<Timestamp>,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// When it last gave a sign of life, which is every five seconds.
    pub alive_at: Timestamp,
}

/// Those that have given a sign of life within a day: the holder of the lease first, then by age.
pub async fn list_indexers(connection: &mut PgConnection) -> sqlx::Result<Vec<IndexerView>> {
    let rows = sqlx::query!(
        r#"SELECT i.host, i.process, i.started_at, i.alive_at, l.taken_at AS "leading_since?",
            CASE WHEN l.expires_at >= clock_timestamp() THEN 'leading'
                WHEN i.alive_at < clock_timestamp() - interval '15 s' THEN 'silent'
                ELSE 'standby' END AS "state!"
        FROM indexers i LEFT JOIN lease l ON l.indexer_id = i.id
        WHERE i.alive_at > clock_timestamp() - interval '1 day' ORDER BY l.token, i.started_at, i.id LIMIT 100"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| IndexerView {
            host: row.host,
            process: row.process,
            leading_since: row.leading_since.filter(|_| row.state == "leading").map(Timestamp::from_utc),
            state: row.state,
            started_at: Timestamp::from_utc(row.started_at),
            alive_at: Timestamp::from_utc(row.alive_at),
        })
        .collect())
}
