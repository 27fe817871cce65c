//! Batch ratio: requests per second of a 100-id status query over HTTP with 8 connections, over pgbench's rate of the same SQL
//! statement with 8 clients; and the 99th percentile at half of that rate.

use std::{fmt::Write, fs, path::Path, process::Command, time::Duration};

use plyr_likes::serve;
use sqlx::{Connection, Executor, PgConnection};

use crate::{
    load::Load,
    log::{Shape, write_log},
    program::{Program, Settings},
    server::Server,
};

const CONNECTIONS: u32 = 8;
const IDS: usize = 100;
/// Viewers who ask, each for tracks of their own choice.
const VIEWERS: usize = 32;
const DURATION: Duration = Duration::from_secs(8);
const WARM_UP: Duration = Duration::from_secs(2);

/// One viewer's question.
struct Question {
    token: String,
    token_hash: Vec<u8>,
    track_ids: Vec<i64>,
}

/// Measures and prints.
pub async fn measure(server: &Server, folder: &Path) -> anyhow::Result<()> {
    let url = server.fresh("batch").await?;
    let path = folder.join("batch.jsonl");
    write_log(&mut std::io::BufWriter::new(fs::File::create(&path)?), Shape::FIGURE)?;
    let settings = Settings::new().with("DATABASE_URL", url);
    settings.run(&["replay", &path.display().to_string()]);
    let mut connection = server.connect("batch").await?;
    connection.execute("VACUUM ANALYZE").await?;
    let questions = make_questions(&mut connection, &settings).await?;
    connection.close().await?;

    let statement_rate = run_pgbench(server, folder, &questions)?;
    let program = Program::start("api", &settings).await;
    let address = program.api.trim_start_matches("http://").to_owned();
    let requests = questions.iter().map(|question| request(question, &address)).collect();
    let load = Load { address, requests, connections: CONNECTIONS, duration: DURATION };
    Load { duration: WARM_UP, ..load.clone() }.run(None).await?;
    let full = load.run(None).await?;
    let interval = Duration::from_secs_f64(f64::from(CONNECTIONS) / (full.rate / 2.0));
    let half = load.run(Some(interval)).await?;
    program.terminate();

    println!(
        "batch ratio      {:.2} = {:.0} requests/s over HTTP ({CONNECTIONS} connections, {IDS} ids) / {statement_rate:.0} \
         statements/s of pgbench ({CONNECTIONS} clients, prepared)",
        full.rate / statement_rate,
        full.rate
    );
    println!(
        "batch p99        {:.2} ms at {:.0} requests/s (p50 {:.2} ms); at the full rate p99 {:.2} ms",
        half.percentile_ms(99),
        half.rate,
        half.percentile_ms(50),
        full.percentile_ms(99)
    );
    Ok(())
}

/// Viewers who like something, each with a token and a hundred tracks: half of them the most liked, half at random.
async fn make_questions(connection: &mut PgConnection, settings: &Settings) -> anyhow::Result<Vec<Question>> {
    let dids: Vec<String> = sqlx::query_scalar(
        "SELECT a.did FROM actors a JOIN likes l ON l.actor_id = a.id GROUP BY a.did ORDER BY count(*) DESC, a.did LIMIT $1",
    )
    .bind(i64::try_from(VIEWERS)?)
    .fetch_all(&mut *connection)
    .await?;
    let track_ids: Vec<i64> =
        sqlx::query_scalar("SELECT track_id FROM track_counts ORDER BY like_count DESC, track_id")
            .fetch_all(&mut *connection)
            .await?;
    let mut questions = Vec::new();
    for (number, did) in dids.iter().enumerate() {
        let output = settings.run(&["tokens", "create", "--did", did, "--expires", "1d"]);
        let token = String::from_utf8(output.stdout)?.split_whitespace().last().unwrap_or_default().to_owned();
        let popular = (0..IDS / 2).map(|at| track_ids[at]);
        let others = (0..IDS / 2).map(|at| track_ids[(at * 7919 + number * 104_729) % track_ids.len()]);
        let token_hash = serve::token::hash_token(&token).to_vec();
        questions.push(Question { token, token_hash, track_ids: popular.chain(others).collect() });
    }
    Ok(questions)
}

fn request(question: &Question, host: &str) -> Vec<u8> {
    let body = serde_json::json!({ "track_ids": question.track_ids }).to_string();
    format!(
        "POST /tracks/likes/batch HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        question.token,
        body.len()
    )
    .into_bytes()
}

/// The rate at which the same statement runs without us, its values written into one script per viewer.
fn run_pgbench(server: &Server, folder: &Path, questions: &[Question]) -> anyhow::Result<f64> {
    let (socket, user) = server.address()?;
    let mut pgbench = Command::new("pgbench");
    pgbench.args(["-n", "-M", "prepared", "-c", "8", "-j", "2", "-T", "8", "-h", &socket, "-U", &user]);
    for (number, question) in questions.iter().enumerate() {
        let hash = question.token_hash.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let statement = statement()
            .replace("$1", &format!("'\\x{hash}'::bytea"))
            .replace("$2", "now()")
            .replace("$3", &format!("'{{{}}}'::bigint[]", join(&question.track_ids)));
        let script = folder.join(format!("batch{number}.sql"));
        fs::write(&script, format!("{statement};\n"))?;
        pgbench.arg("-f").arg(script);
    }
    let output = pgbench.arg("batch").output()?;
    let report = String::from_utf8(output.stdout)?;
    anyhow::ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    let rate = report.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok());
    rate.ok_or_else(|| anyhow::anyhow!("pgbench printed no rate: {report}"))
}

fn join(ids: &[i64]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The statement of `POST /tracks/likes/batch`, in one line.
fn statement() -> String {
    let text = include_str!("../../src/store/views/liked_of_token.sql");
    text.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join(" ")
}
