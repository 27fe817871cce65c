//! What every route shares: the database, the settings, and who asks.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::{
    cursor::Cursors,
    lane::Lane,
    parameters::NamedUri,
    refusal::{Refusal, is_dead},
    token::hash_token,
};
use crate::{
    atproto::{AtUri, Timestamp},
    clock::Clock,
    model::Collections,
    store::{
        sessions::{SessionOwner, find_session},
        views::actors::{ActorName, find_actor},
    },
};

/// How the API answers.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Origins whose pages may ask, with cookies; none by default.
    pub cors_origins: Vec<HeaderValue>,
    /// The key that seals cursors. Servers behind one name share it.
    pub cursor_key: [u8; 32],
    /// The collections of the namespace, after which the XRPC methods are named.
    pub collections: Collections,
    /// `/ready` refuses when the index is further behind than this, in seconds.
    pub lag_limit_s: f64,
    /// A request is given up after this long, body included.
    pub time_limit: Duration,
}

impl ServeSettings {
    /// The defaults: no foreign origins, five minutes of lag, ten seconds for a request.
    pub fn new(collections: Collections, cursor_key: [u8; 32]) -> Self {
        let time_limit = Duration::from_secs(10);
        Self { cors_origins: Vec::new(), cursor_key, collections, lag_limit_s: 300.0, time_limit }
    }
}

/// What every route shares.
#[derive(Debug, Clone)]
pub struct App(Arc<Shared>);

/// The parts of [`App`].
#[derive(Debug)]
pub struct Shared {
    /// Connections for reading.
    pub pool: PgPool,
    /// Connections for the two questions that are asked most.
    pub lane: Lane,
    /// How the API answers.
    pub settings: ServeSettings,
    /// Seals and opens cursors.
    pub cursors: Cursors,
    clock: Clock,
}

impl std::ops::Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// A dead connection is replaced this often before the request fails: a restarted database leaves a pool full of them.
pub const CONNECTIONS_TRIED_MAX: usize = 32;

impl App {
    /// Shares a pool and settings among the routes.
    pub fn new(pool: PgPool, settings: ServeSettings, clock: Clock) -> Self {
        let lane = Lane::new(pool.clone());
        let cursors = Cursors::new(&settings.cursor_key);
        Self(Arc::new(Shared { pool, lane, settings, cursors, clock }))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Opens the database for one answer: everything read through it is of one moment. Who asks is looked up first; a bearer
    /// that is not valid is refused, a cookie that is not valid is nobody.
    pub async fn read(&self, credentials: &Credentials) -> Result<Reading, Refusal> {
        let mut reading = Reading { transaction: self.begin().await?, viewer: None };
        match credentials {
            Credentials::None => {}
            Credentials::Malformed => return Err(Refusal::bad_token()),
            Credentials::Bearer(hash) => {
                let viewer = find_session(reading.database(), hash, self.now()).await?;
                reading.viewer = Some(viewer.ok_or_else(Refusal::bad_token)?);
            }
            Credentials::Cookie(hash) => reading.viewer = find_session(reading.database(), hash, self.now()).await?,
        }
        Ok(reading)
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>, Refusal> {
        let mut tried = 0;
        loop {
            tried += 1;
            match self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await {
                Err(error) if is_dead(&error) && tried < CONNECTIONS_TRIED_MAX => {}
                outcome => return Ok(outcome?),
            }
        }
    }
}

/// The database at one moment, and who asks.
#[derive(Debug)]
pub struct Reading {
    transaction: Transaction<'static, Postgres>,
    /// Who asks, if known.
    pub viewer: Option<SessionOwner>,
}

impl Reading {
    /// The connection.
    pub fn database(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// The id of whoever asks, if known.
    pub fn viewer_id(&self) -> Option<i64> {
        self.viewer.as_ref().map(|viewer| viewer.actor_id)
    }

    /// Who asks; refused where nobody does.
    pub fn require_viewer(&self) -> Result<SessionOwner, Refusal> {
        self.viewer.clone().ok_or_else(Refusal::anonymous)
    }

    /// The URI with a DID in front; `None` when nobody is known to have the handle.
    pub async fn resolve_uri(&mut self, uri: NamedUri) -> Result<Option<AtUri>, Refusal> {
        let (handle, path) = match uri {
            NamedUri::Uri(uri) => return Ok(Some(uri)),
            NamedUri::OfHandle(handle, path) => (handle, path),
        };
        let actor = find_actor(self.database(), &ActorName::Handle(handle)).await?;
        Ok(actor.and_then(|actor| AtUri::parse(&format!("at://{}{path}", actor.did)).ok()))
    }
}

/// What a request says of who asks. Only the hash of a token is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    None,
    /// An `Authorization` that is no bearer token.
    Malformed,
    /// A program's token.
    Bearer([u8; 32]),
    /// A browser's session.
    Cookie([u8; 32]),
}

impl Credentials {
    /// Reads the `Authorization` header or else the `session_id` cookie.
    pub fn of_headers(headers: &HeaderMap) -> Self {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let token = value.to_str().ok().and_then(|text| text.split_once(' '));
            return match token {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                    Self::Bearer(hash_token(token.trim()))
                }
                _ => Self::Malformed,
            };
        }
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        match pairs.find(|(name, _)| *name == "session_id") {
            Some((_, token)) => Self::Cookie(hash_token(token)),
            None => Self::None,
        }
    }

    /// The hash of the token; refused where there is none.
    pub fn require_hash(&self) -> Result<&[u8; 32], Refusal> {
        match self {
            Self::None => Err(Refusal::anonymous()),
            Self::Malformed => Err(Refusal::bad_token()),
            Self::Bearer(hash) | Self::Cookie(hash) => Ok(hash),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Credentials {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of_headers(&parts.headers))
    }
}
