//! The database for one answer, and the viewer that the answer is for.

use sqlx::{PgConnection, Postgres, Transaction};
use tokio::sync::OwnedSemaphorePermit;

use super::{error::ApiError, params::NamedUri};
use crate::{
    atproto::AtUri,
    model::ActorId,
    store::{
        sessions::SessionOwner,
        views::actors::{ActorName, find_actor},
    },
};

/// The database at one moment, and the viewer.
#[derive(Debug)]
pub struct ReadTransaction {
    pub(super) transaction: Transaction<'static, Postgres>,
    /// The account that the request's token or session belongs to.
    pub viewer: Option<SessionOwner>,
    /// Behind the transaction, so that its connection is free before another takes the turn.
    pub(super) _turn: OwnedSemaphorePermit,
}

impl ReadTransaction {
    /// The connection.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// The viewer's id, if there is a viewer.
    pub fn viewer_id(&self) -> Option<ActorId> {
        self.viewer.as_ref().map(|viewer| viewer.actor_id)
    }

    /// The viewer; refused without one.
    pub fn require_viewer(&self) -> Result<SessionOwner, ApiError> {
        self.viewer.clone().ok_or_else(ApiError::anonymous)
    }

    /// The URI with a DID in front; `None` when no account is known to have the handle.
    pub async fn resolve_uri(&mut self, uri: NamedUri) -> Result<Option<AtUri>, ApiError> {
        let (handle, path) = match uri {
            NamedUri::Uri(uri) => return Ok(Some(uri)),
            NamedUri::OfHandle(handle, path) => (handle, path),
        };
        let actor = find_actor(self.connection(), &ActorName::Handle(handle)).await?;
        Ok(actor.and_then(|actor| AtUri::parse(&format!("at://{}{path}", actor.did)).ok()))
    }
}
