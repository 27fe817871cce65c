//! Commits that must be proven before they are applied.

use super::Edit;

pub(super) const EDITS: &[Edit] = &[
    Edit {
        name: "verdict_ignored",
        file: "src/ingest/verify/blocking.rs",
        find: "let Some((reason, detail)) = outcome.refusal() else { continue };",
        replace: "let unknown = |(reason, _): &(RejectReason, String)| *reason == RejectReason::KeyUnknown;\n            let Some((reason, detail)) = outcome.refusal().filter(unknown) else { continue };",
        models: "a commit that its owner has not signed is applied",
        tests: &["pipeline::proofs::refusing::what_is_not_proven_is_never_shown_and_what_is_around_it_lands"],
    },
    Edit {
        name: "refused_is_dropped_without_a_reject",
        file: "src/ingest/verify/blocking.rs",
        find: "(frame.items, frame.link) = (vec![Item::Reject(Box::new(reject))], None);",
        replace: "drop(reject);\n            (frame.items, frame.link) = (Vec::new(), None);",
        models: "a commit that could not be proven today is gone tomorrow",
        tests: &["pipeline::proofs::refusing::a_commit_whose_key_was_not_to_be_had_lands_when_it_is_tried_again"],
    },
    Edit {
        name: "refresh_skipped",
        file: "src/ingest/verify/outcome.rs",
        find: "        VerifyOutcome::Failed(VerifyError::Signature) => {",
        replace: "        VerifyOutcome::Failed(VerifyError::Signature) if message.is_empty() => {",
        models: "whoever has a new key is refused until the old one is a day old",
        tests: &["pipeline::proofs::refusing::a_key_that_was_rotated_is_read_anew_once"],
    },
    Edit {
        name: "unreadable_records_need_no_proof",
        file: "src/ingest/verify/outcome.rs",
        find: "Item::Reject(reject) => reject.path.as_ref().map(|path| (path.did.clone(), path.rev)),",
        replace: "Item::Reject(_) => None,",
        models: "a forged commit with a record that cannot be read hides the true one at its path",
        tests: &["pipeline::proofs::refusing::what_is_not_proven_is_never_shown_and_what_is_around_it_lands"],
    },
    Edit {
        name: "refused_repo_unmarked",
        file: "src/ingest/pump/batch.rs",
        find: "self.batch.gaps.push(Gap { source, change: GapChange::Unproven { did, rev } });",
        replace: "drop((source, did, rev));",
        models: "a repo of which a true commit was damaged on its way is never read again",
        tests: &["pipeline::proofs::refusing::what_is_not_proven_is_never_shown_and_what_is_around_it_lands"],
    },
    Edit {
        name: "stop_refuses_what_waits",
        file: "src/ingest/verify/blocking.rs",
        find: "Ok(Ok(None) | Err(_)) => return pending().await,",
        replace: "Ok(Ok(None) | Err(_)) => return None,",
        models: "each restart refuses the commits whose keys were being looked up",
        tests: &["pipeline::proofs::refusing::s5_a_stop_or_a_crash_while_a_key_is_awaited_loses_and_refuses_nothing"],
    },
    Edit {
        name: "database_away_is_no_key",
        file: "src/ingest/verify/blocking.rs",
        find: "Ok(Ok(Some(Err(IdentityError::Database(error))))) => {",
        replace: "Ok(Ok(Some(Err(IdentityError::Database(error))))) if did.as_str().is_empty() => {",
        models: "while Postgres restarts, true commits are refused by the thousand",
        tests: &["pipeline::proofs::refusing::s1_a_database_that_is_away_makes_no_key_unknown"],
    },
    Edit {
        name: "retry_asks_for_no_proof",
        file: "src/ingest/retry.rs",
        find: "if self.verify(&did, &reject.raw).await != VerifyOutcome::Verified {",
        replace: "if self.verify(&did, &reject.raw).await == VerifyOutcome::NoKey {",
        models: "`rejects retry --all` applies what was forged",
        tests: &["pipeline::proofs::refusing::what_is_not_proven_is_never_shown_and_what_is_around_it_lands"],
    },
];
