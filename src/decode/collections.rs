use crate::atproto::Nsid;

/// One of the four record types that the index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Collection {
    /// `<namespace>.like`
    Like,
    /// `<namespace>.list`
    List,
    /// `<namespace>.track`
    Track,
    /// `<namespace>.actor.profile`
    Profile,
}

impl Collection {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Like, Self::List, Self::Track, Self::Profile];

    /// The part of the NSID behind the namespace.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Like => "like",
            Self::List => "list",
            Self::Track => "track",
            Self::Profile => "actor.profile",
        }
    }
}

/// The NSIDs of our collections in the namespace that this index serves. Others, such as `fm.plyr.stg.like` beside
/// `fm.plyr.like`, are not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collections {
    namespace: Box<str>,
    nsids: [Nsid; 4],
}

impl Collections {
    /// The collections of a namespace such as `fm.plyr` or `fm.plyr.stg`.
    pub fn of_namespace(namespace: &str) -> Result<Self, crate::atproto::SyntaxError> {
        let nsid = |collection: Collection| Nsid::parse(&format!("{namespace}.{}", collection.suffix()));
        Ok(Self {
            namespace: namespace.into(),
            nsids: [
                nsid(Collection::Like)?,
                nsid(Collection::List)?,
                nsid(Collection::Track)?,
                nsid(Collection::Profile)?,
            ],
        })
    }

    /// The namespace, such as `fm.plyr`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The NSID of one of our collections.
    pub fn nsid(&self, collection: Collection) -> &Nsid {
        match collection {
            Collection::Like => &self.nsids[0],
            Collection::List => &self.nsids[1],
            Collection::Track => &self.nsids[2],
            Collection::Profile => &self.nsids[3],
        }
    }

    /// Which of ours an NSID is, if any.
    pub fn find(&self, nsid: &str) -> Option<Collection> {
        Collection::ALL.into_iter().find(|collection| self.nsid(*collection).as_str() == nsid)
    }
}
