use super::{Settings, output::print};
use crate::{
    lifecycle, postgres,
    store::{
        schema::{self, MIGRATOR},
        server::find_server_facts,
    },
};

/// Brings the schema up to date and says how far it is.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    lifecycle::with_database(&settings.database, async |database| {
        let mut connection = database.pool.acquire().await?;
        find_server_facts(&mut connection).await?.check(postgres::VERSION_MIN)?;
        Ok(schema::migrate(&mut connection).await?)
    })
    .await?;
    let version = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    print(&format!("the schema is current: version {version}\n"));
    Ok(())
}
