//! The CIDs that likes name as the version they liked.

use sqlx::PgConnection;

/// Ids of those CIDs that have one, in pairs of (place in `cids`, id).
pub async fn load_ids(connection: &mut PgConnection, cids: &[&[u8]]) -> sqlx::Result<Vec<(usize, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT c.place AS "place!", s.id FROM UNNEST($1::bytea[]) WITH ORDINALITY AS c (cid, place)
        JOIN subject_cids s ON s.cid = c.cid"#,
        cids as &[&[u8]]
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (crate::store::place(row.place), row.id)).collect())
}

/// Gives an id to each CID that has none, and answers with these; does nothing for the others.
pub async fn insert(connection: &mut PgConnection, cids: &[&[u8]]) -> sqlx::Result<Vec<(Vec<u8>, i64)>> {
    if cids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        "INSERT INTO subject_cids (cid) SELECT * FROM UNNEST($1::bytea[]) ON CONFLICT (cid) DO NOTHING RETURNING cid, id",
        cids as &[&[u8]]
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.cid, row.id)).collect())
}
