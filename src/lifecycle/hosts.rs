use sqlx::PgPool;

use crate::{
    clock::Clock,
    identity::{Identities, IdentityOptions},
    pds::{Client, ClientError, ClientOptions, Directory, HostUrl, Names},
};

/// Who is asked about people and their repos.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Hosts")]
pub struct HostSettings {
    /// Directory of `did:plc` (`PLYR_PLC_URL`, default <https://plc.directory>)
    #[arg(
        long,
        env = "PLYR_PLC_URL",
        value_name = "URL",
        default_value = "https://plc.directory",
        global = true,
        hide_env = true,
        hide_default_value = true
    )]
    pub plc_url: HostUrl,

    /// Lets strangers name hosts of this machine and its network, over plain HTTP too: for development alone
    /// (`PLYR_ALLOW_PRIVATE_HOSTS`, default false)
    #[arg(long, env = "PLYR_ALLOW_PRIVATE_HOSTS", value_name = "BOOL", default_value = "false", num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new(),
        global = true, hide_env = true, hide_default_value = true, hide_possible_values = true)]
    pub allow_private_hosts: bool,
}

impl HostSettings {
    /// Who everybody is, over the one client of this process.
    pub fn directory(&self, clock: Clock) -> Result<Directory, ClientError> {
        let names = Names::system();
        let options = ClientOptions { allow_private_hosts: self.allow_private_hosts, ..ClientOptions::default() };
        let client = Client::new(options, &names, clock, rand::random::<f64>)?;
        Ok(Directory::new(client, names, self.plc_url.clone()))
    }

    /// Likewise, kept in a database.
    pub(super) fn identities(&self, pool: PgPool, clock: Clock) -> Result<Identities, ClientError> {
        let directory = self.directory(clock.clone())?;
        Ok(Identities::new(pool, directory, clock, (IdentityOptions::default(), rand::random::<f64>)))
    }
}
