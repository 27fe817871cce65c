//! The status of doubtful accounts is requested of a PDS that knows it; request and answer are apart, so that other things can
//! happen between the two.

use std::sync::atomic::Ordering;

use plyr_likes::{
    apply::{self, Answer, Decision},
    atproto::{Did, Tid, Timestamp},
    maintenance::follow_accounts,
    model::AccountStatus,
    store::actors::{
        account_checks::{self, AccountCheck},
        tombstones,
    },
};

use super::{
    account_history::{AccountHistory, Standing},
    account_model::Answered,
    history::Random,
    world::World,
};

const DAY_US: i64 = 86_400_000_000;

/// A request that was sent, and what will be answered.
pub struct Asked {
    check: AccountCheck,
    answer: Answer,
    put_at: Timestamp,
    was_reported_deleted: bool,
}

/// What a PDS answers that has an account in this state.
fn answer_of(history: &AccountHistory, check: &AccountCheck, (asked_us, random): (i64, &mut Random)) -> Answer {
    let repo = history.repo(check.did.as_str(), asked_us);
    match repo.standing {
        Standing::Active => {
            let rev = repo.rev.filter(|_| !random.percent(10));
            Answer::Active { rev: rev.map(Tid::from_number) }
        }
        Standing::Inactive(status) => Answer::Inactive { status: status.map(AccountStatus::parse) },
        Standing::Deleted => match random.below(3) {
            0 => Answer::NotFound,
            1 => Answer::Tombstoned,
            _ => Answer::Inactive { status: Some(AccountStatus::Deleted) },
        },
    }
}

impl World {
    /// What the clock says, in microseconds since 1970.
    pub fn now(&self) -> i64 {
        self.now_us.load(Ordering::Relaxed)
    }

    /// Sends the requests that are due.
    pub async fn ask(&mut self, history: &AccountHistory, random: &mut Random) -> Vec<Asked> {
        let now = self.clock.now();
        let due = account_checks::list_due(&mut self.connection, now.utc(), 10, &[]).await.expect("the table is there");
        self.advance_to(self.now() + 1);
        let mut asked = Vec::new();
        for check in due {
            let answer = answer_of(history, &check, (now.micros(), random));
            let was_reported_deleted = self.accounts.is_reported_deleted(check.did.as_str());
            asked.push(Asked { check, answer, put_at: now, was_reported_deleted });
        }
        asked
    }

    /// A request is answered.
    pub async fn answer(&mut self, asked: Asked) -> Decision {
        let Asked { check, answer, put_at, was_reported_deleted } = asked;
        let answered = match &answer {
            Answer::Active { rev } => Some(Answered::Active(rev.map(Tid::number))),
            Answer::Inactive { status: Some(AccountStatus::Deleted) } | Answer::Tombstoned => Some(Answered::Deleted),
            Answer::Inactive { .. } => Some(Answered::Inactive),
            Answer::NotFound => was_reported_deleted.then_some(Answered::Deleted),
            Answer::Unreachable => None,
        };
        if let Some(answered) = answered {
            self.accounts.answer(&self.model, (check.did.as_str(), put_at.micros()), answered);
        }
        let answered = apply::Answered { answer, asked_at: put_at };
        apply::act_on_answer(&mut self.connection, &check, answered, self.clock.now())
            .await
            .expect("the database takes the answer")
    }

    /// Asks and answers until no check is left, however long that takes. Returns how many accounts are removed for it.
    pub async fn answer_all(&mut self, history: &AccountHistory, random: &mut Random) -> usize {
        let mut removed = 0;
        for round in 0.. {
            if account_checks::count(&mut self.connection).await.expect("the table is there") == 0 {
                break;
            }
            assert!(round < 25, "there is no end of asking");
            self.advance_to(self.now() + DAY_US);
            for asked in self.ask(history, random).await {
                removed += usize::from(self.answer(asked).await == Decision::Remove);
            }
        }
        removed
    }

    /// The counts follow, and what deletions have made void is removed.
    pub async fn follow(&mut self) {
        follow_accounts(&mut self.connection, None).await.expect("the database answers");
        self.accounts.purge(&mut self.model);
    }

    /// Whose repo is to be read, since their account came back after having been deleted.
    pub async fn take_to_read(&mut self) -> Vec<Did> {
        let back = tombstones::list_pending_resync(&mut self.connection, 100).await.expect("the table is there");
        for (actor_id, _) in &back {
            tombstones::mark_resynced(&mut self.connection, *actor_id).await.expect("the table is there");
        }
        back.into_iter().map(|(_, did)| did).collect()
    }

    /// A reader says whether it was given a repo.
    pub async fn note_given(&mut self, did: &Did, is_given: bool) {
        let now = self.clock.now().utc();
        account_checks::request_for_repos(&mut self.connection, &[(did, is_given)], now)
            .await
            .expect("the table is there");
    }
}
