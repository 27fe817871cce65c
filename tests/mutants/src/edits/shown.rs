//! What is shown and counted.

use super::Edit;

pub(super) const EDITS: &[Edit] = &[
    Edit {
        name: "likers_by_record",
        file: "src/store/views/likers.sql",
        find: "newer.subject_id = l.subject_id",
        replace: "newer.subject_id = l.subject_cid_id AND newer.rkey < 0",
        models: "an actor with two like records is shown twice",
        tests: &["api::pages::r2_pages_of_likes_stay_stable", "api::xrpc::likers_and_tracks"],
    },
    Edit {
        name: "pages_repeat_their_last_row",
        file: "src/store/views/likers.sql",
        find: "(l.sort_at, a.did, l.rkey) < (",
        replace: "(l.sort_at, a.did, l.rkey) <= (",
        models: "the last liker of a page is also the first of the next",
        tests: &["api::pages::r2_pages_of_likes_stay_stable"],
    },
    Edit {
        name: "batch_of_one_too_many",
        file: "src/store/views/liked_of_token.sql",
        find: "WHEN cardinality(few.ids) <= 256 THEN",
        replace: "WHEN cardinality(few.ids) <= 257 THEN",
        models: "a listener with many likes sees empty hearts",
        tests: &["api::rest::r1_batch_knows_every_like_of_few_and_of_many"],
    },
    Edit {
        name: "expired_tokens_stand",
        file: "src/store/views/liked_of_token.sql",
        find: "s.expires_at > $2",
        replace: "s.expires_at + interval '100 years' > $2",
        models: "a token is good for ever",
        tests: &["api::rest::sessions_that_do_not_stand_are_refused"],
    },
    Edit {
        name: "cursors_are_not_checked",
        file: "src/serve/http/cursor.rs",
        find: "self.code_of(query, place).verify_truncated_left(code).ok()?;",
        replace: "self.code_of(query, place).verify_truncated_left(code).err();",
        models: "a cursor of another query is accepted",
        tests: &["api::pages::r3_cursors_are_closed"],
    },
    Edit {
        name: "dead_sources_are_fresh",
        file: "src/serve/operation/sources.rs",
        find: "let until = if source.state_at(now) == Some(\"connected\") { updated_at } else { now };",
        replace: "let until = if source.state_at(now).is_some() { updated_at } else { now };",
        models: "a host that is gone for hours shows no lag",
        tests: &[
            "api::operation::ready_when_schema_and_lag_allow",
            "api::operation::status_for_programs_and_browsers",
            "api::operation::an_indexer_that_gives_no_sign_of_life_is_not_believed",
        ],
    },
];
