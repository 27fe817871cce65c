use sqlx::FromRow;

use crate::{
    atproto::{RecordKey, Tid},
    model::{ActorId, Collection},
    store::stored::{stored_head, stored_uri},
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

/// The same as its table has it.
#[derive(Debug, FromRow)]
pub(super) struct HeldRow {
    collection: String,
    /// The key, where it is a TID.
    tid: Option<i64>,
    /// Where the table has it, the whole URI.
    uri: Option<String>,
    rev: i64,
    /// Of the CID, where the table has no more of it.
    head: Option<i64>,
    cid: Option<Vec<u8>>,
}

impl TryFrom<HeldRow> for HeldRecord {
    type Error = sqlx::Error;

    fn try_from(row: HeldRow) -> sqlx::Result<Self> {
        let unknown = || sqlx::Error::Decode(format!("there is no collection {}", row.collection).into());
        let rkey = match (row.tid, row.uri) {
            (Some(tid), _) => Tid::from_number(tid).to_string(),
            (None, Some(uri)) => stored_uri(&uri)?.rkey.to_string(),
            (None, None) => "self".to_owned(),
        };
        Ok(Self {
            collection: Collection::parse(&row.collection).ok_or_else(unknown)?,
            rkey: RecordKey::parse(&rkey).map_err(|error| sqlx::Error::Decode(error.into()))?,
            rev: Tid::from_number(row.rev),
            head: row.head.or(stored_head(row.cid.as_deref())?),
        })
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

/// Rows of a repo that stand at some revs, and the one that they get.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChangedRevs<'a> {
    /// Whose.
    pub actor_id: ActorId,
    /// Where they stand.
    pub revs: &'a [i64],
    /// Where they go.
    pub to: Tid,
}
