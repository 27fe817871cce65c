//! Lists and their items, in the owner's order.

use sqlx::PgConnection;

use super::{Page, Place};
use crate::atproto::{Cid, Did, Handle, Tid, Timestamp};
use crate::model::{ActorId, TrackId};
use crate::store::stored::{moment, stored_cid, stored_did, stored_handle};

/// A list without its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListView {
    /// Whose.
    pub did: Did,
    /// Their handle, if known.
    pub handle: Option<Handle>,
    /// The record's key.
    pub rkey: Tid,
    /// Which version of the record.
    pub cid: Option<Cid>,
    /// What the owner calls it.
    pub name: Option<String>,
    /// `album`, `playlist`, `liked`, or another word.
    pub list_type: Option<String>,
    /// How many places it has.
    pub item_count: i64,
    /// What the owner's clock said.
    pub created_at: Option<Timestamp>,
    /// What the owner's clock said at the last change.
    pub updated_at: Option<Timestamp>,
    /// When this version came to us.
    pub indexed_at: Timestamp,
    /// The moment that orders.
    pub sort_at: Timestamp,
}

/// One place in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListItemView {
    /// The record named, as the list names it.
    pub uri: String,
    /// Its version, as the list names it.
    pub cid: String,
    /// The id of the track, where the record is one that was ever mentioned.
    pub track_id: Option<TrackId>,
}

/// The row of a list, as each of the statements below reads it.
struct ListRow {
    did: String,
    handle: Option<String>,
    rkey: i64,
    cid: Option<Vec<u8>>,
    name: Option<String>,
    list_type: Option<String>,
    item_count: i64,
    created_at: Option<chrono::DateTime<chrono::Utc>>,
    updated_at: Option<chrono::DateTime<chrono::Utc>>,
    indexed_at: chrono::DateTime<chrono::Utc>,
    sort_at: chrono::DateTime<chrono::Utc>,
}

impl ListRow {
    fn view(self) -> sqlx::Result<ListView> {
        Ok(ListView {
            did: stored_did(&self.did)?,
            handle: stored_handle(self.handle.as_deref())?,
            rkey: Tid::from_number(self.rkey),
            cid: stored_cid(self.cid.as_deref())?,
            name: self.name,
            list_type: self.list_type,
            item_count: self.item_count,
            created_at: moment(self.created_at),
            updated_at: moment(self.updated_at),
            indexed_at: Timestamp::from_utc(self.indexed_at),
            sort_at: Timestamp::from_utc(self.sort_at),
        })
    }
}

/// One list, unless its owner is hidden.
pub async fn find_list(connection: &mut PgConnection, did: &Did, rkey: Tid) -> sqlx::Result<Option<ListView>> {
    let row = sqlx::query_as!(
        ListRow,
        "SELECT a.did AS \"did!\", a.handle, l.rkey, l.cid, l.name, l.list_type, l.item_count,
            l.created_at, l.updated_at, l.indexed_at, l.sort_at AS \"sort_at!\"
        FROM lists l JOIN visible_actors a ON a.id = l.actor_id
        WHERE a.did = $1 AND l.rkey = $2 AND l.cid IS NOT NULL",
        did.as_str(),
        rkey.number()
    )
    .fetch_optional(connection)
    .await?;
    row.map(ListRow::view).transpose()
}

/// The key of an actor's liked list; of several the one written last.
pub async fn find_liked_list(connection: &mut PgConnection, actor_id: ActorId) -> sqlx::Result<Option<Tid>> {
    let rkey = sqlx::query_scalar!(
        "SELECT rkey FROM lists WHERE actor_id = $1 AND list_type = 'liked' AND cid IS NOT NULL
            AND EXISTS (SELECT FROM visible_actors WHERE id = $1)
        ORDER BY rev DESC, rkey DESC LIMIT 1",
        actor_id.number()
    )
    .fetch_optional(connection)
    .await?;
    Ok(rkey.map(Tid::from_number))
}

/// An actor's lists, newest first, of one type or of all. The limit stands directly at the index: a plan that expects few rows would read
/// all of them.
pub async fn list_lists(
    connection: &mut PgConnection,
    actor_id: ActorId,
    list_type: Option<&str>,
    page: &Page<Place<i64>>,
) -> sqlx::Result<Vec<ListView>> {
    let after = page.after.as_ref();
    let (at, key) = (after.map(|after| after.sort_at.utc()), after.map_or(0, |after| after.key));
    let rows = match list_type {
        None => {
            sqlx::query_as!(
                ListRow,
                "SELECT a.did AS \"did!\", a.handle, l.rkey, l.cid, l.name, l.list_type, l.item_count, l.created_at, l.updated_at,
                    l.indexed_at, l.sort_at AS \"sort_at!\"
                FROM (
                    SELECT * FROM lists WHERE actor_id = $1 AND cid IS NOT NULL
                        AND (sort_at, rkey) < (coalesce($2::timestamptz, 'infinity'), $3)
                    ORDER BY sort_at DESC, rkey DESC LIMIT $4
                ) AS l JOIN visible_actors a ON a.id = l.actor_id
                ORDER BY l.sort_at DESC, l.rkey DESC",
                actor_id.number(),
                at,
                key,
                page.limit
            )
            .fetch_all(connection)
            .await?
        }
        Some(list_type) => {
            sqlx::query_as!(
                ListRow,
                "SELECT a.did AS \"did!\", a.handle, l.rkey, l.cid, l.name, l.list_type, l.item_count, l.created_at, l.updated_at,
                    l.indexed_at, l.sort_at AS \"sort_at!\"
                FROM (
                    SELECT * FROM lists WHERE actor_id = $1 AND cid IS NOT NULL AND list_type = $5
                        AND (sort_at, rkey) < (coalesce($2::timestamptz, 'infinity'), $3)
                    ORDER BY sort_at DESC, rkey DESC LIMIT $4
                ) AS l JOIN visible_actors a ON a.id = l.actor_id
                ORDER BY l.sort_at DESC, l.rkey DESC",
                actor_id.number(),
                at,
                key,
                page.limit,
                list_type
            )
            .fetch_all(connection)
            .await?
        }
    };
    rows.into_iter().map(ListRow::view).collect()
}

/// Items of a list, in order, from place `from` (the first is 0), at most `limit`.
pub async fn list_items(
    connection: &mut PgConnection,
    list: (&Did, Tid),
    from: i64,
    limit: i64,
) -> sqlx::Result<Vec<ListItemView>> {
    let rows = sqlx::query!(
        "SELECT i.uri AS \"uri!\", i.cid AS \"cid!\", t.id AS \"track_id?\" FROM (
            SELECT i.uri, i.cid, i.n FROM lists l JOIN visible_actors a ON a.id = l.actor_id
            CROSS JOIN LATERAL unnest(l.item_uris, l.item_cids) WITH ORDINALITY AS i (uri, cid, n)
            WHERE a.did = $1 AND l.rkey = $2 AND l.cid IS NOT NULL AND i.n > $3
            ORDER BY i.n LIMIT $4
        ) AS i LEFT JOIN tracks t ON t.uri = i.uri ORDER BY i.n",
        list.0.as_str(),
        list.1.number(),
        from,
        limit
    )
    .fetch_all(connection)
    .await?;
    let item = |track_id: Option<i64>, uri, cid| ListItemView { uri, cid, track_id: track_id.map(TrackId::from) };
    Ok(rows.into_iter().map(|row| item(row.track_id, row.uri, row.cid)).collect())
}

/// The tracks of a list that its owner likes and that are shown, in order, each at its first place. The
/// likes are looked up item by item (by LIMIT): joined, all of the owner's likes would be read for each item.
pub async fn list_liked_items(
    connection: &mut PgConnection,
    actor_id: ActorId,
    rkey: Tid,
) -> sqlx::Result<Vec<TrackId>> {
    let ids = sqlx::query_scalar!(
        "SELECT t.id AS \"id!\" FROM lists l
        CROSS JOIN LATERAL unnest(l.item_uris) WITH ORDINALITY AS i (uri, n)
        JOIN visible_tracks t ON t.uri = i.uri AND t.title IS NOT NULL
        WHERE l.actor_id = $1 AND l.rkey = $2 AND l.cid IS NOT NULL
            AND EXISTS (SELECT FROM visible_actors WHERE id = $1)
            AND (SELECT k.rkey FROM likes k WHERE k.actor_id = $1 AND k.subject_id = t.id LIMIT 1) IS NOT NULL
        GROUP BY t.id ORDER BY min(i.n)",
        actor_id.number(),
        rkey.number()
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(TrackId::from).collect())
}
