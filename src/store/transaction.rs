use sqlx::{Connection, PgConnection, Postgres, Transaction};

/// Names the advisory lock under which rows of records are written: "plyr" and 1.
const APPLY_LOCK: i64 = 0x706c_7972_0000_0001;

/// Begins the transaction of one batch, alone among all writers of records until it ends.
///
/// Its commit waits for the disk, whatever the server's default: the ids that the writer remembers and the positions that
/// the sources are told must outlive a crash of Postgres, or the next rows would name ids that are given out anew. Arrays of
/// thousands are planned for what they are, and the plans must not remember tables that were empty once.
pub async fn begin_apply(connection: &mut PgConnection) -> sqlx::Result<Transaction<'_, Postgres>> {
    let mut transaction = connection.begin().await?;
    sqlx::query!(
        r#"SELECT set_config('synchronous_commit', 'on', true) AS "commit",
            set_config('plan_cache_mode', 'force_custom_plan', true) AS plans,
            set_config('random_page_cost', '1.1', true) AS pages, set_config('jit', 'off', true) AS jit,
            pg_advisory_xact_lock($1)::text AS "lock""#,
        APPLY_LOCK
    )
    .fetch_one(&mut *transaction)
    .await?;
    Ok(transaction)
}

/// Takes statistics of the tables that a batch fills, so that a table which was just loaded is asked by its indexes.
pub async fn analyze(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("ANALYZE actors, tracks, track_counts, subject_cids, likes, lists").execute(connection).await?;
    Ok(())
}
