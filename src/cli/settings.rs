use std::{collections::HashSet, error::Error as _, ffi::OsString, sync::Arc};

use axum::http::HeaderValue;
use clap::error::{ContextKind, ContextValue};
use tokio::sync::watch;

use super::secret_key::{self, SecretKey};
use crate::{
    ingest::{self, VerifyCommits, failover::Patience},
    lifecycle::{DatabaseSettings, HostSettings, IndexPlan, ListenSettings, Verify},
    maintenance::{self, Retention},
    model::Collections,
    serve::ServeSettings,
    source::{Compression, Dialect, Dictionary, SourceSpec, SpecError, Start, Tuning},
    telemetry::TelemetrySettings,
};

/// Of settings to come, and so no mistakes.
const RESERVED: [&str; 1] = ["PLYR_PUBLIC_URL"];
/// Begins variables of the tests, which start this program among other things.
const TEST_PREFIX: &str = "PLYR_TEST_";

const SOURCES_DEFAULT: &str =
    "jetstream+wss://jetstream1.us-east.bsky.network,jetstream+wss://jetstream2.us-west.bsky.network";

const STANDBYS_DEFAULT: &str =
    "jetstream+wss://jetstream2.us-east.bsky.network,jetstream+wss://jetstream1.us-west.bsky.network";

/// Upstreams that are asked only in the place of others.
#[derive(Debug, Clone)]
pub(super) struct Standbys(Vec<SourceSpec>);

impl Standbys {
    /// Takes what the sources are written like, or `none`.
    fn parse(text: &str) -> Result<Self, SpecError> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        text.split(',').map(SourceSpec::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// Where a source begins that has no position yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum StartFrom {
    /// With all that the upstream still keeps.
    Oldest,
    /// With what happens from now on.
    Live,
}

/// Whether upstreams are asked to compress what they send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum CompressionChoice {
    /// Where both sides can.
    Auto,
    /// Never.
    Off,
}

/// What all commands share.
#[derive(Debug, clap::Args)]
pub(super) struct Settings {
    #[command(flatten)]
    pub(super) database: DatabaseSettings,
    #[command(flatten)]
    pub(super) index: IndexSettings,
    #[command(flatten)]
    pub(super) hosts: HostSettings,
    #[command(flatten)]
    pub(super) listen: ListenSettings,
    #[command(flatten)]
    pub(super) api: ApiSettings,
    #[command(flatten)]
    pub(super) telemetry: TelemetrySettings,
}

/// What is indexed, and from where.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Index")]
pub(super) struct IndexSettings {
    /// Upstreams to follow, comma-separated: `jetstream+wss://host`, `jetstream2+wss://host` (Jetstream v2) or
    /// `firehose+wss://host`, `ws://` for local ones (`PLYR_SOURCES`, default: two public Jetstream hosts, jetstream1.us-east and jetstream2.us-west.bsky.network)
    #[arg(long, env = "PLYR_SOURCES", value_name = "SOURCES", value_delimiter = ',', default_value = SOURCES_DEFAULT,
        value_parser = SourceSpec::parse, global = true, hide_env = true, hide_default_value = true)]
    pub(super) sources: Vec<SourceSpec>,

    /// Upstreams to follow in the place of incomplete ones, comma-separated as the sources, or `none` (`PLYR_STANDBY_SOURCES`, default:
    /// the two other public hosts, jetstream2.us-east and jetstream1.us-west.bsky.network, unless sources are named; then none)
    #[arg(long, env = "PLYR_STANDBY_SOURCES", value_name = "SOURCES", value_parser = Standbys::parse, global = true,
        hide_env = true)]
    pub(super) standby_sources: Option<Standbys>,

    /// Namespace of the indexed records (`PLYR_NAMESPACE`, default fm.plyr)
    #[arg(long, env = "PLYR_NAMESPACE", value_name = "NSID", default_value = "fm.plyr",
        value_parser = parse_namespace, global = true, hide_env = true, hide_default_value = true)]
    pub(super) namespace: Collections,

    /// Where a source begins that has no position yet (`PLYR_START`, default oldest)
    #[arg(
        long,
        env = "PLYR_START",
        value_enum,
        default_value = "oldest",
        global = true,
        hide_env = true,
        hide_default_value = true
    )]
    pub(super) start: StartFrom,

    /// Tracks a minute whose likes are counted again, to see that the kept counts are right; 0 for none
    /// (`PLYR_RECOUNTS_PER_MINUTE`, default 6)
    #[arg(long, env = "PLYR_RECOUNTS_PER_MINUTE", value_name = "TRACKS", default_value_t = 6,
        value_parser = clap::value_parser!(u32).range(..=6000), global = true, hide_env = true, hide_default_value = true)]
    recounts_per_minute: u32,

    /// Whether Jetstreams are asked to compress what they send (`PLYR_COMPRESSION`, default auto: where both sides can)
    #[arg(
        long,
        env = "PLYR_COMPRESSION",
        value_enum,
        default_value = "auto",
        global = true,
        hide_env = true,
        hide_default_value = true
    )]
    pub(super) compression: CompressionChoice,

    /// File with the zstd dictionary of Jetstream v1, without which v1 hosts are not asked to compress
    /// (`PLYR_ZSTD_DICTIONARY`, default none)
    #[arg(long, env = "PLYR_ZSTD_DICTIONARY", value_name = "FILE", value_parser = read_dictionary, global = true,
        hide_env = true)]
    pub(super) zstd_dictionary: Option<Arc<Dictionary>>,

    /// Days that rejects are kept (`PLYR_REJECTS_DAYS_MAX`, default 90)
    #[arg(long, env = "PLYR_REJECTS_DAYS_MAX", value_name = "DAYS", default_value_t = 90,
        value_parser = clap::value_parser!(u32).range(1..), global = true, hide_env = true, hide_default_value = true)]
    rejects_days_max: u32,

    /// Megabytes that rejects take on disk, above which the oldest are deleted (`PLYR_REJECTS_MB_MAX`, default 512)
    #[arg(long, env = "PLYR_REJECTS_MB_MAX", value_name = "MEGABYTES", default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(1..), global = true, hide_env = true, hide_default_value = true)]
    rejects_mb_max: u32,
}

/// How clients are answered.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "API")]
pub(super) struct ApiSettings {
    /// 32 bytes in hex or base64 that seal page cursors; the same for all `api` of one index (`PLYR_SECRET_KEY`, default:
    /// generated into the data folder)
    #[arg(long, env = "PLYR_SECRET_KEY", value_name = "KEY", value_parser = secret_key::parse, global = true,
        hide_env = true)]
    secret_key: Option<SecretKey>,

    /// Origins whose pages may ask, comma-separated, such as `https://plyr.fm` (`PLYR_CORS_ORIGINS`, default none)
    #[arg(long, env = "PLYR_CORS_ORIGINS", value_name = "ORIGINS", value_delimiter = ',', value_parser = parse_origin,
        global = true, hide_env = true)]
    cors_origins: Vec<HeaderValue>,

    /// Seconds behind the network from which on `/ready` says no (`PLYR_LAG_LIMIT_S`, default 300)
    #[arg(long, env = "PLYR_LAG_LIMIT_S", value_name = "SECONDS", default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(1..), global = true, hide_env = true, hide_default_value = true)]
    lag_limit_s: u32,
}

impl IndexSettings {
    /// The standbys that are named, or those that belong to the default sources.
    fn standbys(&self) -> Vec<SourceSpec> {
        let is_default = || self.sources.iter().map(ToString::to_string).eq(SOURCES_DEFAULT.split(','));
        match &self.standby_sources {
            Some(Standbys(standbys)) => standbys.clone(),
            None if is_default() => {
                STANDBYS_DEFAULT.split(',').filter_map(|spec| SourceSpec::parse(spec).ok()).collect()
            }
            None => Vec::new(),
        }
    }

    /// A source that is there twice, whether it is spelled alike or not.
    fn named_twice(&self) -> Option<SourceSpec> {
        let mut seen = HashSet::new();
        self.sources.iter().cloned().chain(self.standbys()).find(|source| !seen.insert(source.name()))
    }
}

impl Settings {
    /// Refuses settings that contradict each other, for an indexer.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(source) = self.index.named_twice() {
            return Err(format!(
                "{source} is named twice in PLYR_SOURCES and PLYR_STANDBY_SOURCES: name each source once"
            ));
        }
        if self.hosts.verify != Verify::Reject {
            return Ok(());
        }
        let standbys = self.index.standbys();
        match self.index.sources.iter().chain(&standbys).find(|source| source.dialect != Dialect::Firehose) {
            Some(source) => Err(format!(
                "PLYR_VERIFY (--verify) cannot be `reject` with {source}: only the commits of a firehose carry proofs, so \
                 PLYR_SOURCES and PLYR_STANDBY_SOURCES must be firehose+wss:// alone"
            )),
            None => Ok(()),
        }
    }

    /// What the index half needs.
    pub(super) fn index_plan(&self) -> IndexPlan {
        let start = match self.index.start {
            StartFrom::Oldest => Start::Oldest,
            StartFrom::Live => Start::Live,
        };
        let compression = match self.index.compression {
            CompressionChoice::Auto => Compression::Auto { jetstream_v1: self.index.zstd_dictionary.clone() },
            CompressionChoice::Off => Compression::Off,
        };
        let ingest = ingest::Options {
            standbys: self.index.standbys(),
            patience: Patience::default(),
            sources: self.index.sources.clone(),
            start,
            tuning: Tuning { compression, ..Tuning::default() },
            collections: self.index.namespace.clone(),
            verify: VerifyCommits::Off,
            leading: watch::Sender::default(),
        };
        let retention = Retention { days_max: self.index.rejects_days_max, megabytes_max: self.index.rejects_mb_max };
        let recounts_per_minute = self.index.recounts_per_minute;
        IndexPlan { ingest, maintenance: maintenance::Options { recounts_per_minute, retention } }
    }

    /// What the API half needs. Makes the secret key where there is none.
    pub(super) fn serve_settings(&self) -> anyhow::Result<ServeSettings> {
        let DatabaseSettings { data_dir, .. } = &self.database;
        let secret_key = match &self.api.secret_key {
            Some(key) => key.clone(),
            None => secret_key::load_or_make(data_dir)?,
        };
        let mut settings = ServeSettings::new(self.index.namespace.clone(), secret_key.0);
        settings.cors_origins.clone_from(&self.api.cors_origins);
        settings.lag_limit_s = f64::from(self.api.lag_limit_s);
        Ok(settings)
    }
}

fn parse_namespace(text: &str) -> Result<Collections, String> {
    Collections::of_namespace(text).map_err(|error| error.to_string())
}

fn read_dictionary(path: &str) -> Result<Arc<Dictionary>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("it cannot be read: {error}"))?;
    Dictionary::of_bytes(bytes).map(Arc::new).map_err(|error| error.to_string())
}

fn parse_origin(text: &str) -> Result<HeaderValue, &'static str> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.filter(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', '*']))
        .and_then(|_| HeaderValue::try_from(text.to_ascii_lowercase()).ok())
        .ok_or("an origin is https:// and a host, nothing behind it")
}

/// Refuses `PLYR_` variables that no setting reads: most likely misspelt.
pub(super) fn check_variables(
    command: &clap::Command,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), String> {
    let known: Vec<&str> = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
    for (name, _) in variables {
        let name = name.to_string_lossy();
        let ours = name.starts_with("PLYR_") && !name.starts_with(TEST_PREFIX);
        if ours && !known.contains(&&*name) && !RESERVED.contains(&&*name) {
            return Err(format!("{name} is no setting of this program (see plyr-likes --help)"));
        }
    }
    Ok(())
}

/// One sentence that names the setting at fault.
pub(super) fn sentence_of(error: &clap::Error, command: &clap::Command) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (Some(argument), Some(value)) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue)) else {
        let rendered = error.render().to_string();
        let paragraph = rendered.split("\n\n").next().unwrap_or_default();
        let words: Vec<&str> = paragraph.trim_start_matches("error: ").split_whitespace().collect();
        return format!("{} (see plyr-likes --help)", words.join(" "));
    };
    let flag = argument.trim_start_matches("--").split([' ', '=']).next().unwrap_or_default();
    let setting = command.get_arguments().find(|argument| argument.get_long() == Some(flag));
    let name = match setting.and_then(|setting| setting.get_env()) {
        Some(variable) => format!("{} (--{flag})", variable.to_string_lossy()),
        None => argument.to_owned(),
    };
    let why = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(valid))) => format!("it must be one of {}", valid.join(", ")),
        _ => "it is empty".to_owned(),
    };
    // A secret that was mistyped is still a secret.
    if setting.is_some_and(|setting| matches!(setting.get_long(), Some("secret-key" | "database-url"))) {
        return format!("{name} cannot be used: {why}");
    }
    format!("{name} cannot be `{value}`: {why}")
}
