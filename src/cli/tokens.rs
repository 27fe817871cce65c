use std::time::Duration;

use anyhow::Context as _;

use super::{
    Settings,
    output::print,
    table::{or_dash, render},
};
use crate::{
    atproto::{Did, Timestamp},
    clock::Clock,
    lifecycle,
    serve::token::{create_token, hash_token},
    store::sessions::{NewSession, Session, create_session, list_sessions, revoke_session},
};

/// Which and what.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a token with which a program reads as one actor; it is shown once, on stdout
    Create {
        /// Whose eyes it lends
        #[arg(long)]
        did: Did,
        /// How long it is good for: 12h, 30d, 8w
        #[arg(long, value_parser = parse_duration)]
        expires: Duration,
        /// What you call it
        #[arg(long)]
        name: Option<String>,
    },
    /// All tokens, without their text, which is not stored
    List,
    /// Refuse a token from now on
    Revoke {
        /// Its number in the list
        id: i64,
    },
}

/// A number and a unit.
fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err("a time is a number and one of s, m, h, d, w"),
    };
    let number: u32 = number.parse().map_err(|_| "a time is a number and one of s, m, h, d, w")?;
    match Duration::from_secs(u64::from(number) * unit_s) {
        Duration::ZERO => Err("it would never be good"),
        duration if duration.as_secs() > 100 * 366 * 86_400 => Err("it must end within 100 years"),
        duration => Ok(duration),
    }
}

/// Makes, lists or revokes.
pub(super) async fn run(options: Options, settings: Settings) -> anyhow::Result<()> {
    let now = Clock::system().now();
    let text = lifecycle::with_index(&settings.database, async |database| {
        let mut connection = database.pool.acquire().await?;
        match options.action {
            Action::Create { did, expires, name } => {
                let token = create_token();
                let expires_at = Timestamp::from_utc(now.utc() + expires);
                let session = NewSession {
                    token_hash: &hash_token(&token),
                    did: &did,
                    name: name.as_deref(),
                    may_write: false,
                    expires_at,
                };
                let id = create_session(&mut connection, &session).await?;
                eprintln!("token {id} reads as {did} until {expires_at}; it is not shown again:");
                Ok(format!("{token}\n"))
            }
            Action::List => Ok(render_sessions(&list_sessions(&mut connection).await?, now)),
            Action::Revoke { id } => {
                let revoked = revoke_session(&mut connection, id.into(), now).await?;
                revoked.then(|| format!("token {id} is revoked\n")).with_context(|| format!("there is no token {id}"))
            }
        }
    })
    .await?;
    print(&text);
    Ok(())
}

fn render_sessions(sessions: &[Session], now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = sessions
        .iter()
        .map(|session| {
            let state = match session.revoked_at {
                Some(_) => "revoked",
                None if session.expires_at <= now => "expired",
                None => "good",
            };
            vec![
                session.id.to_string(),
                session.did.to_string(),
                or_dash(session.name.as_ref()),
                session.created_at.to_string(),
                session.expires_at.to_string(),
                state.to_owned(),
            ]
        })
        .collect();
    render(&["ID", "DID", "NAME", "MADE", "EXPIRES", "STATE"], &rows)
}
