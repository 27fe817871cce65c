use super::Options;
use crate::{
    atproto::{AtUri, Nsid, RecordKey, Timestamp},
    crawl::Context,
    decode::{BLUESKY_PROFILE, BlueskyProfile, RawFormat, decode_bluesky_profile},
    identity::IdentityError,
    model::UntrustedText,
    pds::{ListedRecord, Server, XrpcError},
    retry::spread,
    store::{
        actors::bluesky_profiles::{self, DueProfile, Outcome, ProfileAnswer, ProfileFailure},
        in_time,
    },
};

/// What counts as an attempt that brought no answer.
pub(super) const FAILED: &str = "failed";

/// Reads one profile at a time; cloned for each.
#[derive(Clone)]
pub(super) struct ProfileReader {
    pub context: Context,
    pub options: Options,
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

impl ProfileReader {
    /// Reads an actor's profile, and stores what came of it. Where the database does not take that, it is due again by its lease.
    pub(super) async fn read(self, due: DueProfile) {
        let word = match self.answer(&due).await {
            Ok(outcome) => outcome.as_str(),
            Err(failure) => {
                tracing::debug!(error = %failure, tries = due.tries, "a profile could not be read");
                if let Err(error) = self.fail(&due, &failure).await {
                    tracing::debug!(%error, "that a profile could not be read is not stored: it is due again later");
                }
                FAILED
            }
        };
        metrics::counter!("plyr_bluesky_profiles_total", "outcome" => word).increment(1);
    }

    async fn answer(&self, due: &DueProfile) -> Result<Outcome, Failure> {
        let Context { pool, identities, clock } = &self.context;
        let asked_at = clock.now();
        // The document is read again first if an event has reported a change, so that the PDS that is asked is the present one.
        let identity = identities.find(&due.did).await?;
        let server = Server::untrusted(identities.client(), identity.pds.ok_or(Failure::NoServer)?);
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
            due_at: asked_at.plus(spread(age_max, rand::random())),
        };
        in_time(async {
            let mut connection = pool.acquire().await?;
            bluesky_profiles::write_answer(&mut connection, due.actor_id, &answer).await
        })
        .await?;
        Ok(outcome)
    }

    async fn fail(&self, due: &DueProfile, failure: &Failure) -> sqlx::Result<()> {
        let due_at = self.retry_at(due);
        let due_at = failure.retry_at().map_or(due_at, |until| until.max(due_at));
        let failure = ProfileFailure { detail: UntrustedText::of(failure), due_at };
        in_time(async {
            let mut connection = self.context.pool.acquire().await?;
            bluesky_profiles::write_failure(&mut connection, due.actor_id, &failure).await
        })
        .await
    }

    /// When to try one again that could not be read: the longer that has been so, the later.
    pub(super) fn retry_at(&self, due: &DueProfile) -> Timestamp {
        let failures = u32::try_from(due.tries).unwrap_or_default();
        self.context.clock.now().plus(self.options.backoff.pause(failures, rand::random()))
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

fn decode(record: &ListedRecord) -> Result<BlueskyProfile, UntrustedText> {
    decode_bluesky_profile(RawFormat::RecordJson, record.value.get().as_bytes())
        .map_err(|error| UntrustedText::of(&error))
}

fn profile_uri(due: &DueProfile) -> AtUri {
    AtUri {
        did: due.did.clone(),
        collection: Nsid::parse(BLUESKY_PROFILE).expect("it is a constant that a test reads"),
        rkey: RecordKey::parse("self").expect("it is a constant that a test reads"),
    }
}
