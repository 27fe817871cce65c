//! All that the index holds of one repo, out of every table that has rows of its records.

use sqlx::PgConnection;

use crate::store::stored::{stored_cid, stored_tid};
use crate::{
    atproto::{AtUri, Cid, Did, RecordKey, Tid},
    model::Collection,
};

/// What the index holds of one repo, path by path.
#[derive(Debug, Clone)]
pub struct RepoRow {
    /// Which collection.
    pub collection: Collection,
    /// The record's key.
    pub rkey: RecordKey,
    /// The rev that stands there.
    pub rev: Tid,
    /// The first eight bytes of the record's digest; none for a tombstone.
    pub head: Option<i64>,
}

/// What the index holds of one repo.
#[derive(Debug, Default)]
pub struct RepoRecords {
    /// Rows and tombstones.
    pub rows: Vec<RepoRow>,
    /// What was refused and is kept as reject: NSID of the collection, key and CID.
    pub refused: Vec<(String, String, Cid)>,
}

/// Everything that the index holds of a repo, live, tombstone or refused, in one statement.
pub async fn load(connection: &mut PgConnection, did: &Did) -> sqlx::Result<RepoRecords> {
    let rows = sqlx::query!(
        "WITH actor AS (SELECT id FROM actors WHERE did = $1)
        SELECT 'like' AS \"kind!\", l.rkey AS \"key?\", NULL::text AS \"name?\", NULL::text AS \"nsid?\", l.rev AS \"rev?\",
            l.cid AS \"head?\", NULL::bytea AS \"cid?\" FROM likes l JOIN actor ON l.actor_id = actor.id
        UNION ALL SELECT 'list', l.rkey, NULL, NULL, l.rev, NULL, l.cid FROM lists l JOIN actor ON l.actor_id = actor.id
        UNION ALL SELECT 'track', NULL, t.uri, NULL, t.rev, NULL, t.cid FROM tracks t JOIN actor ON t.artist_id = actor.id
            WHERE t.rev IS NOT NULL
        UNION ALL SELECT 'profile', NULL, NULL, NULL, p.rev, NULL, p.cid FROM profiles p JOIN actor ON p.actor_id = actor.id
        UNION ALL SELECT 'refused', NULL, rkey, collection, NULL, NULL, cid FROM rejects
            WHERE did = $1 AND collection IS NOT NULL AND rkey IS NOT NULL AND cid IS NOT NULL",
        did.as_str()
    )
    .fetch_all(connection)
    .await?;
    let mut records = RepoRecords { rows: Vec::with_capacity(rows.len()), refused: Vec::new() };
    for row in rows {
        let cid = stored_cid(row.cid.as_deref())?;
        if let ("refused", Some(nsid), Some(name), Some(cid)) = (row.kind.as_str(), &row.nsid, &row.name, cid) {
            records.refused.push((nsid.clone(), name.clone(), cid));
            continue;
        }
        let (collection, rkey) = match (row.kind.as_str(), row.key, row.name) {
            ("like", Some(key), _) => (Collection::Like, stored_tid(key)?.to_string()),
            ("list", Some(key), _) => (Collection::List, stored_tid(key)?.to_string()),
            ("track", _, Some(uri)) => (Collection::Track, stored_uri_key(&uri)?),
            _ => (Collection::Profile, "self".to_owned()),
        };
        let rkey = RecordKey::parse(&rkey).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let rev = row.rev.ok_or_else(|| sqlx::Error::ColumnNotFound("rev".to_owned()))?;
        let head = cid.map(|cid| cid.head()).or(row.head);
        records.rows.push(RepoRow { collection, rkey, rev: stored_tid(rev)?, head });
    }
    Ok(records)
}

fn stored_uri_key(uri: &str) -> sqlx::Result<String> {
    let uri = AtUri::parse(uri).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(uri.rkey.to_string())
}
