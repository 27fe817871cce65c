//! Commits that must be verified before they are applied.

use super::Edit;

pub(super) const EDITS: &[Edit] = &[
    Edit {
        name: "outcome_ignored",
        file: "src/ingest/verify/blocking.rs",
        find: "let Some((reason, detail)) = outcome.refusal() else { continue };",
        replace: "let unknown = |(reason, _): &(RejectReason, String)| *reason == RejectReason::KeyUnknown;\n            let Some((reason, detail)) = outcome.refusal().filter(unknown) else { continue };",
        models: "a commit that its owner has not signed is applied",
        tests: &[
            "pipeline::verification::reject_mode::a_commit_that_fails_verification_is_never_shown_and_those_around_it_are_applied",
        ],
    },
    Edit {
        name: "refused_is_dropped_without_a_reject",
        file: "src/ingest/verify/blocking.rs",
        find: "(frame.items, frame.link, frame.undelivered) = (vec![Item::Reject(Box::new(reject))], None, None);",
        replace: "drop(reject);\n            (frame.items, frame.link, frame.undelivered) = (Vec::new(), None, None);",
        models: "a commit that could not be verified for lack of a key is lost",
        tests: &[
            "pipeline::verification::reject_mode::a_commit_whose_key_was_unavailable_is_applied_when_it_is_retried",
        ],
    },
    Edit {
        name: "refresh_skipped",
        file: "src/ingest/verify/outcome.rs",
        find: "        VerifyOutcome::Failed(VerifyError::Signature) => {",
        replace: "        VerifyOutcome::Failed(VerifyError::Signature) if message.is_empty() => {",
        models: "after a key rotation, commits are refused until the cached key is a day old",
        tests: &["pipeline::verification::reject_mode::a_rotated_key_is_fetched_again_once"],
    },
    Edit {
        name: "unreadable_records_are_not_verified",
        file: "src/ingest/verify/outcome.rs",
        find: "Item::Reject(reject) => reject.path.as_ref().map(|path| (path.did.clone(), path.rev)),",
        replace: "Item::Reject(_) => None,",
        models: "a forged commit with a record that cannot be read hides the true one at its path",
        tests: &[
            "pipeline::verification::reject_mode::a_commit_that_fails_verification_is_never_shown_and_those_around_it_are_applied",
        ],
    },
    Edit {
        name: "refused_repo_unmarked",
        file: "src/ingest/pump/batch.rs",
        find: "self.batch.gaps.push(Gap { source, change });",
        replace: "drop((source, change));",
        models: "a repo of which a true commit was damaged on its way is never read again",
        tests: &[
            "pipeline::verification::reject_mode::a_commit_that_fails_verification_is_never_shown_and_those_around_it_are_applied",
        ],
    },
    Edit {
        name: "stop_refuses_what_waits",
        file: "src/ingest/verify/blocking.rs",
        find: "Ok(Ok(None) | Err(_)) => return pending().await,",
        replace: "Ok(Ok(None) | Err(_)) => return None,",
        models: "each restart refuses the commits whose keys were being looked up",
        tests: &[
            "pipeline::verification::reject_mode::s5_a_stop_or_a_crash_while_a_key_is_awaited_loses_and_refuses_nothing",
        ],
    },
    Edit {
        name: "database_away_is_no_key",
        file: "src/ingest/verify/blocking.rs",
        find: "Ok(Ok(Some(Err(IdentityError::Database(error))))) => {",
        replace: "Ok(Ok(Some(Err(IdentityError::Database(error))))) if did.as_str().is_empty() => {",
        models: "while Postgres restarts, true commits are refused by the thousand",
        tests: &["pipeline::verification::reject_mode::s1_a_database_that_is_away_makes_no_key_unknown"],
    },
    Edit {
        name: "retry_does_not_verify",
        file: "src/ingest/retry.rs",
        find: "if self.verify(&did, &reject.raw).await != VerifyOutcome::Verified {",
        replace: "if self.verify(&did, &reject.raw).await == VerifyOutcome::NoKey {",
        models: "`rejects retry --all` applies what was forged",
        tests: &[
            "pipeline::verification::reject_mode::a_commit_that_fails_verification_is_never_shown_and_those_around_it_are_applied",
        ],
    },
];
