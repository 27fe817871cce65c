use std::sync::Arc;

use crate::model::PositionKind;
use crate::source::SourceSpec;

/// Where deliveries come from.
#[derive(Debug, Clone)]
pub struct SourceKey {
    /// The source's name in tables and metrics.
    pub name: Arc<str>,
    /// The number space of its positions; none for a recorded log, which is always read from its start.
    pub kind: Option<PositionKind>,
}

impl SourceKey {
    /// Of a source of the settings.
    pub fn of_spec(spec: &SourceSpec) -> Self {
        Self { name: spec.name(), kind: Some(spec.dialect.position_kind()) }
    }

    /// Of a recorded log.
    pub fn of_log() -> Self {
        Self { name: "replay".into(), kind: None }
    }
}
