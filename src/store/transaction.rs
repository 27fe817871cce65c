use sqlx::{Connection, PgConnection, Postgres, Transaction};

use super::sources::lease::Token;

/// Names the advisory lock under which rows of records are written: "plyr" and 1.
const APPLY_LOCK: i64 = 0x706c_7972_0000_0001;

/// Begins the transaction of one batch, alone among all writers of records until it ends.
///
/// Its commit waits for the disk, whatever the server's default: the ids that the writer remembers and the positions that
/// the sources resume from must outlive a crash of Postgres, or the next rows would name ids that are given out again. Arrays are
/// looked up key by key, however small a table still is: what a batch costs must not grow with the index. A writer that
/// hangs does not keep the lock for ever.
///
/// Under a token the transaction is that of the lease's holder: it fails when the lease has been taken over, and while it
/// runs the lease is not taken over.
pub async fn begin_apply(
    connection: &mut PgConnection,
    token: Option<Token>,
) -> sqlx::Result<Transaction<'_, Postgres>> {
    let mut transaction = connection.begin().await?;
    sqlx::query!(
        r#"SELECT set_config('synchronous_commit', 'on', true) AS "commit",
            set_config('plan_cache_mode', 'force_custom_plan', true) AS plans,
            set_config('enable_seqscan', 'off', true) AS scans, set_config('enable_hashjoin', 'off', true) AS hashes,
            set_config('enable_mergejoin', 'off', true) AS merges, set_config('jit', 'off', true) AS jit,
            set_config('idle_in_transaction_session_timeout', '30s', true) AS patience,
            pg_advisory_xact_lock($1)::text AS "lock", hold_lease($2)::text AS lease"#,
        APPLY_LOCK,
        token.map(|token| token.0)
    )
    .fetch_one(&mut *transaction)
    .await?;
    Ok(transaction)
}

/// Begins a transaction of the lease's holder: it fails when the lease has been taken over.
pub async fn begin_held(connection: &mut PgConnection, token: Token) -> sqlx::Result<Transaction<'_, Postgres>> {
    let mut transaction = connection.begin().await?;
    sqlx::query!(r#"SELECT hold_lease($1)::text AS lease"#, token.0).fetch_one(&mut *transaction).await?;
    Ok(transaction)
}

/// Takes statistics of the tables that a batch fills, so that a table which was just loaded is asked by its indexes.
pub async fn analyze(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("ANALYZE actors, tracks, track_counts, subject_cids, likes, lists").execute(connection).await?;
    Ok(())
}
