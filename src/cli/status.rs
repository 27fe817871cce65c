use super::{
    Settings,
    output::print,
    table::{ago, or_dash, render},
};
use crate::{
    atproto::Timestamp,
    clock::Clock,
    lifecycle,
    store::{
        gaps::{self, OpenCount},
        repos::{
            self, RepoCounts,
            drift::{self, DriftCount},
        },
        views::{
            indexers::{IndexerView, list_indexers},
            operation::{
                Counts, ExpiredRejects, SourceView, Upkeep, count_rejects, count_rows, find_upkeep,
                list_expired_rejects, list_sources,
            },
        },
    },
};

/// Kinds of differences that are shown, the latest.
const DRIFT_SHOWN: i64 = 12;

/// Prints sources, indexers, gaps, repos, rejects by reason, and counts.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    let text = lifecycle::with_index(&settings.database, async |database| {
        let mut connection = database.pool.acquire().await?;
        let sources = list_sources(&mut connection).await?;
        let gaps = gaps::count_open(&mut connection, i64::MAX).await?;
        let indexers = list_indexers(&mut connection).await?;
        let drift = drift::list(&mut connection, DRIFT_SHOWN).await?;
        let repos = render_repos(&repos::count(&mut connection).await?) + &render_drift(&drift);
        let rejects = count_rejects(&mut connection, i64::MAX).await?;
        let expired = list_expired_rejects(&mut connection).await?;
        let counts = render_counts(count_rows(&mut connection).await?)
            + &render_upkeep(&find_upkeep(&mut connection, i64::MAX).await?);
        let rejects = render_rejects(&rejects) + &render_expired(&expired);
        let parts = [
            render_sources(&sources),
            render_scores(&sources),
            render_indexers(&indexers),
            render_gaps(&gaps),
            repos,
            rejects,
            counts,
        ];
        Ok(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n"))
    })
    .await?;
    print(&text);
    Ok(())
}

fn render_sources(sources: &[SourceView]) -> String {
    if sources.is_empty() {
        return "no source has been followed yet\n".to_owned();
    }
    let now = Clock::system().now();
    let rows: Vec<Vec<String>> = sources
        .iter()
        .map(|source| {
            vec![
                source.source.clone(),
                or_dash(source.state_at(now)),
                or_dash(source.position),
                or_dash(source.event_at.map(|at| ago(now, at))),
                or_dash(source.ours_at.map(|at| ago(now, at))),
                or_dash(source.updated_at.map(|at| ago(now, at))),
                remark(source, now),
            ]
        })
        .collect();
    render(&["SOURCE", "STATE", "POSITION", "LAST EVENT", "LAST OF OURS", "STORED", ""], &rows)
}

/// Why a source waits, or in what it is incomplete.
fn remark(source: &SourceView, now: Timestamp) -> String {
    match (&source.score, source.incomplete_since()) {
        (Some(score), Some(since)) => {
            format!(
                "incomplete in {} since {}: {} missed",
                score.incomplete_in.join(", "),
                ago(now, since),
                score.missed
            )
        }
        _ => source.reason.clone().unwrap_or_default(),
    }
}

/// How the sources do beside each other; nothing where there is but one.
fn render_scores(sources: &[SourceView]) -> String {
    let rows: Vec<Vec<String>> = sources
        .iter()
        .filter_map(|source| {
            let score = source.score.as_ref()?;
            let figures = [score.delivered, score.missed, score.late];
            Some([source.source.clone()].into_iter().chain(figures.map(|figure| figure.to_string())).collect())
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    render(&["COMPARED", "IN TIME", "MISSED", "LATE"], &rows)
}

fn render_gaps(gaps: &[OpenCount]) -> String {
    if gaps.is_empty() {
        return "no gap is open\n".to_owned();
    }
    let now = Clock::system().now();
    let row = |gap: &OpenCount| {
        vec![gap.reason.clone(), gap.count.to_string(), gap.repairing.to_string(), ago(now, gap.oldest_at)]
    };
    render(&["OPEN GAPS", "COUNT", "IN REPAIR", "OLDEST"], &gaps.iter().map(row).collect::<Vec<_>>())
}

fn render_repos(counts: &RepoCounts) -> String {
    let RepoCounts { pending, failed, done, oldest_at, newest_at } = *counts;
    let now = Clock::system().now();
    let age = |at| ago(now, Timestamp::from_utc(at));
    let ages = match (oldest_at, newest_at) {
        (Some(oldest), Some(newest)) => format!(", the longest ago {} ago, the last {} ago", age(oldest), age(newest)),
        _ => String::new(),
    };
    format!("{done} repos read{ages}; {pending} to be read, {failed} failed\n")
}

/// What repos held otherwise than the index.
fn render_drift(drift: &[DriftCount]) -> String {
    if drift.is_empty() {
        return String::new();
    }
    let now = Clock::system().now();
    let row = |found: &DriftCount| {
        let last = ago(now, Timestamp::from_utc(found.last_at));
        vec![found.cause.clone(), found.kind.clone(), found.host.clone(), found.count.to_string(), last]
    };
    render(&["READ FOR", "DIFFERENCE", "HOST", "COUNT", "LAST"], &drift.iter().map(row).collect::<Vec<_>>())
}

fn render_rejects(rejects: &[(String, i64)]) -> String {
    if rejects.is_empty() {
        return "no rejects\n".to_owned();
    }
    let rows: Vec<Vec<String>> =
        rejects.iter().map(|(reason, count)| vec![reason.clone(), count.to_string()]).collect();
    render(&["REJECTS", "COUNT"], &rows)
}

/// Which indexers there are; the leader comes first.
fn render_indexers(indexers: &[IndexerView]) -> String {
    if indexers.is_empty() {
        return "no indexer runs\n".to_owned();
    }
    let now = Clock::system().now();
    let rows: Vec<Vec<String>> = indexers
        .iter()
        .map(|indexer| {
            vec![
                format!("{} {}", indexer.host, indexer.process),
                indexer.state.clone(),
                or_dash(indexer.leading_since.map(|at| ago(now, at))),
                ago(now, indexer.started_at),
                ago(now, indexer.alive_at),
            ]
        })
        .collect();
    render(&["INDEXER", "STATE", "LEADING FOR", "RUNNING FOR", "LAST SEEN"], &rows)
}

/// Expired rejects: one line, or none.
pub(super) fn render_expired(expired: &[ExpiredRejects]) -> String {
    let total: i64 = expired.iter().map(|expired| expired.count).sum();
    let Some(last_at) = expired.iter().map(|expired| expired.last_at).max() else { return String::new() };
    let reasons: Vec<String> = expired.iter().map(|expired| format!("{} {}", expired.reason, expired.count)).collect();
    let last = ago(Clock::system().now(), last_at);
    format!("{total} more have expired: too old or too many ({}), the last {last} ago\n", reasons.join(", "))
}

fn render_counts(counts: Counts) -> String {
    let Counts { actors, records, exact } = counts;
    let about = if exact { "" } else { "about " };
    let records = records.iter().map(|(collection, count)| format!(", {count} {}s", collection.as_str()));
    format!("{about}{actors} actors{}\n", records.collect::<String>())
}

fn render_upkeep(upkeep: &Upkeep) -> String {
    let Upkeep { checked, drifted, drifted_at, hidden, checks, .. } = upkeep;
    let last = drifted_at.map_or(String::new(), |at| format!(", the last one {} ago", ago(Clock::system().now(), at)));
    format!(
        "{checked} like counts checked, {drifted} were wrong{last}\n{hidden} accounts hidden, {checks} account checks pending\n"
    )
}
