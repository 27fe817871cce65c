//! A database of its own for every test, on the server that `PLYR_TEST_SERVER_URL` names.

use std::{
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();
static NEXT: AtomicU64 = AtomicU64::new(0);
/// Guards the making of the template among the test processes of one server.
const TEMPLATE_LOCK: i64 = 0x706c_7972;

/// A migrated database, dropped with this value.
pub struct TestDatabase {
    /// As `DATABASE_URL` takes it.
    pub url: String,
    pub pool: PgPool,
    name: String,
}

fn server_url() -> String {
    std::env::var("PLYR_TEST_SERVER_URL")
        .unwrap_or_else(|_| "postgres:///postgres?host=/var/run/postgresql&user=root".to_owned())
}

/// The server's URL with another database in its path.
fn url_of(database: &str) -> String {
    let server = server_url();
    let (before, query) =
        server.split_once('?').map_or((server.as_str(), None), |(before, query)| (before, Some(query)));
    let scheme_end = before.find("://").map_or(0, |at| at + 3);
    let path = before[scheme_end..].find('/').map_or(before.len(), |at| scheme_end + at);
    format!("{}/{database}{}", &before[..path], query.map(|query| format!("?{query}")).unwrap_or_default())
}

/// Runs one statement that cannot take its names as parameters; the names here are made of letters, digits and `_`.
async fn run(connection: &mut PgConnection, statement: String) -> sqlx::Result<()> {
    connection.execute(AssertSqlSafe(statement)).await.map(drop)
}

/// The template's name says which migrations it holds, so that a changed migration makes another.
fn template_name() -> String {
    let mut sum = 0_u64;
    for byte in MIGRATOR.iter().flat_map(|migration| migration.checksum.iter()) {
        sum = sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte);
    }
    format!("plyr_template_{sum:016x}")
}

async fn make_template(server: &mut PgConnection, template: &str) -> sqlx::Result<()> {
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(template)
        .fetch_one(&mut *server)
        .await?;
    if exists {
        return Ok(());
    }
    let draft = format!("{template}_draft");
    run(server, format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await?;
    run(server, format!("CREATE DATABASE {draft}")).await?;
    let mut connection = PgConnection::connect(&url_of(&draft)).await?;
    MIGRATOR.run(&mut connection).await?;
    connection.close().await?;
    run(server, format!("ALTER DATABASE {draft} RENAME TO {template}")).await
}

/// A fresh database without a table.
pub async fn empty() -> TestDatabase {
    made_from("template0").await
}

/// A fresh migrated database.
pub async fn fresh() -> TestDatabase {
    made_from(&template_name()).await
}

/// A database made from a template, which is made if it is that of the migrations.
async fn made_from(template: &str) -> TestDatabase {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("plyr_test_{}_{number}", std::process::id());
    let mut server = PgConnection::connect(&server_url()).await.expect("the test server answers");
    sqlx::query("SELECT pg_advisory_lock($1)").bind(TEMPLATE_LOCK).execute(&mut server).await.expect("a lock");
    if template == template_name() {
        make_template(&mut server, template).await.expect("the template is made");
    }
    run(&mut server, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.expect("an old one is dropped");
    run(&mut server, format!("CREATE DATABASE {name} TEMPLATE {template}")).await.expect("a copy of the template");
    // What the tests check does not depend on a flush per commit: the server is not taken away from under these.
    run(&mut server, format!("ALTER DATABASE {name} SET synchronous_commit = off")).await.expect("a setting");
    server.close().await.expect("the connection closes");
    let url = url_of(&name);
    let options = PgConnectOptions::from_str(&url).expect("the server's URL is valid").application_name("tests");
    let pool = PgPoolOptions::new().max_connections(8).connect_with(options).await.expect("the new database answers");
    TestDatabase { url, pool, name }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let name = self.name.clone();
        // A drop cannot wait for the test's runtime; a thread with its own can be waited for.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async {
                let mut server = PgConnection::connect(&server_url()).await.ok()?;
                run(&mut server, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.ok()
            })
        });
        drop(dropped.join());
    }
}
