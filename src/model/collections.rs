use super::collection::{Collection, CollectionMap};
use crate::atproto::{Nsid, SyntaxError};

/// The NSIDs of our collections in the namespace that this index serves. Others, such as `fm.plyr.stg.like` beside
/// `fm.plyr.like`, are not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collections {
    namespace: Box<str>,
    nsids: CollectionMap<Nsid>,
}

impl Collections {
    /// The collections of a namespace such as `fm.plyr` or `fm.plyr.stg`.
    pub fn of_namespace(namespace: &str) -> Result<Self, SyntaxError> {
        let nsids =
            CollectionMap::try_from_fn(|collection| Nsid::parse(&format!("{namespace}.{}", collection.suffix())))?;
        Ok(Self { namespace: namespace.into(), nsids })
    }

    /// The namespace, such as `fm.plyr`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The NSID of one of our collections.
    pub fn nsid(&self, collection: Collection) -> &Nsid {
        &self.nsids[collection]
    }

    /// Which of ours an NSID is, if any.
    pub fn find(&self, nsid: &str) -> Option<Collection> {
        self.nsids.iter().find(|(_, ours)| ours.as_str() == nsid).map(|(collection, _)| collection)
    }
}
