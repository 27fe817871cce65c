use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::batch::{Quiet, Reached};
use crate::{
    atproto::Timestamp,
    store::sources::{
        last_delivered::{self, Delivered},
        positions::{self, NewPosition},
    },
};

/// Writes how far the sources have been read, and until when they were quiet.
pub async fn write(
    connection: &mut PgConnection,
    reached: &[Reached],
    quiet: &[Quiet],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    for reached in reached {
        positions::write(connection, row(reached), now).await?;
    }
    for Quiet { source, until } in quiet {
        positions::write_quiet(connection, source, until.utc()).await?;
    }
    Ok(())
}

fn row(reached: &Reached) -> NewPosition<'_> {
    NewPosition {
        source: &reached.source,
        kind: reached.kind,
        value: reached.value,
        event_at: reached.event_at.map(Timestamp::utc),
        ours_at: reached.ours_at.map(Timestamp::utc),
        restarts: reached.restarts,
    }
}

/// Writes the last message of each collection that each source delivered.
pub async fn write_delivered(
    connection: &mut PgConnection,
    reached: &[Reached],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let mut rows = Vec::new();
    for reached in reached {
        for (collection, delivered) in reached.delivered.iter() {
            let Some(delivered) = delivered else { continue };
            rows.push(Delivered {
                source: &reached.source,
                collection,
                kind: reached.kind,
                value: delivered.value,
                event_at: delivered.event_at.map(Timestamp::utc),
            });
        }
    }
    last_delivered::write(connection, &rows, now).await
}
