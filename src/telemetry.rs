//! What the program reports of itself: log lines on stderr, traces to a collector, metrics to a scraper.
//!
//! Contract: no label and no attribute is a DID, a URI or a token. Every reason and outcome is registered at the start, so
//! that a counter that never moved is seen as zero and not as missing.

use std::{io::IsTerminal as _, time::Duration};

use axum::{Router, http::header, routing::get};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use sqlx::PgPool;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    crawl::{bluesky_profiles, resync},
    ingest,
    model::{EventKind, GapReason, RejectReason},
    pds::HostError,
};

/// How often gauges that are not pushed are read.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// How long the last spans may take to reach the collector.
const FLUSH_MAX: Duration = Duration::from_secs(3);
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const EVENTS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0];

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Readable text; with colours on a terminal.
    Auto,
    /// Readable text, with colours.
    Pretty,
    /// One JSON object in each line.
    Json,
}

/// What the operator chose about logs and traces.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Logs, traces and metrics")]
pub struct TelemetrySettings {
    /// How log lines on stderr look (`PLYR_LOG_FORMAT`, default auto: colours on a terminal)
    #[arg(
        long,
        env = "PLYR_LOG_FORMAT",
        value_enum,
        default_value = "auto",
        global = true,
        hide_env = true,
        hide_default_value = true
    )]
    pub log_format: LogFormat,

    /// Which log lines: a level, or `module=level` after a comma (`PLYR_LOG`, default info; warn for operator's commands)
    #[arg(long, env = "PLYR_LOG", value_name = "FILTER", value_parser = parse_filter, global = true, hide_env = true)]
    pub log: Option<String>,

    /// OpenTelemetry collector that takes traces over HTTP, such as `http://localhost:4318` (`PLYR_OTLP_ENDPOINT`, default none)
    #[arg(long, env = "PLYR_OTLP_ENDPOINT", value_name = "URL", value_parser = parse_endpoint, global = true,
        hide_env = true)]
    pub otlp_endpoint: Option<String>,
}

fn parse_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn parse_endpoint(text: &str) -> Result<String, String> {
    let uri: axum::http::Uri = text.parse().map_err(|_| "it is no URL".to_owned())?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(_)) => {}
        _ => return Err("it must be http:// and a host: a collector runs on this machine or beside it".to_owned()),
    }
    let base = text.trim_end_matches('/');
    Ok(if uri.path().len() > 1 { base.to_owned() } else { format!("{base}/v1/traces") })
}

/// The exporters, as long as the program runs.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: PrometheusHandle,
}

/// An exporter cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Traces.
    #[error("traces cannot be exported: {0}")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Metrics.
    #[error("metrics cannot be kept: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// Starts logs, traces and metrics for this process. To be called once, outside an async runtime: the exporter of traces
/// brings a thread and a client of its own.
pub fn start(settings: &TelemetrySettings, default_filter: &str) -> Result<Telemetry, TelemetryError> {
    let traces = settings.otlp_endpoint.as_deref().map(export_traces).transpose()?;
    let filter = EnvFilter::new(settings.log.as_deref().unwrap_or(default_filter));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let colours = settings.log_format == LogFormat::Pretty || std::io::stderr().is_terminal();
    let lines = match settings.log_format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Auto | LogFormat::Pretty => lines.with_ansi(colours).with_target(false).boxed(),
    };
    let spans =
        traces.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("plyr-likes")));
    tracing_subscriber::registry().with(filter).with(lines).with(spans).init();
    Ok(Telemetry { traces, metrics: keep_metrics()? })
}

fn export_traces(endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .with_timeout(FLUSH_MAX)
        .build()?;
    let resource = Resource::builder().with_service_name("plyr-likes").build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

fn keep_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full("plyr_batch_events".to_owned()), &EVENTS)?
        .install_recorder()?;
    describe();
    for reason in RejectReason::ALL {
        counter!("plyr_rejects_total", "reason" => reason.as_str()).increment(0);
        counter!("plyr_rejects_expired_total", "reason" => reason.as_str()).increment(0);
    }
    for reason in GapReason::ALL {
        counter!("plyr_gaps_opened_total", "reason" => reason.as_str()).increment(0);
        counter!("plyr_gaps_expired_total", "reason" => reason.as_str()).increment(0);
    }
    for outcome in ingest::verify_outcomes() {
        counter!("plyr_commits_verified_total", "outcome" => outcome).increment(0);
    }
    counter!("plyr_count_drift_total").increment(0);
    for (cause, kind) in resync::drift_labels() {
        counter!("plyr_drift_total", "cause" => cause, "kind" => kind).increment(0);
    }
    counter!("plyr_repos_failed_total").increment(0);
    for outcome in bluesky_profiles::outcomes() {
        counter!("plyr_bluesky_profiles_total", "outcome" => outcome).increment(0);
    }
    for outcome in HostError::OUTCOMES {
        counter!("plyr_hosts_requests_total", "outcome" => outcome).increment(0);
    }
    for kind in EventKind::all().map(EventKind::as_str) {
        for outcome in ["applied", "ignored", "anomaly"] {
            counter!("plyr_events_total", "kind" => kind, "outcome" => outcome).increment(0);
        }
        counter!("plyr_events_received_total", "kind" => kind).increment(0);
    }
    Ok(handle)
}

fn describe() {
    describe_counter!("plyr_events_total", "Events that went through a transaction, by kind and outcome.");
    describe_counter!("plyr_rejects_total", "What was refused, by reason.");
    describe_counter!("plyr_count_drift_total", "Like counts that were not what counting says, and were corrected.");
    describe_counter!("plyr_gaps_opened_total", "Gaps that were opened, by reason.");
    describe_counter!(
        "plyr_gaps_expired_total",
        "Closed gaps deleted because they were too old or too many, by reason."
    );
    describe_gauge!("plyr_gaps_open", "Gaps that are not closed, by reason.");
    describe_counter!(
        "plyr_rejects_expired_total",
        "Rejects deleted because they were too old or too many, by reason."
    );
    describe_gauge!("plyr_index_leading", "1 while this process is the leader, 0 while it is a standby.");
    describe_counter!("plyr_lease_takeovers_total", "How often this process began to index, by whom it replaced.");
    describe_histogram!("plyr_batch_events", "Events in one transaction.");
    describe_histogram!("plyr_batch_commit_seconds", "Time of one transaction, begin to commit.");
    describe_gauge!("plyr_lag_seconds", "Now less the time of the last event applied, by source.");
    describe_gauge!("plyr_position_age_seconds", "Now less the time when the position was last stored, by source.");
    describe_gauge!("plyr_source_connected", "1 while a source's upstream has accepted us.");
    describe_counter!("plyr_source_reconnects_total", "Connections that were made again, by source.");
    describe_counter!("plyr_source_messages_total", "Messages that came, by source.");
    describe_counter!("plyr_source_bytes_total", "Bytes that came, by source.");
    describe_counter!("plyr_source_compared_total", "Compared commits that this source delivered in time.");
    describe_counter!("plyr_source_first_total", "Compared commits that this source delivered before all others.");
    describe_counter!("plyr_source_missed_total", "Compared commits that this source did not deliver in time.");
    describe_counter!("plyr_source_late_total", "Missed commits that this source delivered later.");
    describe_gauge!("plyr_source_incomplete", "1 while a source does not deliver what others deliver of ours.");
    describe_gauge!("plyr_source_followed", "1 while a source is followed; 0 for a standby and for a paused one.");
    describe_counter!("plyr_events_received_total", "Events that were decoded, by kind.");
    describe_counter!(
        "plyr_commits_verified_total",
        "Commits of ours on the raw firehose that were to be proven, by outcome."
    );
    describe_counter!("plyr_http_requests_total", "Requests, by route, method and status.");
    describe_histogram!("plyr_http_seconds", "Time of a request, by route.");
    describe_gauge!("plyr_http_connections", "Open connections of clients, by listener.");
    describe_counter!(
        "plyr_http_connections_closed_total",
        "Connections of clients that were closed before their clients did, by reason."
    );
    describe_counter!("plyr_hosts_requests_total", "Requests to untrusted hosts and to PLC, by outcome.");
    describe_gauge!("plyr_hosts_broken", "Hosts that are left alone because they fail.");
    describe_gauge!("plyr_identities", "DIDs whose document and handle we keep, by state.");
    describe_gauge!("plyr_repos", "Repos that we know of, by whether they have been read.");
    describe_counter!("plyr_repos_failed_total", "Readings of repos that failed, to be tried again.");
    describe_histogram!("plyr_repos_write_seconds", "Time in which repos that had been read were written.");
    describe_counter!("plyr_bluesky_profiles_total", "Profiles asked for, of artists and likers, by outcome.");
    describe_counter!("plyr_drift_total", "Records that repos held otherwise than the index, by cause and kind.");
    describe_gauge!("plyr_queue_depth", "Messages waiting, by queue.");
    describe_gauge!("plyr_pool_connections", "Connections to the database, by pool and state.");
}

impl Telemetry {
    /// What the admin listener answers: `/metrics` for Prometheus, `/health` for a process supervisor.
    pub fn admin_router(&self) -> Router {
        let metrics = self.metrics.clone();
        let render = move || async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()) };
        Router::new().route("/metrics", get(render)).route("/health", get(async || "ok\n"))
    }

    /// Reads the named pools, which report nothing themselves, every few seconds until cancelled.
    pub fn sample(
        &self,
        pools: Vec<(&'static str, PgPool)>,
        cancel: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let metrics = self.metrics.clone();
        async move {
            let mut ticks = interval(SAMPLE_EVERY);
            while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
                for (name, pool) in &pools {
                    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
                    gauge!("plyr_pool_connections", "pool" => *name, "state" => "idle").set(idle);
                    gauge!("plyr_pool_connections", "pool" => *name, "state" => "busy")
                        .set(pool.size().saturating_sub(idle));
                }
                metrics.run_upkeep();
            }
        }
    }

    /// Hands the last spans to the collector. To be called outside an async runtime.
    pub fn stop(self) {
        if let Some(Err(error)) = self.traces.map(|traces| traces.shutdown_with_timeout(FLUSH_MAX)) {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}

/// An error and its causes as one sentence, without a cause that its error already contains.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if parts.last().is_none_or(|part| !part.ends_with(&cause)) {
            parts.push(cause);
        }
    }
    parts.join(": ")
}
