use std::ops::{Index, IndexMut};

use super::words::words;

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
    }
}

impl Collection {
    /// The part of the NSID behind the namespace.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Like | Self::List | Self::Track => self.as_str(),
            Self::Profile => "actor.profile",
        }
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
