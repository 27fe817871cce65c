//! What the database holds, in the referee's words.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgPool, Row, postgres::PgRow};

use super::model::{Kind, Like, List, Profile, Record, State, Track, gone, live, tid_text};

/// Microseconds since 1970, as the referee counts.
const LIKES: &str = "
    SELECT a.did, l.rkey, l.rev, t.uri, c.cid AS subject_cid, lpad(to_hex(l.cid), 16, '0') AS cid,
        (extract(epoch FROM l.created_at) * 1000000)::bigint AS created_at,
        (extract(epoch FROM l.sort_at) * 1000000)::bigint AS sort_at
    FROM likes l JOIN actors a ON a.id = l.actor_id
    LEFT JOIN tracks t ON t.id = l.subject_id LEFT JOIN subject_cids c ON c.id = l.subject_cid_id";

const TRACKS: &str = "
    SELECT t.*, a.did, (extract(epoch FROM t.created_at) * 1000000)::bigint AS created_us,
        (extract(epoch FROM t.sort_at) * 1000000)::bigint AS sort_us
    FROM tracks t JOIN actors a ON a.id = t.artist_id";

const LISTS: &str = "
    SELECT l.*, a.did, (extract(epoch FROM l.created_at) * 1000000)::bigint AS created_us,
        (extract(epoch FROM l.updated_at) * 1000000)::bigint AS updated_us,
        (extract(epoch FROM l.sort_at) * 1000000)::bigint AS sort_us
    FROM lists l JOIN actors a ON a.id = l.actor_id";

const PROFILES: &str = "
    SELECT p.*, a.did, (extract(epoch FROM p.created_at) * 1000000)::bigint AS created_us,
        (extract(epoch FROM p.updated_at) * 1000000)::bigint AS updated_us
    FROM profiles p JOIN actors a ON a.id = p.actor_id";

/// Like counts that differ from counting the rows, in either direction: of those whom they have to hold. Likewise the places of tracks, and what
/// is kept of actors with many likes.
const MISCOUNTED: &str = "
    SELECT t.uri, coalesce(c.like_count, 0) AS kept, coalesce(r.recount, 0) AS recount
    FROM tracks t LEFT JOIN track_counts c ON c.track_id = t.id
    LEFT JOIN (SELECT subject_id, count(DISTINCT actor_id) AS recount FROM likes l WHERE subject_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM uncounted_actors h WHERE h.actor_id = l.actor_id AND h.uncounted_to >= l.subject_id)
        GROUP BY 1) r
        ON r.subject_id = t.id
    WHERE coalesce(c.like_count, 0) <> coalesce(r.recount, 0)
    UNION ALL
    SELECT 'shown ' || t.uri, count(s.track_id), count(v.id) FROM tracks t
    LEFT JOIN visible_tracks v ON v.id = t.id AND v.title IS NOT NULL
    LEFT JOIN shown_tracks s ON s.track_id = t.id
    GROUP BY t.uri HAVING count(s.track_id) <> count(v.id) OR bool_or(s.sort_at <> t.sort_at OR s.artist_id <> t.artist_id)
    UNION ALL
    SELECT 'place of ' || t.uri, coalesce(p.like_count, -1), coalesce(c.like_count, -1) FROM tracks t
    LEFT JOIN popular_tracks p ON p.track_id = t.id
    LEFT JOIN shown_tracks s ON s.track_id = t.id
    LEFT JOIN track_counts c ON c.track_id = s.track_id
    WHERE p.like_count IS DISTINCT FROM c.like_count AND t.id NOT IN (SELECT track_id FROM unranked_tracks)
    UNION ALL
    SELECT 'liked by ' || a.did, m.like_count, count(DISTINCT l.subject_id) FROM many_likers m
    JOIN actors a ON a.id = m.actor_id LEFT JOIN likes l ON l.actor_id = m.actor_id
    GROUP BY a.did, m.like_count, m.newest_rev
    HAVING m.like_count <> count(DISTINCT l.subject_id) OR m.newest_rev <> max(l.rev)";

async fn rows(pool: &PgPool, statement: &'static str) -> Vec<PgRow> {
    sqlx::query(statement).fetch_all(pool).await.expect("the tables are as the migrations made them")
}

fn cid_text(bytes: &[u8]) -> String {
    format!("b{}", data_encoding::BASE32_NOPAD.encode(bytes).to_lowercase())
}

/// The path's line when it holds a record, or the line that says it holds none.
fn path(state: &mut State, kind: Kind, row: &PgRow, rkey: &str, record: Option<(Vec<u8>, i64, Record)>) {
    let (did, rev): (String, i64) = (row.get("did"), row.get("rev"));
    match record {
        Some((cid, sort_us, record)) => {
            live(state, (&did, rkey), rev, &cid, &record);
            // The referee's sort time is replaced by the one that was found.
            let key = format!("{} {did} {rkey}", format!("{kind:?}").to_lowercase());
            let line = state.get_mut(&key).expect("just inserted");
            let (before, after) = line.split_once(" sort_at ").expect("every line has one");
            let (_, rest) = after.split_once(' ').expect("more follows");
            *line = format!("{before} sort_at {sort_us} {rest}");
        }
        None => gone(state, kind, (&did, rkey), "deleted", rev),
    }
}

fn like_of(row: &PgRow) -> Option<(Vec<u8>, i64, Record)> {
    let subject: Option<String> = row.get("uri");
    let digest: String = row.get::<Option<String>, _>("cid").unwrap_or_default();
    let mut cid = vec![1, 0x71, 0x12, 0x20];
    cid.extend(data_encoding::HEXLOWER.decode(digest.as_bytes()).expect("to_hex writes hexadecimal"));
    let like = Like {
        subject: subject?,
        subject_cid: cid_text(&row.get::<Vec<u8>, _>("subject_cid")),
        created_at: row.get("created_at"),
    };
    Some((cid, row.get("sort_at"), Record::Like(like)))
}

fn track_of(row: &PgRow) -> Option<(Vec<u8>, i64, Record)> {
    let title: Option<String> = row.get("title");
    let track = Track {
        title: title?,
        artist: row.get("artist"),
        file_type: row.get("file_type"),
        album: row.get("album"),
        duration: row.get("duration"),
        description: row.get("description"),
        audio_url: row.get("audio_url"),
        audio_cid: row.get("audio_cid"),
        image_url: row.get("image_url"),
        features: row.get("features"),
        labels: row.get("labels"),
        support_gate: row.get("support_gate"),
        created_at: row.get("created_us"),
    };
    Some((row.get("cid"), row.get("sort_us"), Record::Track(Box::new(track))))
}

fn list_of(row: &PgRow) -> Option<(Vec<u8>, i64, Record)> {
    let cid: Option<Vec<u8>> = row.get("cid");
    let cid = cid?;
    let (uris, cids): (Vec<String>, Vec<String>) = (row.get("item_uris"), row.get("item_cids"));
    assert_eq!(uris.len(), cids.len(), "a list's items are pairs");
    let list = List {
        items: uris.into_iter().zip(cids).collect(),
        name: row.get("name"),
        list_type: row.get("list_type"),
        created_at: row.get("created_us"),
        updated_at: row.get("updated_us"),
    };
    Some((cid, row.get("sort_us"), Record::List(list)))
}

fn profile_of(row: &PgRow) -> Option<(Vec<u8>, i64, Record)> {
    let cid: Option<Vec<u8>> = row.get("cid");
    let profile = Profile {
        avatar: row.get("avatar"),
        bio: row.get("bio"),
        created_at: row.get::<Option<i64>, _>("created_us").unwrap_or_default(),
        updated_at: row.get("updated_us"),
    };
    Some((cid?, 0, Record::Profile(profile)))
}

/// All that the index holds.
pub async fn state(pool: &PgPool) -> State {
    let mut state = State::new();
    for row in rows(pool, LIKES).await {
        let rkey = tid_text(row.get("rkey"));
        path(&mut state, Kind::Like, &row, &rkey, like_of(&row));
    }
    for row in rows(pool, TRACKS).await {
        let uri: String = row.get("uri");
        let rkey = uri.rsplit('/').next().expect("a URI has parts").to_owned();
        // A row without a rev is a mention: it stands for no record, and neither does a key that no record can have.
        if row.get::<Option<i64>, _>("rev").is_some() && super::model::tid_number(&rkey).is_some() {
            path(&mut state, Kind::Track, &row, &rkey, track_of(&row));
        }
    }
    for row in rows(pool, LISTS).await {
        let rkey = tid_text(row.get("rkey"));
        path(&mut state, Kind::List, &row, &rkey, list_of(&row));
    }
    for row in rows(pool, PROFILES).await {
        path(&mut state, Kind::Profile, &row, "self", profile_of(&row));
    }
    let counts =
        "SELECT t.uri, c.like_count FROM track_counts c JOIN tracks t ON t.id = c.track_id WHERE c.like_count <> 0";
    for row in rows(pool, counts).await {
        let count: i64 = row.get("like_count");
        state.insert(format!("count {}", row.get::<String, _>("uri")), count.to_string());
    }
    state
}

/// Tracks whose kept count is not what a recount says.
pub async fn miscounted(pool: &PgPool) -> Vec<String> {
    let row = |row: PgRow| {
        let (uri, kept, recount): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        format!("{uri}: kept {kept}, recount {recount}")
    };
    rows(pool, MISCOUNTED).await.into_iter().map(row).collect()
}

/// The ids of tracks by URI.
pub async fn track_ids(pool: &PgPool) -> BTreeMap<String, i64> {
    rows(pool, "SELECT uri, id FROM tracks").await.into_iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Every record in the rejects table: (DID, key, rev).
pub async fn refused(pool: &PgPool) -> BTreeSet<(String, String, i64)> {
    let found = rows(pool, "SELECT did, rkey, rev FROM rejects WHERE rkey IS NOT NULL").await;
    found.into_iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Rows in the rejects table.
pub async fn count_rejects(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM rejects").fetch_one(pool).await.expect("the table is there")
}

/// Where the index is in each source: (source, kind, value).
pub async fn positions(pool: &PgPool) -> Vec<(String, String, i64)> {
    let found = rows(pool, "SELECT source, kind, value FROM positions ORDER BY source").await;
    found.into_iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Of whom nothing is shown.
pub async fn hidden(pool: &PgPool) -> BTreeSet<String> {
    let hidden = "SELECT a.did FROM hidden_actors h JOIN actors a ON a.id = h.actor_id";
    rows(pool, hidden).await.into_iter().map(|row| row.get(0)).collect()
}

/// The last head of each repo that a `#sync` named.
pub async fn syncs(pool: &PgPool) -> BTreeMap<String, i64> {
    let query = "SELECT did, max(to_value) FROM gaps WHERE reason = 'sync' GROUP BY did";
    rows(pool, query).await.into_iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// All actors that the index knows.
pub async fn actors(pool: &PgPool) -> Vec<String> {
    rows(pool, "SELECT did FROM actors").await.into_iter().map(|row| row.get(0)).collect()
}
