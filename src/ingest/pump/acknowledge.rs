use std::sync::Arc;

use tokio::sync::watch;

use super::source_key::SourceKey;
use crate::{
    apply::Reached,
    ingest::lag::Lags,
    model::{Position, PositionKind},
};

/// Reports to the sources, and to the metrics, what has been committed.
pub struct Acknowledger {
    /// All sources, by their place.
    pub sources: Arc<[SourceKey]>,
    /// Where each source learns its committed position.
    pub committed: Vec<watch::Sender<Option<Position>>>,
    /// How far each source is behind.
    pub lags: Arc<Lags>,
}

impl Acknowledger {
    /// These positions are in the database now.
    pub fn acknowledge(&self, positions: &[Reached]) {
        for reached in positions {
            let Some(place) = self.sources.iter().position(|source| source.name == reached.source) else { continue };
            self.lags.reached(place, reached);
            if let Some(sender) = self.committed.get(place) {
                let kind = reached.kind;
                let position = Some(Position { source: reached.source.clone(), kind, value: reached.value });
                sender.send_modify(|held| {
                    let is_ahead = kind == PositionKind::JetstreamV1Micros && *held > position && !reached.restarts;
                    if !is_ahead {
                        *held = position;
                    }
                });
            }
        }
    }
}
