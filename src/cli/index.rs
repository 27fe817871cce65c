use super::Settings;
use crate::{
    lifecycle::{self, Plan},
    telemetry::Telemetry,
};

/// The half that writes.
pub(super) async fn run(settings: Settings, telemetry: &Telemetry) -> anyhow::Result<()> {
    let index = Some(settings.index_plan());
    lifecycle::run(
        Plan { database: settings.database, listen: settings.listen, hosts: settings.hosts, index, api: None },
        telemetry,
    )
    .await
}
