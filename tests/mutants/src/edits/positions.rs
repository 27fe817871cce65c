//! Transactions, positions, and who may write them.

use super::Edit;

pub(super) const EDITS: &[Edit] = &[
    Edit {
        name: "fence_missing",
        file: "src/apply/mod.rs",
        find: "store::begin_apply(connection, self.token)",
        replace: "store::begin_apply(connection, None)",
        models: "an indexer that hung writes on beside the one that took over",
        tests: &["cases::lease::s4_a_batch_under_an_old_token_is_refused_whole"],
    },
    Edit {
        name: "takeover_inside_a_transaction",
        file: "migrations/0004_sources.sql",
        find: "    PERFORM pg_advisory_xact_lock_shared(1886157170, held);\n",
        replace: "",
        models: "the lease changes hands inside a transaction of its holder, which then commits",
        tests: &["cases::lease::s4_the_lease_changes_hands_between_transactions"],
    },
    Edit {
        name: "lease_kept_at_the_end",
        file: "src/ingest/lease.rs",
        find: "    holder.leave().await;\n",
        replace: "    drop(holder);\n",
        models: "each restart leaves the index alone until the lease has expired",
        tests: &["cases::lease::s4_the_other_takes_over_after_sigterm"],
    },
    Edit {
        name: "positions_before_the_transaction",
        file: "src/apply/mod.rs",
        find: "        let mut transaction = store::begin_apply(connection",
        replace: "        positions::write(connection, &batch.positions, &[], now).await?;\n        let mut transaction = store::begin_apply(connection",
        models: "a crash between position and rows loses what lies between",
        tests: &["cases::crash::t2_kill_9_inside_a_transaction_with_a_position"],
    },
    Edit {
        name: "commit_error_swallowed",
        file: "src/apply/mod.rs",
        find: "transaction.commit().await?;",
        replace: "transaction.commit().await.ok();",
        models: "a batch that Postgres did not take counts as taken",
        tests: &["cases::storage::s1_a_full_disk_a_deadlock_a_serialization_failure_are_tried_again"],
    },
    Edit {
        name: "future_stamps_become_positions",
        file: "src/ingest/pump/batch.rs",
        find: "value > self.now.micros().saturating_add(AHEAD_MAX_US) {",
        replace: "value > i64::MAX - AHEAD_MAX_US {",
        models: "a stamp from the next century becomes the position, and that of no host is any more",
        tests: &["cases::transport::t4_a_time_from_another_century_is_no_position"],
    },
    Edit {
        name: "batches_wait_until_full",
        file: "src/ingest/pump/mod.rs",
        find: "let is_due = batch.has_rows() || ",
        replace: "let is_due = !batch.has_room() || ",
        models: "a quiet network's single like is not committed",
        tests: &["cases::transport::t18_a_single_event_is_committed_promptly"],
    },
    Edit {
        name: "ids_outlive_the_connection",
        file: "src/apply/mod.rs",
        find: "        self.ids = Ids::default();\n",
        replace: "        self.hints = RememberedHints::default();\n",
        models: "after a restore of the database, rows name actors and tracks that it does not have",
        tests: &["cases::order::s1_a_database_that_was_restored_is_written_to_as_it_is"],
    },
    Edit {
        name: "standby_writes",
        file: "src/ingest/lease.rs",
        find: "let Some(token) = lease::take(connection, &indexer, found, LEASE_TIME).await? else { return Ok(None) };",
        replace: "let token = lease::take(connection, &indexer, found, LEASE_TIME).await?.unwrap_or(found.token);",
        models: "who stands by works under the token of the holder",
        tests: &["cases::lease::s4_two_daemons_one_works"],
    },
];
