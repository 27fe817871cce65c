//! To be filled.
use crate::{
    clock::Clock,
    decode::Collections,
    source::{SourceSpec, Start},
};
use tokio_util::sync::CancellationToken;

/// x
#[derive(Debug, Clone)]
pub struct Options {
    /// x
    pub sources: Vec<SourceSpec>,
    /// x
    pub start: Start,
    /// x
    pub collections: Collections,
}
/// x
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// x
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
/// x
#[derive(Debug, Default)]
pub struct Summary {
    /// x
    pub applied: u64,
    /// x
    pub ignored: u64,
    /// x
    pub rejected: u64,
    /// x
    pub seconds: f64,
}
/// x
pub async fn run(
    _pool: sqlx::PgPool,
    _options: Options,
    _clock: Clock,
    cancel: CancellationToken,
) -> Result<(), IngestError> {
    cancel.cancelled().await;
    Ok(())
}
/// x
pub async fn replay(
    _pool: sqlx::PgPool,
    _collections: Collections,
    _clock: Clock,
    mut reader: Box<dyn std::io::Read + Send>,
    _progress: impl Fn(u64) + Send + Sync + 'static,
) -> Result<Summary, IngestError> {
    let _ = std::io::copy(&mut reader, &mut std::io::sink())?;
    Ok(Summary { seconds: 1.0, ..Summary::default() })
}

/// x
#[derive(Debug, Default)]
pub struct Retried {
    /// x
    pub applied: u64,
    /// x
    pub refused: u64,
}
/// x
pub async fn retry_rejects(
    _pool: sqlx::PgPool,
    _collections: Collections,
    _clock: Clock,
    _ids: &[i64],
) -> Result<Retried, IngestError> {
    Ok(Retried::default())
}
