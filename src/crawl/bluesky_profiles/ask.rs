use std::time::Duration;

use sqlx::PgPool;

use super::Options;
use crate::{
    atproto::{AtUri, Nsid, RecordKey, Timestamp},
    clock::Clock,
    decode::{BLUESKY_PROFILE, BlueskyProfile, RawFormat, decode_bluesky_profile},
    identity::IdentityError,
    pds::{ListedRecord, Server, XrpcError},
    store::actors::bluesky_profiles::{self, DueProfile, Outcome, ProfileAnswer, PutOff},
};

/// What counts as an attempt that brought no answer.
pub(super) const FAILED: &str = "failed";

/// The longest wait before somebody is asked about again.
const RETRY_MAX: Duration = Duration::from_hours(6);

/// Asks about one at a time; cloned for each.
#[derive(Clone)]
pub(super) struct Asker {
    pub pool: PgPool,
    pub options: Options,
    pub clock: Clock,
}

/// Why nothing was answered.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the document names no server")]
    NoServer,
    #[error(transparent)]
    Xrpc(#[from] XrpcError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Asker {
    /// Asks for somebody's profile, and stores what came of it. Where the database does not take that, they come again by time.
    pub async fn ask(self, due: DueProfile) {
        let word = match self.answer(&due).await {
            Ok(outcome) => outcome.as_str(),
            Err(failure) => {
                tracing::debug!(error = %failure, tries = due.tries, "a profile could not be read");
                if let Err(error) = self.fail(&due, &failure).await {
                    tracing::debug!(%error, "that a profile could not be read is not noted: it comes again");
                }
                FAILED
            }
        };
        metrics::counter!("plyr_bluesky_profiles_total", "outcome" => word).increment(1);
    }

    async fn answer(&self, due: &DueProfile) -> Result<Outcome, Failure> {
        let asked_at = self.clock.now();
        // The document is read again first if an event has told of a change: whoever moved is asked about where they are.
        let identity = self.options.identities.find(&due.did).await?;
        let server = Server::of_stranger(self.options.identities.client(), identity.pds.ok_or(Failure::NoServer)?);
        let record = match server.fetch_record(&profile_uri(due)).await {
            Ok(record) => Some(record),
            Err(XrpcError::RecordNotFound) => None,
            Err(error) => return Err(error.into()),
        };
        let (outcome, decoded, detail) = match record.as_ref().map(decode) {
            Some(Ok(profile)) => (Outcome::Found, Some(profile), None),
            Some(Err(detail)) => (Outcome::Refused, None, Some(detail)),
            None => (Outcome::Absent, None, None),
        };
        let age_max = if outcome == Outcome::Found { self.options.age_max } else { self.options.absent_for };
        let answer = ProfileAnswer {
            outcome,
            display_name: decoded.as_ref().and_then(|profile| profile.display_name.as_deref()),
            avatar: decoded.as_ref().and_then(|profile| profile.avatar),
            host: server.url().to_string(),
            detail,
            asked_at,
            due_at: asked_at.plus(spread(age_max)),
        };
        let mut connection = self.pool.acquire().await?;
        bluesky_profiles::write_answer(&mut connection, due.actor_id, &answer).await?;
        Ok(outcome)
    }

    async fn fail(&self, due: &DueProfile, failure: &Failure) -> sqlx::Result<()> {
        let mut later = self.later(due);
        later.due_at = failure.retry_at().map_or(later.due_at, |until| until.max(later.due_at));
        let mut connection = self.pool.acquire().await?;
        bluesky_profiles::write_failure(&mut connection, later, &failure.to_string()).await
    }

    /// When to look again at somebody of whom nothing was learnt: the longer that has been so, the later.
    pub fn later(&self, due: &DueProfile) -> PutOff {
        let doublings = u32::try_from(due.tries).unwrap_or_default().min(20);
        let wait = self.options.retry_min.saturating_mul(1 << doublings).min(RETRY_MAX);
        let due_at = self.clock.now().plus(spread(wait));
        PutOff { actor_id: due.actor_id, due_at, tries: due.tries.saturating_add(1) }
    }
}

impl Failure {
    /// When the host said that it may be asked again.
    fn retry_at(&self) -> Option<Timestamp> {
        match self {
            Self::Xrpc(XrpcError::Host(error)) => error.retry_at(),
            Self::Identity(IdentityError::Unresolved { retry_at, .. }) => Some(*retry_at),
            _ => None,
        }
    }
}

/// Between four and five fifths of a time, so that what came together does not come back together.
fn spread(time: Duration) -> Duration {
    time.mul_f64(0.8 + 0.2 * rand::random::<f64>())
}

fn decode(record: &ListedRecord) -> Result<BlueskyProfile, String> {
    decode_bluesky_profile(RawFormat::RecordJson, record.value.get().as_bytes()).map_err(|error| error.detail)
}

fn profile_uri(due: &DueProfile) -> AtUri {
    AtUri {
        did: due.did.clone(),
        collection: Nsid::parse(BLUESKY_PROFILE).expect("it is a constant that a test reads"),
        rkey: RecordKey::parse("self").expect("it is a constant that a test reads"),
    }
}
