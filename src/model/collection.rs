use std::{
    fmt,
    ops::{Index, IndexMut},
};

use super::words::words;
use crate::atproto::{RecordKey, Tid};

words! {
    /// One of the record types that the index holds.
    pub enum Collection {
        /// `<namespace>.like`
        Like = "like",
        /// `<namespace>.list`
        List = "list",
        /// `<namespace>.track`
        Track = "track",
        /// `<namespace>.actor.profile`
        Profile = "profile",
        /// `<namespace>.comment`: what a test build adds.
        #[cfg(feature = "fifth-collection")]
        Comment = "comment",
    }
}

impl Collection {
    /// The part of the NSID behind the namespace.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Like | Self::List | Self::Track => self.as_str(),
            Self::Profile => "actor.profile",
            #[cfg(feature = "fifth-collection")]
            Self::Comment => self.as_str(),
        }
    }

    /// The form of record key that the collection's lexicon asks for.
    pub fn key_form(self) -> KeyForm {
        match self {
            Self::Like | Self::List | Self::Track => KeyForm::Tid,
            Self::Profile => KeyForm::SelfKey,
            #[cfg(feature = "fifth-collection")]
            Self::Comment => KeyForm::Tid,
        }
    }
}

/// A form of record key, <https://atproto.com/specs/record-key>. No record of ours can have a key of another form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// One record after the other.
    Tid,
    /// One record in a repo, at the key `self`.
    SelfKey,
}

impl KeyForm {
    /// Whether a key is of this form.
    pub fn fits(self, rkey: &RecordKey) -> bool {
        match self {
            Self::Tid => Tid::parse(rkey.as_str()).is_ok(),
            Self::SelfKey => rkey.as_str() == "self",
        }
    }
}

impl fmt::Display for KeyForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tid => "a TID",
            Self::SelfKey => "self",
        })
    }
}

/// One value for each collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectionMap<T>([T; Collection::ALL.len()]);

impl<T> CollectionMap<T> {
    /// Makes the value of each.
    pub fn from_fn(value: impl FnMut(Collection) -> T) -> Self {
        Self(Collection::ALL.map(value))
    }

    /// Makes the value of each, or gives the first error.
    pub fn try_from_fn<E>(value: impl FnMut(Collection) -> Result<T, E>) -> Result<Self, E> {
        let values = Collection::ALL.into_iter().map(value).collect::<Result<Vec<T>, E>>()?;
        let Ok(values) = values.try_into() else { unreachable!("there is one value of each") };
        Ok(Self(values))
    }

    /// Each with its value.
    pub fn iter(&self) -> impl Iterator<Item = (Collection, &T)> {
        Collection::ALL.into_iter().zip(&self.0)
    }

    /// Each with its value.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Collection, &mut T)> {
        Collection::ALL.into_iter().zip(&mut self.0)
    }
}

// The variants are numbered in the order of `ALL`, since one list makes both.
impl<T> Index<Collection> for CollectionMap<T> {
    type Output = T;

    fn index(&self, collection: Collection) -> &T {
        &self.0[collection as usize]
    }
}

impl<T> IndexMut<Collection> for CollectionMap<T> {
    fn index_mut(&mut self, collection: Collection) -> &mut T {
        &mut self.0[collection as usize]
    }
}
