//! Accounts: who is hidden, who is gone, and how the counts follow.

use super::Edit;

pub(super) const EDITS: &[Edit] = &[
    Edit {
        name: "status_compared_loosely",
        file: "src/apply/account_hints.rs",
        find: "active || status.is_none_or(AccountStatus::hides)",
        replace: "active || status.is_none()",
        models: "an account that is inactive without a reason is shown, and one that is slowed down is hidden",
        tests: &["cases::accounts::a2_what_each_status_means"],
    },
    Edit {
        name: "any_inactivity_is_deletion",
        file: "src/apply/account_answers.rs",
        find: "Answer::Inactive { status: Some(AccountStatus::Deleted) } | Answer::Tombstoned => Decision::Remove,",
        replace: "Answer::Inactive { status: Some(_) } | Answer::Tombstoned => Decision::Remove,",
        models: "who goes on holiday comes back to an empty index",
        tests: &["cases::accounts::a4_a5_only_an_accounts_own_server_removes_anything"],
    },
    Edit {
        name: "unreachable_is_deletion",
        file: "src/apply/account_answers.rs",
        find: "        Answer::NotFound if is_said_deleted => Decision::Remove,\n",
        replace: "        Answer::NotFound | Answer::Unreachable if is_said_deleted => Decision::Remove,\n",
        models: "a host's word and a server that is away for a minute remove everything",
        tests: &["cases::accounts::a4_a5_only_an_accounts_own_server_removes_anything"],
    },
    Edit {
        name: "account_seq_ignored",
        file: "src/store/actors/rows.rs",
        find: "(a.status_at, a.status_seq) < (h.at, h.seq)",
        replace: "a.status_at < h.at",
        models: "of two words of one millisecond the one that came first counts",
        tests: &["cases::accounts::h10_of_what_is_said_in_one_millisecond_the_last_number_counts"],
    },
    Edit {
        name: "old_deletion_believed",
        file: "src/store/actors/rows.rs",
        find: "(a.status_at IS NULL OR (a.status_at, a.status_seq) < (h.at, h.seq))",
        replace: "(a.status_at IS NULL OR (a.status_at, a.status_seq) <> (h.at, h.seq))",
        models: "a deletion that is delivered again after the account came back hides it",
        tests: &["cases::accounts::a4_an_old_deletion_that_comes_again_changes_nothing"],
    },
    Edit {
        name: "account_tombstone_ignored",
        file: "src/apply/account_states.rs",
        find: "path.rev > *rev",
        replace: "path.rev != *rev",
        models: "commits from before a deletion bring the account's likes back",
        tests: &["cases::accounts::a1_a_deleted_account_is_gone_everywhere_at_once"],
    },
    Edit {
        name: "restored_account_is_not_read",
        file: "src/store/actors/tombstones.rs",
        find: "SET rev = $2, is_purging = false, needs_resync = true WHERE",
        replace: "SET rev = $2, is_purging = false, needs_resync = false WHERE",
        models: "an account that was deleted and restored stays empty",
        tests: &["cases::accounts::a7_an_account_that_was_deleted_and_restored_is_read_again"],
    },
    Edit {
        name: "contradiction_within_a_batch_is_not_asked_about",
        file: "src/apply/account_hints.rs",
        find: "if held.is_some_and(|held| held.active != *active) {",
        replace: "if held.is_some_and(|held| held.active != *active && held.at == *at) {",
        models: "a hint and its contradiction that come together are folded to the last, and a lagging host is believed",
        tests: &["cases::accounts::a5_words_that_contradict_each_other_are_asked_about_whenever_they_come"],
    },
    Edit {
        name: "contradiction_of_a_stranger_is_forgotten",
        file: "src/apply/remembered_hints.rs",
        find: "(held, _)| held == word)",
        replace: "(held, _)| held.is_some() == word.is_some())",
        models: "of an account that is not indexed yet only the last hint is kept, and a lagging host is believed",
        tests: &["cases::accounts::a5_words_that_contradict_each_other_are_asked_about_whenever_they_come"],
    },
    Edit {
        name: "contradiction_is_not_asked_about",
        file: "src/apply/account_hints.rs",
        find: "(false, false) => Some(CheckReason::Contradicted),",
        replace: "(false, false) => None,",
        models: "two hosts disagree about an account, and the louder one stays believed",
        tests: &["cases::accounts::a4_an_old_deletion_that_comes_again_changes_nothing"],
    },
    Edit {
        name: "count_by_record",
        file: "migrations/0003_like_counts.sql",
        find: "SELECT actor_id, subject_id FROM marked WHERE is_shared IS NULL",
        replace: "SELECT actor_id, subject_id FROM marked",
        models: "two like records of one actor are two likes",
        tests: &["cases::order::o9_two_likes_by_one_actor_on_one_track_are_one"],
    },
    Edit {
        name: "unlike_by_record",
        file: "migrations/0003_like_counts.sql",
        find: "(now > 0)::int - (now - change > 0)::int AS delta",
        replace: "change AS delta",
        models: "one of two like records goes, and the like with it",
        tests: &["cases::order::o9_two_likes_by_one_actor_on_one_track_are_one"],
    },
    Edit {
        name: "hidden_actor_still_counted",
        file: "migrations/0003_like_counts.sql",
        find: "u.actor_id = a.actor_id AND u.uncounted_to >= a.subject_id",
        replace: "u.actor_id = a.actor_id AND u.uncounted_to < a.subject_id",
        models: "what a hidden actor writes is counted",
        tests: &["cases::accounts::a3_reactivation_restores_everything_also_what_was_written_while_hidden"],
    },
    Edit {
        name: "hidden_likes_never_put_back",
        file: "src/store/counts/uncounted.rs",
        find: "UPDATE track_counts c SET like_count = c.like_count + 1 FROM next n",
        replace: "UPDATE track_counts c SET like_count = c.like_count + 0 FROM next n",
        models: "an account comes back, and its likes are not counted again",
        tests: &["cases::accounts::a3_reactivation_restores_everything_also_what_was_written_while_hidden"],
    },
    Edit {
        name: "hidden_in_one_view_only",
        file: "src/store/views/likers.sql",
        find: "JOIN visible_actors a ON",
        replace: "JOIN actors a ON",
        models: "a hidden actor is still named among the likers",
        tests: &["cases::accounts::a2_what_each_status_means"],
    },
    Edit {
        name: "lists_of_hidden_owners",
        file: "src/store/views/lists.rs",
        find: "cid IS NOT NULL
                        AND (sort_at, rkey) < (coalesce($2::timestamptz, 'infinity'), $3)
                    ORDER BY sort_at DESC, rkey DESC LIMIT $4
                ) AS l JOIN visible_actors a",
        replace: "cid IS NOT NULL
                        AND (sort_at, rkey) < (coalesce($2::timestamptz, 'infinity'), $3)
                    ORDER BY sort_at DESC, rkey DESC LIMIT $4
                ) AS l JOIN actors a",
        models: "the lists of a hidden actor are still listed",
        tests: &["cases::accounts::a2_what_each_status_means"],
    },
    Edit {
        name: "handle_by_one_side",
        file: "src/crawl/identity.rs",
        find: "HandleAnswer::Of(owner) if owner == *did => (Some(now.utc()), options.age_max),",
        replace: "HandleAnswer::Of(_) => (Some(now.utc()), options.age_max),",
        models: "a handle that a document claims is shown although its domain names another DID",
        tests: &[
            "pipeline::identities::a8_a_handle_is_shown_when_both_sides_agree",
            "pipeline::identities::a8_a_handle_belongs_to_one_at_a_time",
        ],
    },
];
