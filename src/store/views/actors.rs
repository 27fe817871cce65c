//! Actors: by name, and as cards.

use sqlx::PgConnection;

use super::avatar_url;
use crate::atproto::{Did, Handle, Tid, Timestamp};
use crate::model::ActorId;
use crate::store::stored::{moment, stored_did, stored_handle};

/// What a client may call an actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActorName {
    /// For good.
    Did(Did),
    /// As long as the handle is theirs.
    Handle(Handle),
}

impl ActorName {
    /// The text as the tables hold it. No handle looks like a DID.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Did(did) => did.as_str(),
            Self::Handle(handle) => handle.as_str(),
        }
    }
}

/// An actor with what is known to show of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorView {
    /// Our number.
    pub id: ActorId,
    /// For good.
    pub did: Did,
    /// The last one known.
    pub handle: Option<Handle>,
    /// What the actor calls themselves.
    pub display_name: Option<String>,
    /// Where the picture is.
    pub avatar: Option<String>,
    /// What the actor says of themselves.
    pub bio: Option<String>,
    /// When the profile was made, by the actor's clock.
    pub created_at: Option<Timestamp>,
    /// When it was last changed, by the actor's clock.
    pub updated_at: Option<Timestamp>,
}

/// The actor of that name, unless hidden.
pub async fn find_actor(connection: &mut PgConnection, name: &ActorName) -> sqlx::Result<Option<ActorView>> {
    let row = sqlx::query!(
        "SELECT a.id AS \"id!\", a.did AS \"did!\", a.handle, p.avatar AS \"avatar?\", p.bio AS \"bio?\", p.created_at AS \"created_at?\",
            p.updated_at AS \"updated_at?\", b.display_name AS \"display_name?\", b.avatar_cid AS \"avatar_cid?\", b.host AS \"host?\"
        FROM visible_actors a LEFT JOIN profiles p ON p.actor_id = a.id AND p.cid IS NOT NULL
        LEFT JOIN bluesky_profiles b ON b.actor_id = a.id
        WHERE a.id = coalesce((SELECT id FROM actors WHERE did = $1), (SELECT id FROM actors WHERE handle = $1))",
        name.as_str()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(ActorView {
            id: row.id.into(),
            did: stored_did(&row.did)?,
            handle: stored_handle(row.handle.as_deref())?,
            display_name: row.display_name,
            avatar: avatar_url(row.avatar, &row.did, row.host.as_deref(), row.avatar_cid.as_deref())?,
            bio: row.bio,
            created_at: moment(row.created_at),
            updated_at: moment(row.updated_at),
        })
    })
    .transpose()
}

/// The newest rev of an actor's repo among the likes and lists that we hold, deleted ones too.
pub async fn find_newest_rev(connection: &mut PgConnection, actor_id: ActorId) -> sqlx::Result<Option<Tid>> {
    let newest = sqlx::query_scalar!(
        "SELECT greatest(
            coalesce((SELECT newest_rev FROM many_likers WHERE actor_id = $1), (SELECT max(rev) FROM likes WHERE actor_id = $1)),
            (SELECT max(rev) FROM lists WHERE actor_id = $1))",
        actor_id.number()
    )
    .fetch_one(connection)
    .await?;
    Ok(newest.map(Tid::from_number))
}
