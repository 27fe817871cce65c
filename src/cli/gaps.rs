use super::{
    Settings,
    output::print,
    table::{or_dash, printable, render},
};
use crate::{
    clock::Clock,
    lifecycle,
    store::gaps::{By, End, StoredGap, Which, close, list},
};

/// Which and what.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// What is open, the newest first (the default)
    List {
        /// Also what has been closed
        #[arg(long)]
        all: bool,
        /// At most as many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
    },
    /// All that is known of one gap
    Show {
        /// Its number in the list
        id: i64,
    },
    /// Say that nothing is missing any more. Fails where there is no such gap, or it is closed already
    Close {
        /// Its number in the list
        id: i64,
        /// Why: kept with the gap
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        note: String,
    },
}

/// Lists, shows or closes.
pub(super) async fn run(options: Options, settings: Settings) -> anyhow::Result<()> {
    let action = options.action.unwrap_or(Action::List { all: false, limit: 50 });
    let text = lifecycle::with_index(&settings.database, async |database| {
        let mut connection = database.pool.acquire().await?;
        match action {
            Action::List { all, limit } => {
                let which = if all { Which::All } else { Which::NotClosed };
                Ok(render_list(&list(&mut connection, which, limit).await?))
            }
            Action::Show { id } => match list(&mut connection, Which::Number(id), 1).await?.pop() {
                Some(gap) => Ok(render_one(&gap)),
                None => anyhow::bail!("there is no gap {id}"),
            },
            Action::Close { id, note } => {
                let now = Clock::system().now().utc();
                if close(&mut connection, id, By::Operator, Some(&note), now).await? {
                    return Ok(format!("gap {id} is closed\n"));
                }
                match list(&mut connection, Which::Number(id), 1).await?.pop() {
                    Some(_) => anyhow::bail!("gap {id} is closed already"),
                    None => anyhow::bail!("there is no gap {id}"),
                }
            }
        }
    })
    .await?;
    print(&text);
    Ok(())
}

fn render_list(gaps: &[StoredGap]) -> String {
    if gaps.is_empty() {
        return "there is no gap\n".to_owned();
    }
    let rows: Vec<Vec<String>> = gaps
        .iter()
        .map(|gap| {
            vec![
                gap.id.to_string(),
                gap.reason.as_str().to_owned(),
                gap.did.as_ref().map_or_else(|| gap.source.clone(), ToString::to_string),
                or_dash(gap.from.at),
                or_dash(gap.to.at),
                gap.state.as_str().to_owned(),
                gap.opened_at.to_string(),
            ]
        })
        .collect();
    render(&["ID", "REASON", "OF", "FROM", "TO", "STATE", "OPENED"], &rows)
}

fn render_one(gap: &StoredGap) -> String {
    let rows = [
        ("reason", gap.reason.as_str().to_owned()),
        ("detail", gap.detail.clone()),
        ("source", gap.source.clone()),
        ("repo", or_dash(gap.did.as_ref())),
        ("from", render_end(gap.from)),
        ("to", render_end(gap.to)),
        ("numbers", or_dash(gap.kind.as_ref())),
        ("state", gap.state.as_str().to_owned()),
        ("opened", gap.opened_at.to_string()),
        ("closed", or_dash(gap.closed_at)),
        ("by", or_dash(gap.closed_by.as_ref())),
        ("note", or_dash(gap.note.as_ref())),
    ];
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:7} {}\n", printable(value))).collect();
    lines.concat()
}

fn render_end(end: End) -> String {
    format!("{} ({})", or_dash(end.at), or_dash(end.value))
}
