use super::{firehose_message::RawMessage, repo, value::Value};
use crate::atproto::{Cid, Did, Tid};

/// How a commit of any collections follows on the one before it in its repo, as the upstream tells it: nothing of it is
/// proven. Of the trees' roots it has the first eight bytes, which tell one from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Whose repo.
    pub did: Did,
    /// Of the commit.
    pub rev: Tid,
    /// The root of the tree behind it, if it came along.
    pub data: Option<i64>,
    /// What it follows on; none where a `#sync` says that the repo starts over.
    pub follows: Option<Follows>,
}

/// What a commit says of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follows {
    /// Its rev; none in the first commit of a repo.
    pub since: Option<Tid>,
    /// The root of the tree behind it.
    pub prev_data: Option<i64>,
}

impl Link {
    /// Reads the link of a `#commit` or a `#sync`; none where one of its identifiers is none.
    pub(super) fn read(raw: &RawMessage<'_>) -> Option<Self> {
        let rev = Tid::parse(raw.text("rev")?).ok()?;
        let Some(commit) = raw.commit() else {
            let data = match raw.field("blocks") {
                Some(Value::Bytes(car)) => repo::find_data(car, None),
                _ => None,
            };
            let did = Did::parse(raw.text("did")?).ok()?;
            return Some(Self { did, rev, data: data.map(first_bytes), follows: None });
        };
        let since = match commit.since() {
            Some(since) => Some(Tid::parse(since).ok()?),
            None => None,
        };
        let data = commit.slice().zip(commit.cid()).and_then(|(car, cid)| repo::find_data(car, Some(cid)));
        let follows = Follows { since, prev_data: commit.prev_data().map(first_bytes) };
        let did = Did::parse(commit.did()?).ok()?;
        Some(Self { did, rev, data: data.map(first_bytes), follows: Some(follows) })
    }
}

/// The first eight bytes of a CID's digest, filled with zeros where it is shorter.
fn first_bytes(cid: Cid) -> i64 {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(cid.digest()) {
        *to = *from;
    }
    i64::from_be_bytes(first)
}
