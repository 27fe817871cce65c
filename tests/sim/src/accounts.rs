//! The referee's view by account: who is hidden, and who is gone. Beside the model of records, which knows nothing of it.

use std::collections::BTreeMap;

use crate::{
    event::What,
    model::{Model, Write},
    world::World,
};

/// How accounts stand, by what was said of them last.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    /// By DID: when, in microseconds since 1970, and the status; none: active.
    said: BTreeMap<String, (i64, Option<String>)>,
    /// By DID: the time of the last deletion.
    deleted: BTreeMap<String, i64>,
}

impl Accounts {
    /// How all accounts of a world stand.
    pub fn of(world: &World) -> Self {
        let mut accounts = Self::default();
        for event in world.events() {
            if let What::Account { status } = event.what {
                accounts.take(world.did(event.actor), event.time_us(), status);
            }
        }
        accounts
    }

    /// Takes what was said at this time; the latest stands, in whatever order it comes.
    pub fn take(&mut self, did: &str, at_us: i64, status: Option<&str>) {
        if status == Some("deleted") {
            let deleted = self.deleted.entry(did.to_owned()).or_insert(at_us);
            *deleted = at_us.max(*deleted);
        }
        let said = self.said.entry(did.to_owned()).or_insert((at_us, status.map(str::to_owned)));
        if said.0 < at_us {
            *said = (at_us, status.map(str::to_owned));
        }
    }

    /// Whether nothing of this account is to be seen. Throttled and desynchronized accounts are seen.
    pub fn hides(&self, did: &str) -> bool {
        let status = self.said.get(did).and_then(|(_, status)| status.as_deref());
        status.is_some_and(|status| !["throttled", "desynchronized"].contains(&status))
    }

    /// Whether the last that was said of this account is that it is deleted.
    pub fn is_gone(&self, did: &str) -> bool {
        self.said.get(did).is_some_and(|(_, status)| status.as_deref() == Some("deleted"))
    }

    /// Whether a write is void, because its account was deleted after it.
    pub fn voids(&self, write: &Write) -> bool {
        self.deleted.get(&write.did).is_some_and(|deleted_us| write.rev >> 10 <= *deleted_us)
    }

    /// What may be shown of these writes.
    pub fn seen<'w>(&self, writes: impl IntoIterator<Item = &'w Write>) -> Model {
        Model::of(writes.into_iter().filter(|write| !self.hides(&write.did) && !self.voids(write)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_word_stands_and_a_deletion_voids_what_was_before() {
        let mut accounts = Accounts::default();
        accounts.take("did:plc:a", 20, None);
        accounts.take("did:plc:a", 10, Some("deleted"));
        accounts.take("did:plc:b", 10, None);
        accounts.take("did:plc:b", 20, Some("takendown"));
        assert!(!accounts.hides("did:plc:a") && accounts.hides("did:plc:b") && !accounts.hides("did:plc:c"));
        let write = |rev_us: i64| Write {
            did: "did:plc:a".to_owned(),
            kind: crate::model::Kind::Like,
            rkey: "3l3qo2vuowo2b".to_owned(),
            rev: rev_us << 10,
            what: crate::model::What::Deleted,
        };
        assert!(accounts.voids(&write(10)) && !accounts.voids(&write(11)));
        assert_eq!(accounts.seen(&[write(10), write(15)]).state().len(), 1);
    }
}
