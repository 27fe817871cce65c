//! The mutants: what is edited, which failure that models, and who must notice.

/// One edit.
#[derive(Debug)]
pub struct Edit {
    /// A name to ask for it by.
    pub name: &'static str,
    /// The file, from the root.
    pub file: &'static str,
    /// What is there, exactly once.
    pub find: &'static str,
    /// What a tired colleague might have written instead.
    pub replace: &'static str,
    /// The failure that it models.
    pub models: &'static str,
    /// Tests of which at least one must fail.
    pub tests: &'static [&'static str],
}

/// All of them, by the part of the program that they are in.
pub const MUTANTS: &[Edit] = &[
    // The order of writes to one path.
    Edit {
        name: "like_guard_takes_equal_revs",
        file: "src/store/likes.rs",
        find: "AND l.rkey = r.rkey AND l.rev < r.rev\n",
        replace: "AND l.rkey = r.rkey AND l.rev <= r.rev\n",
        models: "of two records with one rev the later to come wins: hosts disagree for good",
        tests: &["cases_records::o18_of_two_records_with_one_rev_the_first_stays"],
    },
    Edit {
        name: "like_guard_missing",
        file: "src/store/likes.rs",
        find: "AND l.rkey = r.rkey AND l.rev < r.rev\n",
        replace: "AND l.rkey = r.rkey AND l.rev <> r.rev\n",
        models: "a replayed history overwrites newer likes",
        tests: &["cases_order::o7_a_repo_that_emits_its_whole_history_again_moves_nothing"],
    },
    Edit {
        name: "like_guard_by_repo",
        file: "src/store/likes.rs",
        find: "AND l.rkey = r.rkey AND l.rev < r.rev\n",
        replace: "AND l.rkey = r.rkey AND r.rev > (SELECT max(o.rev) FROM likes o WHERE o.actor_id = l.actor_id)\n",
        models: "one rev guards a whole repo: what a source missed can never be repaired",
        tests: &["property::s3_any_delivery_of_a_history_ends_as_the_model_says"],
    },
    Edit {
        name: "track_guard_missing",
        file: "src/store/tracks.rs",
        find: "WHERE t.rev IS NULL OR t.rev < EXCLUDED.rev",
        replace: "WHERE t.rev IS NULL OR t.rev <> EXCLUDED.rev",
        models: "an old edit of a track comes back",
        tests: &["property::s3_any_delivery_of_a_history_ends_as_the_model_says"],
    },
    Edit {
        name: "track_mentioned_is_never_filled",
        file: "src/store/tracks.rs",
        find: "WHERE t.rev IS NULL OR t.rev < EXCLUDED.rev",
        replace: "WHERE t.rev < EXCLUDED.rev",
        models: "a track that was liked before its record came stays without it",
        tests: &["cases_order::o11_likes_survive_what_happens_to_their_track"],
    },
    Edit {
        name: "list_guard_missing",
        file: "src/store/lists.rs",
        find: "WHERE l.rev < EXCLUDED.rev",
        replace: "WHERE l.rev <> EXCLUDED.rev",
        models: "an old order of a liked list comes back",
        tests: &["property::s3_any_delivery_of_a_history_ends_as_the_model_says"],
    },
    Edit {
        name: "tombstone_of_the_unseen_dropped",
        file: "src/store/likes.rs",
        find: "        if *is_seen {\n            continue;",
        replace: "        if *is_seen || row.live.is_none() {\n            continue;",
        models: "a late create brings back a like whose delete came first",
        tests: &["cases_order::o3_a_create_hours_after_the_delete_of_a_path_never_seen_stays_deleted"],
    },
    Edit {
        name: "fold_takes_the_last_to_come",
        file: "src/apply/fold.rs",
        find: "let loser = if held.rev < state.rev {",
        replace: "let loser = if held.did == state.did {",
        models: "inside one batch the order of arrival counts",
        tests: &["cases_order::o8_create_delete_create_of_one_path_in_every_order"],
    },
    Edit {
        name: "fold_takes_equal_revs",
        file: "src/apply/fold.rs",
        find: "let loser = if held.rev < state.rev {",
        replace: "let loser = if held.rev <= state.rev {",
        models: "inside one batch the second of two records with one rev wins",
        tests: &["cases_records::o18_of_two_records_with_one_rev_the_first_stays"],
    },
    Edit {
        name: "fold_forgets_the_collection",
        file: "src/apply/fold.rs",
        find: "match self.paths.entry((collection, state.did.as_str(), state.rkey.as_str())) {",
        replace: "match self.paths.entry((Collection::Like.min(collection), state.did.as_str(), \"\")) {",
        models: "operations of one commit on several paths overwrite each other",
        tests: &["cases_order::o1_three_operations_with_one_rev_all_apply"],
    },
    // Refused records.
    Edit {
        name: "burial_at_the_rev_itself",
        file: "src/apply/fold.rs",
        find: "PathState::new(&path.did, &path.rkey, path.rev.before(), None)",
        replace: "PathState::new(&path.did, &path.rkey, path.rev, None)",
        models: "a refused record can't be applied after the program has learnt to read it",
        tests: &["operating::a_reject_that_can_be_read_by_now_is_applied_and_gone"],
    },
    Edit {
        name: "burial_forgotten",
        file: "src/apply/fold.rs",
        find: "            if has_row(path.collection, &path.rkey) {",
        replace: "            if has_row(path.collection, &path.rkey) && path.cid.is_none() {",
        models: "what a refused update has overwritten is still shown",
        tests: &["property::s3_any_delivery_of_a_history_ends_as_the_model_says"],
    },
    Edit {
        name: "broken_operation_hides_its_neighbours",
        file: "src/decode/firehose/commit.rs",
        find: "                found.fault.get_or_insert(fault);\n",
        replace: "                found.fault.get_or_insert(fault);\n                break;\n",
        models: "one bad operation drops the good ones after it",
        tests: &[
            "decode::firehose_messages::a_commit_of_broken_operations_is_kept_once",
            "decode::firehose_messages::t17_firehose_operations_amiss",
            "cases_transport::t17_broken_frames_of_the_firehose_cost_themselves_alone",
        ],
    },
    Edit {
        name: "refused_row_blocks_the_batch",
        file: "src/apply/mod.rs",
        find: "self.is_of_class(&[\"22\", \"23\"])",
        replace: "self.is_of_class(&[\"22\"])",
        models: "one row that Postgres refuses stops everything behind it",
        tests: &["cases_storage::s2_a_row_that_postgres_refuses_inside_a_batch_of_five_thousand"],
    },
    // What records say.
    Edit {
        name: "created_at_is_believed",
        file: "src/apply/rows.rs",
        find: "created_at.min(rev.time()).utc()",
        replace: "created_at.utc()",
        models: "a client's clock in 2099 keeps its like on top for ever",
        tests: &["cases_records::o14_a_created_at_that_no_honest_clock_wrote"],
    },
    Edit {
        name: "like_of_anything",
        file: "src/decode/record.rs",
        find: "if subject.collection != *collections.nsid(Collection::Track) {",
        replace: "if subject.collection == *collections.nsid(Collection::Like) {",
        models: "a like of a list or a profile becomes a track",
        tests: &["cases_records::o12_a_like_of_no_track", "lexicons::o12_subjects_that_are_no_track"],
    },
    Edit {
        name: "block_is_not_hashed",
        file: "src/decode/operation.rs",
        find: "if Cid::of_record(raw.bytes) != cid {",
        replace: "if raw.bytes.is_empty() && Cid::of_record(raw.bytes) != cid {",
        models: "a host may put any record under an honest CID",
        tests: &[
            "decode::firehose_messages::t17_firehose_operations_amiss",
            "property::s3_any_delivery_of_a_history_ends_as_the_model_says",
        ],
    },
    Edit {
        name: "list_of_501",
        file: "src/decode/record.rs",
        find: "const LIST_ITEMS_MAX: usize = 500;",
        replace: "const LIST_ITEMS_MAX: usize = 501;",
        models: "a list longer than its lexicon allows is taken",
        tests: &["cases_records::o17_lists_of_all_sorts", "decode::records::o17_lists"],
    },
    // Transactions and positions.
    Edit {
        name: "positions_before_the_transaction",
        file: "src/apply/mod.rs",
        find: "        let mut transaction = store::begin_apply(connection",
        replace: "        for reached in &batch.positions {\n            positions::write(connection, rows::position(reached), now).await?;\n        }\n        let mut transaction = store::begin_apply(connection",
        models: "a crash between position and rows loses what lies between",
        tests: &["cases_crash::t2_kill_9_while_following_an_upstream"],
    },
    Edit {
        name: "commit_error_swallowed",
        file: "src/apply/mod.rs",
        find: "transaction.commit().await?;",
        replace: "transaction.commit().await.ok();",
        models: "a batch that Postgres did not take counts as taken",
        tests: &["cases_storage::s1_a_full_disk_a_deadlock_a_serialization_failure_are_tried_again"],
    },
    Edit {
        name: "future_stamps_become_positions",
        file: "src/ingest/pending.rs",
        find: "value > self.position_max {",
        replace: "value > i64::MAX - self.position_max {",
        models: "a stamp from the next century silences a Jetstream for good",
        tests: &["cases_transport::t4_a_time_from_another_century_is_no_position"],
    },
    Edit {
        name: "batches_wait_until_full",
        file: "src/ingest/feed.rs",
        find: "let due = pending.has_rows() || !open;",
        replace: "let due = !pending.has_room() || !open;",
        models: "a quiet network's single like is not committed",
        tests: &["cases_transport::t18_a_single_event_is_committed_promptly"],
    },
    Edit {
        name: "ids_outlive_the_connection",
        file: "src/apply/mod.rs",
        find: "        self.ids = Ids::default();\n",
        replace: "        self.hints = Hints::default();\n",
        models: "ids of a transaction that Postgres forgot are given to others",
        tests: &["cases_storage::s1_postgres_away_for_ten_seconds_and_restarted"],
    },
    // What is shown.
    Edit {
        name: "likers_by_record",
        file: "src/store/views/likers.sql",
        find: "newer.subject_id = l.subject_id",
        replace: "newer.subject_id = l.subject_cid_id AND newer.rkey < 0",
        models: "an actor with two like records is shown twice",
        tests: &[
            "serve_pages::r2_pages_of_likes_stay_stable",
            "serve_xrpc::likers_and_tracks",
            "serve_size::r4_a_track_with_a_hundred_thousand_likes",
        ],
    },
    Edit {
        name: "pages_repeat_their_last_row",
        file: "src/store/views/likers.sql",
        find: "(l.sort_at, a.did, l.rkey) < (",
        replace: "(l.sort_at, a.did, l.rkey) <= (",
        models: "the last liker of a page is also the first of the next",
        tests: &["serve_pages::r2_pages_of_likes_stay_stable"],
    },
    Edit {
        name: "batch_of_one_too_many",
        file: "src/store/views/liked_of_token.sql",
        find: "WHEN cardinality(few.ids) <= 256 THEN",
        replace: "WHEN cardinality(few.ids) <= 257 THEN",
        models: "a listener with many likes sees empty hearts",
        tests: &["serve_size::r4_an_actor_with_twenty_thousand_likes_and_many_tracks"],
    },
    Edit {
        name: "expired_tokens_stand",
        file: "src/store/views/liked_of_token.sql",
        find: "s.expires_at > $2",
        replace: "s.expires_at > $2 - interval '100 years'",
        models: "a token is good for ever",
        tests: &["serve::sessions_that_do_not_stand_are_refused"],
    },
    Edit {
        name: "cursors_are_not_checked",
        file: "src/serve/cursor.rs",
        find: "self.code_of(query, place).verify_truncated_left(code).ok()?;",
        replace: "self.code_of(query, place).verify_truncated_left(code).err();",
        models: "anybody's cursor of another query is taken",
        tests: &["serve_pages::r3_cursors_are_closed"],
    },
    Edit {
        name: "dead_sources_are_fresh",
        file: "src/serve/operation.rs",
        find: "let until = if source.state_at(now) == Some(\"connected\") { updated_at } else { now };",
        replace: "let until = if source.state_at(now).is_some() { updated_at } else { now };",
        models: "a host that is gone for hours shows no lag",
        tests: &[
            "serve_operation::ready_when_schema_and_lag_allow",
            "serve_operation::status_for_programs_and_people",
            "serve_operation::an_indexer_that_gives_no_sign_of_life_is_not_believed",
        ],
    },
];
