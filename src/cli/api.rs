use super::Settings;
use crate::{
    lifecycle::{self, Plan},
    telemetry::Telemetry,
};

/// The half that answers.
pub(super) async fn run(settings: Settings, telemetry: &Telemetry) -> anyhow::Result<()> {
    let api = Some(settings.serve_settings()?);
    lifecycle::run(
        Plan { database: settings.database, listen: settings.listen, hosts: settings.hosts, index: None, api },
        telemetry,
    )
    .await
}
