use super::{Did, Nsid, RecordKey, SyntaxError};

/// The address of one record, `at://did/collection/rkey`, <https://atproto.com/specs/at-uri-scheme>.
///
/// Only the form that can stay true is accepted: the authority is a DID (a handle can change hands), collection and
/// record key are there, and there is neither query nor fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AtUri {
    /// Whose repo.
    pub did: Did,
    /// Which collection.
    pub collection: Nsid,
    /// Which record.
    pub rkey: RecordKey,
}

impl AtUri {
    /// Takes the full address of one record; says which part is missing or wrong.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let fail = |why| SyntaxError { kind: "AT-URI", why };
        let rest = text.strip_prefix("at://").ok_or_else(|| fail("must start with at://"))?;
        let mut parts = rest.split('/');
        let authority = parts.next().unwrap_or_default();
        if !authority.starts_with("did:") {
            return Err(fail("the authority must be a DID"));
        }
        let (Some(collection), Some(rkey), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(fail("needs a DID, a collection and a record key"));
        };
        Ok(Self {
            did: Did::parse(authority).map_err(|_| fail("the DID is not valid"))?,
            collection: Nsid::parse(collection).map_err(|_| fail("the collection is not a valid NSID"))?,
            rkey: RecordKey::parse(rkey).map_err(|_| fail("the record key is not valid"))?,
        })
    }
}

impl std::fmt::Display for AtUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at://{}/{}/{}", self.did, self.collection, self.rkey)
    }
}

impl std::str::FromStr for AtUri {
    type Err = SyntaxError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}
