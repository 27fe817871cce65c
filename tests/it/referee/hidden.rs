//! Hidden and deleted accounts: a request about one is answered as for an account that never existed.

use serde_json::Value;

use crate::support::program::Program;

/// A DID and a handle that no account has.
const ABSENT: (&str, &str) = ("did:plc:absentabsentabsentabsent", "absent-account.test");

/// An account of which nothing may be shown.
pub struct Hidden {
    pub did: String,
    pub handle: String,
    /// Whether the account was deleted.
    pub is_deleted: bool,
    /// Whether the index must know it: something that it wrote was sent.
    pub has_written: bool,
    /// The URIs of all lists that there ever were.
    pub lists: Vec<String>,
}

type Question = (String, Vec<(&'static str, String)>);

impl Hidden {
    /// Asks in every view that names an actor, by DID and by handle, and for every list.
    pub async fn compare(&self, program: &Program, tracks: &[String]) -> Result<(), String> {
        for by_handle in [false, true] {
            let (name, absent) = if by_handle { (&self.handle, ABSENT.1) } else { (&self.did, ABSENT.0) };
            for (asked, as_absent) in questions(name, tracks).into_iter().zip(questions(absent, tracks)) {
                self.same(program, asked, as_absent).await?;
            }
        }
        for uri in &self.lists {
            let as_absent = uri.replace(&self.did, ABSENT.0);
            for (path, parameter) in [("/lists/by-uri", "uri"), ("/xrpc/fm.plyr.graph.getList", "list")] {
                let question = |uri: &str| (path.to_owned(), vec![(parameter, uri.to_owned())]);
                self.same(program, question(uri), question(&as_absent)).await?;
            }
        }
        Ok(())
    }

    async fn same(&self, program: &Program, asked: Question, as_absent: Question) -> Result<(), String> {
        let found = self.answer(program, &asked).await?;
        let expected = self.answer(program, &as_absent).await?;
        if found == expected {
            return Ok(());
        }
        Err(format!(
            "{} is hidden, and {asked:?} is answered with {found}\n  and not as for an absent account: {expected}",
            self.did
        ))
    }

    /// The answer, with the DID and the handle of the absent account in it.
    async fn answer(&self, program: &Program, (path, query): &Question) -> Result<String, String> {
        let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let text = match program.get(path, &query).await {
            Ok(answer) => Value::to_string(&answer),
            // The address comes first, then the status.
            Err(refusal) => match refusal.split_once(": ") {
                Some((_, rest)) if rest.starts_with("40") => rest.to_owned(),
                _ => return Err(refusal),
            },
        };
        Ok(text.replace(&self.did, ABSENT.0).replace(&self.handle, ABSENT.1))
    }
}

/// All that can be asked about an actor.
fn questions(name: &str, tracks: &[String]) -> Vec<Question> {
    let about = |path: &str, parameter: &'static str| (path.to_owned(), vec![(parameter, name.to_owned())]);
    let mut statuses = about("/xrpc/fm.plyr.feed.getLikeStatuses", "actor");
    statuses.1.extend(tracks.iter().take(100).map(|uri| ("uris", uri.clone())));
    vec![
        statuses,
        about("/xrpc/fm.plyr.feed.getActorLikes", "actor"),
        about("/xrpc/fm.plyr.graph.getActorLists", "actor"),
        about("/lists", "actor"),
        about("/tracks/", "artist_did"),
        (format!("/users/{name}/likes"), Vec::new()),
        (format!("/artists/{name}"), Vec::new()),
        (format!("/artists/{name}/tracks"), Vec::new()),
    ]
}
