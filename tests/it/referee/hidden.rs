//! Who is hidden or deleted: whoever asks for them is told what would be told of somebody who never was.

use serde_json::Value;

use crate::support::program::Program;

/// Nobody has this DID, and nobody this handle.
const NOBODY: (&str, &str) = ("did:plc:nobodynobodynobodynobody", "nobody-at-all.test");

/// Somebody of whom nothing may be shown.
pub struct Hidden {
    pub did: String,
    pub handle: String,
    /// Whether the account was deleted.
    pub is_deleted: bool,
    /// Whether the index must know of it: it has been told of something that it wrote.
    pub has_written: bool,
    /// The URIs of all lists that there ever were.
    pub lists: Vec<String>,
}

type Question = (String, Vec<(&'static str, String)>);

impl Hidden {
    /// Asks in every view that names an actor, by DID and by handle, and for every list.
    pub async fn compare(&self, program: &Program, tracks: &[String]) -> Result<(), String> {
        for by_handle in [false, true] {
            let (name, nobody) = if by_handle { (&self.handle, NOBODY.1) } else { (&self.did, NOBODY.0) };
            for (asked, as_nobody) in questions(name, tracks).into_iter().zip(questions(nobody, tracks)) {
                self.same(program, asked, as_nobody).await?;
            }
        }
        for uri in &self.lists {
            let as_nobody = uri.replace(&self.did, NOBODY.0);
            for (path, parameter) in [("/lists/by-uri", "uri"), ("/xrpc/fm.plyr.graph.getList", "list")] {
                let question = |uri: &str| (path.to_owned(), vec![(parameter, uri.to_owned())]);
                self.same(program, question(uri), question(&as_nobody)).await?;
            }
        }
        Ok(())
    }

    async fn same(&self, program: &Program, asked: Question, as_nobody: Question) -> Result<(), String> {
        let told = self.answer(program, &asked).await?;
        let expected = self.answer(program, &as_nobody).await?;
        if told == expected {
            return Ok(());
        }
        Err(format!(
            "{} is hidden, and {asked:?} is answered with {told}\n  and not as for nobody: {expected}",
            self.did
        ))
    }

    /// What is answered, as though it were about nobody.
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
        Ok(text.replace(&self.did, NOBODY.0).replace(&self.handle, NOBODY.1))
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
