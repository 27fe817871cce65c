use super::{Settings, output::print};
use crate::{
    lifecycle,
    store::schema::{self, MIGRATOR},
};

/// Brings the schema up to date and says how far it is.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    lifecycle::with_database(&settings.database, async |database| {
        lifecycle::check_fitness(&database.pool).await?;
        Ok(schema::migrate(&mut *database.pool.acquire().await?).await?)
    })
    .await?;
    let version = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    print(&format!("the schema is current: version {version}\n"));
    Ok(())
}
