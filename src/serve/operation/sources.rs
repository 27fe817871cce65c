//! Where the sources are, and how far behind.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    atproto::Timestamp,
    store::views::operation::{ScoreView, SourceView},
};

/// One source.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceStatus {
    /// Its name; for untrusted clients its dialect alone.
    pub source: String,
    /// `starting`, `connected`, `waiting`, `refused`, or `paused` for a standby and for one that stayed incomplete; `incomplete` while
    /// it is connected and does not deliver what others do; `silent` when the process that follows it has given no sign of life for half a
    /// minute; null when it has not been recorded.
    pub state: Option<String>,
    /// Why it waits or was refused; null for untrusted clients.
    pub reason: Option<String>,
    /// Since when it has been in that state.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub changed_at: Option<Timestamp>,
    /// The number space of the position.
    pub kind: Option<String>,
    /// The number of the last message applied.
    pub position: Option<i64>,
    /// How far the index is behind it, in seconds: for how long it may have lacked something that the upstream has. 0 when it has
    /// caught up, however quiet the upstream is. Null while nothing has been applied, and of a source that is not followed.
    pub lag_s: Option<f64>,
    /// When the upstream saw the last message applied.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub event_at: Option<Timestamp>,
    /// When the upstream saw the last message of our collections.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ours_at: Option<Timestamp>,
    /// How it does beside the other sources, since the index started; null where it has not been compared.
    pub score: Option<SourceScore>,
}

/// How a source does beside the others. Compared is what was written while both were connected and had caught up.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceScore {
    /// Compared commits that it delivered in time.
    pub delivered: i64,
    /// Compared commits that it did not deliver in time.
    pub missed: i64,
    /// Of the missed those that came later.
    pub late: i64,
    /// While it is incomplete: since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub incomplete_since: Option<Timestamp>,
    /// While it is incomplete: in which collections, without their namespace.
    pub incomplete_in: Vec<String>,
}

impl From<ScoreView> for SourceScore {
    fn from(view: ScoreView) -> Self {
        Self {
            delivered: view.delivered,
            missed: view.missed,
            late: view.late,
            incomplete_since: view.incomplete_since,
            incomplete_in: view.incomplete_in,
        }
    }
}

/// For how long the index may have lacked something that the source has, in seconds.
///
/// A connected source that is quiet has nothing that we lack. One that is not connected, or whose follower is silent, may have
/// anything: its lag grows. So does that of an incomplete one, from the last message of our collections on, whatever else it
/// delivers.
fn lag_s(source: &SourceView, now: Timestamp) -> Option<f64> {
    let state = source.state_at(now)?;
    let complete_until = if let Some(incomplete_since) = source.incomplete_since() {
        source.ours_at.map_or(incomplete_since, |ours_at| ours_at.min(incomplete_since))
    } else {
        source.event_at?;
        match source.behind_since {
            Some(behind_since) => behind_since,
            None if state == "connected" => return Some(0.0),
            None => source.alive_at.or(source.changed_at)?,
        }
    };
    Some(now.utc().signed_duration_since(complete_until.utc()).as_seconds_f64().max(0.0))
}

/// What one source delivers the index has: the least lag counts.
pub fn least_lag_s(sources: &[SourceView], now: Timestamp) -> Option<f64> {
    sources.iter().filter_map(|source| lag_s(source, now)).min_by(f64::total_cmp)
}

pub fn source_status(source: SourceView, now: Timestamp) -> SourceStatus {
    SourceStatus {
        lag_s: lag_s(&source, now),
        state: source.state_at(now).map(str::to_owned),
        source: source.source,
        reason: source.reason,
        changed_at: source.changed_at,
        kind: source.kind,
        position: source.position,
        event_at: source.event_at,
        ours_at: source.ours_at,
        score: source.score.map(SourceScore::from),
    }
}
