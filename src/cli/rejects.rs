use anyhow::Context as _;
use data_encoding::HEXLOWER;

use super::{
    Settings,
    output::print,
    status::render_expired,
    table::{or_dash, printable, render},
};
use crate::{
    clock::Clock,
    decode::RawFormat,
    ingest,
    lifecycle::{self, Verify},
    model::RejectReason,
    store::views::{
        operation::list_expired_rejects,
        rejects::{RejectRaw, RejectView, find_reject_raw, list_rejects},
    },
};

/// Which and what.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// The newest rejects
    List {
        /// Only those of one reason
        #[arg(long, value_parser = parse_reason)]
        reason: Option<RejectReason>,
        /// At most as many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
    },
    /// One reject with what was refused
    Show {
        /// Its number in the list
        id: i64,
    },
    /// Try rejects again, after the program has learnt to read them, or a key can be had that could not
    Retry {
        /// All of them
        #[arg(long, conflicts_with = "ids", required_unless_present = "ids")]
        all: bool,
        /// Their numbers in the list
        ids: Vec<i64>,
    },
}

fn parse_reason(text: &str) -> Result<RejectReason, String> {
    RejectReason::parse(text).ok_or_else(|| {
        let words: Vec<&str> = RejectReason::ALL.map(RejectReason::as_str).into();
        format!("it must be one of {}", words.join(", "))
    })
}

/// Lists, shows or retries.
pub(super) async fn run(options: Options, settings: Settings) -> anyhow::Result<()> {
    let text = lifecycle::with_index(&settings.database, async |database| match options.action {
        Action::List { reason, limit } => {
            let mut connection = database.pool.acquire().await?;
            let rejects = list_rejects(&mut connection, None, reason.map(RejectReason::as_str), limit).await?;
            let expired = list_expired_rejects(&mut connection).await?;
            Ok(render_list(&rejects) + &render_expired(&expired))
        }
        Action::Show { id } => {
            let mut connection = database.pool.acquire().await?;
            let reject = list_rejects(&mut connection, Some(id), None, 1).await?.pop();
            let raw = find_reject_raw(&mut connection, id).await?;
            let (reject, raw) = reject.zip(raw).with_context(|| format!("there is no reject {id}"))?;
            Ok(render_one(&reject, &raw))
        }
        Action::Retry { all: _, ids } => {
            let identities = settings.hosts.identities(database.pool.clone(), Clock::system())?;
            let retry = ingest::Retry {
                collections: settings.index.namespace.clone(),
                clock: Clock::system(),
                identities: Some(identities),
                is_strict: settings.hosts.verify == Verify::Reject,
            };
            let retried = ingest::retry_rejects(database.pool.clone(), retry, &ids).await?;
            let ingest::Retried { applied, ignored, refused, cut } = retried;
            Ok(format!("applied={applied} ignored={ignored} refused={refused} cut={cut}\n"))
        }
    })
    .await?;
    print(&text);
    Ok(())
}

fn render_list(rejects: &[RejectView]) -> String {
    let rows: Vec<Vec<String>> = rejects
        .iter()
        .map(|reject| {
            vec![
                reject.id.to_string(),
                reject.at.to_string(),
                reject.reason.clone(),
                reject.field.clone().unwrap_or_else(|| "-".to_owned()),
                path_of(reject),
                reject.detail.clone(),
            ]
        })
        .collect();
    render(&["ID", "AT", "REASON", "FIELD", "RECORD", "DETAIL"], &rows)
}

fn path_of(reject: &RejectView) -> String {
    match (&reject.did, &reject.collection, &reject.rkey) {
        (Some(did), Some(collection), Some(rkey)) => format!("{did}/{collection}/{rkey}"),
        _ => "-".to_owned(),
    }
}

fn render_one(reject: &RejectView, raw: &RejectRaw) -> String {
    let is_text = [RawFormat::RecordJson, RawFormat::JetstreamV1, RawFormat::JetstreamV2]
        .iter()
        .any(|format| format.as_str() == raw.format);
    let bytes = if is_text { printable(&String::from_utf8_lossy(&raw.bytes)) } else { HEXLOWER.encode(&raw.bytes) };
    let rows = [
        ("reason", reject.reason.clone()),
        ("field", or_dash(reject.field.as_ref())),
        ("detail", reject.detail.clone()),
        ("record", path_of(reject)),
        ("source", reject.source.clone()),
        ("position", or_dash(reject.position)),
        ("at", reject.at.to_string()),
        ("format", raw.format.clone()),
        ("bytes", raw.length.to_string()),
    ];
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:9} {}", printable(value))).collect();
    format!("{}\n\n{bytes}\n", lines.join("\n"))
}
