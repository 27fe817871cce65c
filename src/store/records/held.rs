use crate::{
    atproto::{RecordKey, Tid},
    model::{ActorId, Collection},
    store::stored::stored_tid,
};

/// What the index holds at one path of a repo.
#[derive(Debug, Clone)]
pub struct HeldRecord {
    /// Which collection.
    pub collection: Collection,
    /// The record's key.
    pub rkey: RecordKey,
    /// The rev that stands there.
    pub rev: Tid,
    /// The first eight bytes of the record's digest; none for a tombstone.
    pub head: Option<i64>,
}

impl HeldRecord {
    /// A path whose key the table holds as the number of a TID.
    pub(super) fn at_tid(collection: Collection, rkey: i64, rev: i64, head: Option<i64>) -> sqlx::Result<Self> {
        Self::at(collection, &stored_tid(rkey)?.to_string(), rev, head)
    }

    /// A path whose key the table holds as a text.
    pub(super) fn at(collection: Collection, rkey: &str, rev: i64, head: Option<i64>) -> sqlx::Result<Self> {
        let rkey = RecordKey::parse(rkey).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Self { collection, rkey, rev: stored_tid(rev)?, head })
    }
}

/// A repo as far as a rev: what was written later is not meant.
#[derive(Debug, Clone, Copy)]
pub struct RepoUpTo {
    /// Whose.
    pub actor_id: ActorId,
    /// The last rev that is meant.
    pub rev: Tid,
}
