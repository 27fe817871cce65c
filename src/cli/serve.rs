use super::Settings;
use crate::{
    lifecycle::{self, Plan},
    telemetry::Telemetry,
};

/// Everything in one process.
pub(super) async fn run(settings: Settings, telemetry: &Telemetry) -> anyhow::Result<()> {
    let (index, api) = (Some(settings.index_plan()), Some(settings.serve_settings()?));
    lifecycle::run(
        Plan { database: settings.database, listen: settings.listen, hosts: settings.hosts, index, api },
        telemetry,
    )
    .await
}
