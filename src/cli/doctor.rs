use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use chrono::{DateTime, Utc};

use super::{Settings, output::print};
use crate::{
    clock::Clock,
    lifecycle::{self, HostSettings},
    pds::{Request, Trust},
    source::{Dialect, SourceSpec, probe},
    store::{schema, server::find_server_time},
    telemetry::sentence,
};

/// How long an upstream may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A clock that is further off makes lag and the order of pages wrong. The `Date` of an answer has whole seconds.
const CLOCK_OFF_MAX_S: i64 = 5;

/// What was looked at, and what came of it: a finding, or what is wrong and what to do.
struct Check {
    name: String,
    outcome: anyhow::Result<String>,
}

/// Looks at everything, one line each; fails if anything does.
pub(super) async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let count = settings.index.sources.len();
    let mut checks = vec![Check { name: "settings".to_owned(), outcome: check_settings(&settings, count) }];
    let (database, database_time) = check_database(&settings).await;
    checks.push(database);
    let mut times = Vec::new();
    for source in &settings.index.sources {
        let answer = check_source(source).await;
        times.extend(answer.as_ref().ok().copied().flatten());
        let outcome = answer.map(|_| "takes our connection".to_owned());
        checks.push(Check { name: format!("source {source}"), outcome });
    }
    let name = format!("PLC {}", settings.hosts.plc_url);
    checks.push(Check { name, outcome: check_plc(&settings.hosts).await });
    let others = times.first().copied().or(database_time);
    checks.push(Check { name: "clock".to_owned(), outcome: check_clock(others) });

    let mut code = ExitCode::SUCCESS;
    for Check { name, outcome } in checks {
        match outcome {
            Ok(finding) => print(&format!("ok    {name}: {finding}\n")),
            Err(error) => {
                code = ExitCode::FAILURE;
                print(&format!("FAIL  {name}: {}\n", sentence(&error)));
            }
        }
    }
    Ok(code)
}

fn check_settings(settings: &Settings, sources: usize) -> anyhow::Result<String> {
    settings.serve_settings()?;
    settings.check().map_err(anyhow::Error::msg)?;
    Ok(format!("{sources} sources, namespace {}", settings.index.namespace.namespace()))
}

/// Also returns the database's time, where it has a clock of its own.
async fn check_database(settings: &Settings) -> (Check, Option<DateTime<Utc>>) {
    let mut time = None;
    let outcome = lifecycle::with_database(&settings.database, async |database| {
        let facts = lifecycle::check_fitness(&database.pool).await?;
        let mut connection = database.pool.acquire().await?;
        let current = schema::is_current(&mut connection).await?;
        anyhow::ensure!(current, "the schema is not that of this program: run `plyr-likes migrate`");
        if !database.is_private() {
            time = Some(find_server_time(&mut connection).await?.utc());
        }
        Ok(format!("Postgres {}.{}, schema current", facts.version / 10_000, facts.version % 10_000))
    })
    .await;
    (Check { name: "database".to_owned(), outcome }, time)
}

/// Asks for the stream, as the index does, and answers what time the upstream says it is.
async fn check_source(source: &SourceSpec) -> anyhow::Result<Option<DateTime<Utc>>> {
    let path = match source.dialect {
        Dialect::JetstreamV1 => "/subscribe?wantedCollections=fm.plyr.like",
        Dialect::JetstreamV2 => "/xrpc/network.bsky.jetstream.subscribeEvents?kinds=commit&collections=fm.plyr.like",
        Dialect::Firehose => "/xrpc/com.atproto.sync.subscribeRepos",
    };
    let date = probe(&format!("{}{path}", source.origin()), ANSWER_MAX).await.map_err(|reason| {
        anyhow::anyhow!(
            "cannot be followed: {reason}; see that the host is right and that this machine may connect to it"
        )
    })?;
    Ok(date.and_then(|date: String| DateTime::parse_from_rfc2822(&date).ok()).map(|date| date.to_utc()))
}

/// Asks the directory of DIDs whether it is there.
async fn check_plc(hosts: &HostSettings) -> anyhow::Result<String> {
    let directory = hosts.directory(Clock::system())?;
    let mut request = Request::new(hosts.plc_url.join("/_health"), Trust::Operator);
    request.time_max = ANSWER_MAX;
    let answer = directory.client().fetch(request).await;
    answer.context("cannot be asked: see that the host is right and that this machine may connect to it")?;
    Ok("answers".to_owned())
}

fn check_clock(others: Option<DateTime<Utc>>) -> anyhow::Result<String> {
    let Some(others) = others else {
        return Ok("nothing to compare it with".to_owned());
    };
    let off_s = (Clock::system().now().utc() - others).num_seconds();
    anyhow::ensure!(off_s.abs() <= CLOCK_OFF_MAX_S, "it is {off_s} s off: let NTP set it");
    Ok(format!("right within {CLOCK_OFF_MAX_S} s"))
}
