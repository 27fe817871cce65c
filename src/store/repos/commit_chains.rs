//! The newest commit that was delivered of each repo of an author.

use sqlx::PgConnection;

/// What a commit says of itself and of the one before it.
#[derive(Debug, Clone, Copy)]
pub struct ChainRow<'a> {
    /// Whose repo.
    pub did: &'a str,
    /// Of the commit.
    pub rev: i64,
    /// First bytes of the root of its tree.
    pub data: Option<i64>,
    /// The rev of the commit before; none in a first one.
    pub since: Option<i64>,
    /// First bytes of the root of the tree before.
    pub prev_data: Option<i64>,
    /// Whatever was before, it follows on it.
    pub begins: bool,
}

/// A commit that does not follow on the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// Which of the rows.
    pub place: usize,
    /// The rev of the newest commit that was delivered before.
    pub before: i64,
}

/// Keeps the newest commit of each repo of an author, and answers with those that do not follow on the one before them.
/// What is not newer than what is kept says nothing; a repo seen for the first time begins. No two rows are of one repo
/// and rev.
pub async fn follow(connection: &mut PgConnection, rows: &[ChainRow<'_>]) -> sqlx::Result<Vec<Break>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let dids: Vec<&str> = rows.iter().map(|row| row.did).collect();
    let revs: Vec<i64> = rows.iter().map(|row| row.rev).collect();
    let data: Vec<Option<i64>> = rows.iter().map(|row| row.data).collect();
    let since: Vec<Option<i64>> = rows.iter().map(|row| row.since).collect();
    let prev_data: Vec<Option<i64>> = rows.iter().map(|row| row.prev_data).collect();
    let begins: Vec<bool> = rows.iter().map(|row| row.begins).collect();
    let breaks = sqlx::query!(
        r#"WITH delivered AS (
            SELECT a.id, t.*, c.rev AS kept_rev, c.data AS kept_data
            FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[])
                WITH ORDINALITY AS t (did, rev, data, since, prev_data, begins, place)
            JOIN actors a ON a.did = t.did AND a.author_no IS NOT NULL LEFT JOIN commit_chains c ON c.actor_id = a.id
            WHERE c.rev IS NULL OR t.rev > c.rev
        ), followed AS (
            SELECT *, lag(rev, 1, kept_rev) OVER by_rev AS before_rev, lag(data, 1, kept_data) OVER by_rev AS before_data,
                lead(rev) OVER by_rev IS NULL AS is_last
            FROM delivered WINDOW by_rev AS (PARTITION BY id ORDER BY rev)
        ), kept AS (
            INSERT INTO commit_chains AS c (actor_id, rev, data) SELECT id, rev, data FROM followed WHERE is_last
            ON CONFLICT (actor_id) DO UPDATE SET rev = EXCLUDED.rev, data = EXCLUDED.data WHERE c.rev < EXCLUDED.rev
        )
        SELECT place AS "place!", before_rev AS "before!" FROM followed
        WHERE NOT begins AND before_rev IS NOT NULL
            AND (since IS DISTINCT FROM before_rev OR prev_data <> before_data)"#,
        &dids as &[&str],
        &revs,
        &data as &[Option<i64>],
        &since as &[Option<i64>],
        &prev_data as &[Option<i64>],
        &begins
    )
    .fetch_all(connection)
    .await?;
    Ok(breaks.into_iter().map(|row| Break { place: crate::store::place(row.place), before: row.before }).collect())
}

/// A head of a repo.
#[derive(Debug, Clone, Copy)]
pub struct KnownHead<'a> {
    /// Whose repo.
    pub did: &'a str,
    /// Of its last commit.
    pub rev: i64,
    /// First bytes of the root of its tree.
    pub data: i64,
}

/// Which of these heads are the newest commits that were delivered of their repos: their places.
pub async fn list_kept(connection: &mut PgConnection, heads: &[KnownHead<'_>]) -> sqlx::Result<Vec<usize>> {
    if heads.is_empty() {
        return Ok(Vec::new());
    }
    let dids: Vec<&str> = heads.iter().map(|head| head.did).collect();
    let revs: Vec<i64> = heads.iter().map(|head| head.rev).collect();
    let data: Vec<i64> = heads.iter().map(|head| head.data).collect();
    let places = sqlx::query_scalar!(
        r#"SELECT place AS "place!"
        FROM UNNEST($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS t (did, rev, data, place)
        JOIN actors a ON a.did = t.did JOIN commit_chains c ON c.actor_id = a.id AND c.rev = t.rev AND c.data = t.data"#,
        &dids as &[&str],
        &revs,
        &data
    )
    .fetch_all(connection)
    .await?;
    Ok(places.into_iter().map(crate::store::place).collect())
}

/// Forgets the newest commit of repos where it is above a rev that none has yet: no later one would follow on it.
pub async fn forget_above(connection: &mut PgConnection, dids: &[&str], rev: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM commit_chains c USING actors a WHERE a.did = ANY ($1) AND c.actor_id = a.id AND c.rev > $2",
        dids as &[&str],
        rev
    )
    .execute(connection)
    .await?;
    Ok(())
}
