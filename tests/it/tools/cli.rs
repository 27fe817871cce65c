//! Settings and the operator's commands, from outside.

use std::{path::Path, process::Output};

use plyr_likes::store::server::ServerFacts;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::support::{
    database::{TestDatabase, empty},
    process::{command, run, run_well},
    program::{Program, Settings},
    proxy::Pooler,
};

/// One sentence on stderr that names the setting, exit code 2, and nothing was touched.
fn assert_refused(output: &Output, name: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(name), "{said}");
}

fn refuse(name: &str, value: &str) {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("data");
    assert_refused(&command(&folder, &["serve"]).env(name, value).output().unwrap(), name);
    assert!(!folder.exists(), "{name}={value}: refused, and yet something was made");
}

#[test]
fn malformed_settings_stop_the_start_and_are_named() {
    refuse("PLYR_BIND", "8080");
    refuse("PLYR_ADMIN_BIND", "localhost:nine");
    refuse("PLYR_SOURCES", "https://relay.example");
    refuse("PLYR_SOURCES", "");
    // F12: one source, however it is spelled.
    refuse("PLYR_SOURCES", "jetstream+wss://a.example,firehose+wss://a.example,jetstream+wss://A.example:443/");
    refuse("PLYR_STANDBY_SOURCES", "firehose+wss://a.example,firehose+wss://a.example");
    refuse("PLYR_NAMESPACE", "fm..plyr");
    refuse("PLYR_SOURCES", "jetstream3+wss://jetstream.example");
    refuse("PLYR_START", "yesterday");
    refuse("PLYR_COMPRESSION", "gzip");
    refuse("PLYR_ZSTD_DICTIONARY", "/nowhere/dictionary");
    refuse("PLYR_ZSTD_DICTIONARY", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    refuse("PLYR_SECRET_KEY", "0123");
    refuse("PLYR_CORS_ORIGINS", "https://plyr.fm/path");
    refuse("PLYR_LAG_LIMIT_S", "-1");
    refuse("PLYR_RELAY_URL", "relay.example");
    refuse("PLYR_READ_REPOS", "now and then");
    refuse("PLYR_AUDIT_HOURS", "daily");
    refuse("PLYR_LOG", "a=b=c");
    refuse("PLYR_LOG_FORMAT", "xml");
    refuse("PLYR_OTLP_ENDPOINT", "collector");
    refuse("DATABASE_URL", "mysql://host/database");
}

#[test]
fn unknown_settings_stop_the_start_and_are_named() {
    refuse("PLYR_SOURCE", "jetstream+wss://example.com");
    refuse("PLYR_BIMD", "127.0.0.1:1");
    let data = tempfile::tempdir().unwrap();
    assert_refused(&run(data.path(), &["serve", "--bimd", "127.0.0.1:1"]), "--bimd");
    assert_refused(&run(data.path(), &["serf"]), "serf");
}

#[test]
fn a_secret_that_was_mistyped_is_not_repeated() {
    let data = tempfile::tempdir().unwrap();
    let secret = "c0ffee-not-quite-a-key";
    let output = command(data.path(), &["serve"]).env("PLYR_SECRET_KEY", secret).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains(secret));
    let output = command(data.path(), &["--help"]).env("PLYR_SECRET_KEY", "00".repeat(32)).output().unwrap();
    assert!(output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("0000"));
}

#[test]
fn the_help_is_the_manual() {
    let help = run_well(Path::new("data"), &["--help"]);
    let settings = [
        "DATABASE_URL",
        "PLYR_ADMIN_BIND",
        "PLYR_ALLOW_PRIVATE_HOSTS",
        "PLYR_AUDIT_HOURS",
        "PLYR_BIND",
        "PLYR_COMPRESSION",
        "PLYR_CORS_ORIGINS",
        "PLYR_DATA_DIR",
        "PLYR_LAG_LIMIT_S",
        "PLYR_LOG",
        "PLYR_LOG_FORMAT",
        "PLYR_NAMESPACE",
        "PLYR_OTLP_ENDPOINT",
        "PLYR_PLC_URL",
        "PLYR_READ_REPOS",
        "PLYR_RECOUNTS_PER_MINUTE",
        "PLYR_REJECTS_DAYS_MAX",
        "PLYR_REJECTS_MB_MAX",
        "PLYR_RELAY_URL",
        "PLYR_SECRET_KEY",
        "PLYR_SOURCES",
        "PLYR_STANDBY_SOURCES",
        "PLYR_START",
        "PLYR_VERIFY",
        "PLYR_ZSTD_DICTIONARY",
    ];
    // The sources name every variable that there is.
    let mut declared: Vec<String> = [
        "src/cli/settings.rs",
        "src/lifecycle/mod.rs",
        "src/lifecycle/database.rs",
        "src/lifecycle/hosts.rs",
        "src/telemetry.rs",
    ]
    .iter()
    .map(|path| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap())
    .flat_map(|source| {
        let names = source.split("env = \"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
        names.collect::<Vec<_>>()
    })
    .collect();
    declared.sort();
    assert_eq!(declared, settings);
    let words: Vec<&str> = help.split_whitespace().collect();
    let words = words.join(" ");
    for name in settings {
        assert!(words.contains(&format!("`{name}`, default")), "{name} is not in the manual:\n{help}");
    }
    for name in [
        "serve",
        "index",
        "api",
        "replay",
        "backfill",
        "reconcile",
        "status",
        "positions",
        "rejects",
        "tokens",
        "migrate",
        "doctor",
        "openapi",
    ] {
        assert!(help.contains(&format!("\n  {name} ")), "{name}");
    }
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let data = tempfile::tempdir().unwrap();
    let did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
    let token =
        run_well(data.path(), &["tokens", "create", "--did", did, "--expires", "30d", "--name", "player\u{1b}[2J"]);
    assert_eq!(token.trim().len(), 43, "{token}");
    let listed = run_well(data.path(), &["tokens", "list"]);
    assert!(listed.contains(did) && listed.contains("good"), "{listed}");
    assert!(!listed.contains(token.trim()), "the token is kept");
    assert!(!listed.contains('\u{1b}'), "a name moves the terminal's cursor");
    run_well(data.path(), &["tokens", "revoke", "1"]);
    assert!(run_well(data.path(), &["tokens", "list"]).contains("revoked"));
    let again = run(data.path(), &["tokens", "revoke", "1"]);
    assert_eq!(again.status.code(), Some(1));
    for (argument, value) in [("--did", "alice"), ("--expires", "30"), ("--expires", "0d")] {
        let mut arguments = vec!["tokens", "create", "--did", did, "--expires", "30d"];
        let place = arguments.iter().position(|part| *part == argument).unwrap();
        arguments[place + 1] = value;
        assert_refused(&run(data.path(), &arguments), argument);
    }
}

#[test]
fn positions_are_shown_and_set() {
    let data = tempfile::tempdir().unwrap();
    run_well(data.path(), &["positions", "set", "firehose+wss://Relay.example", "77"]);
    let set = run_well(data.path(), &["positions", "set", "jetstream+wss://host.example", "1700000000000000"]);
    assert_eq!(run_well(data.path(), &["positions"]), set);
    let line = |start: &str| set.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert!(line("firehose+wss://relay.example ").contains("firehose_seq"), "{set}");
    assert!(line("jetstream+wss://host.example ").contains("jetstream_v1_us"), "{set}");
    assert_refused(&run(data.path(), &["positions", "set", "nowhere", "1"]), "nowhere");
}

#[test]
fn doctor_says_what_fails_and_fails() {
    let data = tempfile::tempdir().unwrap();
    let output = run(data.path(), &["doctor"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ok    database: Postgres"), "{said}");
    assert!(said.contains("FAIL  source jetstream+ws://127.0.0.1:9: cannot be followed"), "{said}");
    assert!(said.contains("FAIL  PLC http://127.0.0.1:9: cannot be asked"), "{said}");
    assert_eq!(said.lines().count(), 5, "{said}");
}

#[test]
fn f5_a_database_that_cannot_be_worked_on_is_refused_in_one_sentence() {
    let good = ServerFacts {
        version: 150_000,
        encoding: "UTF8".to_owned(),
        is_read_only: false,
        schema: Some("public".to_owned()),
        may_create: true,
    };
    assert_eq!((good.check(15), ServerFacts { version: 180_001, ..good.clone() }.check(15)), (Ok(()), Ok(())));
    for (facts, said) in [
        (ServerFacts { version: 140_018, ..good.clone() }, "Postgres 14 is too old: it must be 15 or newer"),
        (ServerFacts { encoding: "SQL_ASCII".to_owned(), ..good.clone() }, "encoding SQL_ASCII"),
        (ServerFacts { is_read_only: true, ..good.clone() }, "the database is read-only"),
        (ServerFacts { schema: None, ..good.clone() }, "names no schema"),
        (ServerFacts { may_create: false, ..good.clone() }, "may not create tables in the schema public"),
    ] {
        let error = facts.check(15).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// An empty database after these statements, in which `DATABASE` stands for its name.
async fn prepared(statements: &[&str]) -> TestDatabase {
    let database = empty().await;
    let name = database.url.split('?').next().unwrap().rsplit('/').next().unwrap();
    for statement in statements {
        let statement = AssertSqlSafe(statement.replacen("DATABASE DATABASE", &format!("DATABASE {name}"), 1));
        sqlx::raw_sql(statement).execute(&database.pool).await.unwrap();
    }
    database
}

/// The same address for another role.
fn with_user(url: &str, role: &str) -> String {
    let (before, query) = url.split_once('?').unwrap();
    let kept: Vec<&str> = query.split('&').filter(|part| !part.starts_with("user=")).collect();
    format!("{before}?{}&user={role}", kept.join("&"))
}

fn assert_refused_at_the_start(url: &str, reason: &str) {
    for arguments in [&["migrate"][..], &["serve"], &["doctor"]] {
        let data = tempfile::tempdir().unwrap();
        let output = command(data.path(), arguments).env("DATABASE_URL", url).output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert!(!output.status.success() && said.contains(reason), "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_a_database_that_cannot_be_written_to_stops_the_start() {
    let database = prepared(&["ALTER DATABASE DATABASE SET default_transaction_read_only = on"]).await;
    assert_refused_at_the_start(&database.url, "the database is read-only");
    let database = prepared(&["CREATE ROLE plyr_reader LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"]).await;
    assert_refused_at_the_start(&with_user(&database.url, "plyr_reader"), "may not create tables in the schema public");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_a_pooler_that_shares_connections_stops_the_start() {
    let database = empty().await;
    let (_pooler, url) = Pooler::to(&database.url);
    assert_refused_at_the_start(&url, "behind a pooler that shares connections between transactions");
}

/// Its pools are no larger than what the role is given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_a_role_limited_to_five_connections_serves() {
    let role = "CREATE ROLE plyr_few LOGIN CONNECTION LIMIT 5";
    let database = prepared(&[role, "ALTER DATABASE DATABASE OWNER TO plyr_few"]).await;
    let settings = Settings::new().with("DATABASE_URL", with_user(&database.url, "plyr_few"));
    let program = Program::serve(&settings).await;
    for _ in 0..5 {
        let requests = (0..8).map(|_| reqwest::get(format!("{}/tracks/", program.api)));
        for answer in futures_util::future::join_all(requests).await {
            let answer = answer.unwrap();
            assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
        }
    }
    assert!(program.metrics().await.contains("plyr_index_leading 1"));
}

#[tokio::test]
async fn commands_on_an_empty_database_say_what_to_do() {
    let database = empty().await;
    let settings = Settings::new().with("DATABASE_URL", &database.url);
    for command in ["status", "positions", "rejects list", "gaps", "tokens list"] {
        let output = settings.try_run(&command.split(' ').collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains("run `plyr-likes migrate`"), "{command}: {said}");
    }
}

/// The migrations of before the first release had the same numbers and another text.
async fn mark_as_earlier(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let statements = "
        CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL,
            installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL, checksum bytea NOT NULL,
            execution_time bigint NOT NULL);
        INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            SELECT n, 'index', true, decode(repeat('5a', 48), 'hex'), 1 FROM generate_series(1, 14) AS n WHERE n <> 11";
    connection.execute(statements).await.unwrap();
}

#[tokio::test]
async fn a_schema_of_before_the_first_release_is_refused_in_one_sentence() {
    let database = empty().await;
    mark_as_earlier(&database.url).await;
    let data = tempfile::tempdir().unwrap();
    for arguments in [["migrate"].as_slice(), &["serve"], &["index"], &["backfill", "--discover"]] {
        let output = command(data.path(), arguments).env("DATABASE_URL", &database.url).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        let sentence = "the schema of the database is of an earlier version, which this program does not migrate: start with a \
            new data folder (PLYR_DATA_DIR) or an empty database (DATABASE_URL); the index is filled again from the repos\n";
        assert!(said.ends_with(sentence), "{arguments:?}: {said}");
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(sqlx::query_scalar::<_, i64>(tables).fetch_one(&database.pool).await.unwrap(), 1, "something was made");
}

#[test]
fn commands_say_that_the_database_is_away() {
    let data = tempfile::tempdir().unwrap();
    for arguments in [["tokens", "list"].as_slice(), &["status"], &["migrate"], &["rejects", "list"]] {
        let away = "postgres://absent@127.0.0.1:9/nothing";
        let output = command(data.path(), arguments).env("DATABASE_URL", away).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("the database does not answer: see that it runs"), "{said}");
    }
}

#[test]
fn rejects_are_retried_and_all_are_accounted_for() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    std::fs::write(&log, "no JSON\n").unwrap();
    let replayed = run_well(data.path(), &["replay", log.to_str().unwrap()]);
    assert!(replayed.starts_with("applied=0 ignored=0 rejected=1 "), "{replayed}");
    assert!(run_well(data.path(), &["rejects", "list", "--reason", "frame_encoding"]).lines().count() == 2);
    assert!(run_well(data.path(), &["rejects", "show", "1"]).ends_with("\n\nno JSON\n"));
    assert_eq!(run_well(data.path(), &["rejects", "retry", "--all"]), "applied=0 ignored=0 refused=1 cut=0\n");
}
