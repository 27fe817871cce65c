//! The CIDs that likes name as the version they liked.

use sqlx::PgConnection;

use crate::{atproto::Cid, model::CidId, store::place};

/// Ids of those CIDs that have one, in pairs of (place in `cids`, id).
pub async fn load_ids(connection: &mut PgConnection, cids: &[Cid]) -> sqlx::Result<Vec<(usize, CidId)>> {
    let rows = sqlx::query!(
        r#"SELECT c.place AS "place!", s.id FROM UNNEST($1::bytea[]) WITH ORDINALITY AS c (cid, place)
        JOIN subject_cids s ON s.cid = c.cid"#,
        &bytes(cids)
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (place(row.place), row.id.into())).collect())
}

/// Gives an id to each CID that has none, and answers with these; does nothing for the others.
pub async fn insert(connection: &mut PgConnection, cids: &[Cid]) -> sqlx::Result<Vec<(Cid, CidId)>> {
    if cids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        "INSERT INTO subject_cids (cid) SELECT * FROM UNNEST($1::bytea[]) ON CONFLICT (cid) DO NOTHING RETURNING cid, id",
        &bytes(cids)
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let cid = Cid::from_bytes(&row.cid).map_err(|error| sqlx::Error::Decode(error.into()))?;
            Ok((cid, row.id.into()))
        })
        .collect()
}

fn bytes(cids: &[Cid]) -> Vec<Vec<u8>> {
    cids.iter().map(|cid| cid.to_bytes()).collect()
}
