//! How Jetstream v1 is asked: `GET /subscribe`.

use std::{fmt::Write as _, time::Duration};

use super::{Dialect, ForeignPosition, SourceSpec};
use crate::model::{Collection, Collections, Position};

/// A cursor that one Jetstream v1 host reads as unix microseconds. Made from a position of that very source and from
/// nothing else, and it makes the address that it is sent to: so no other number can be sent, nor this one elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JetstreamMicros<'s> {
    source: &'s SourceSpec,
    micros: i64,
}

impl<'s> JetstreamMicros<'s> {
    /// Long before anything that a host keeps, so it answers from its oldest. A newer server takes what is smaller for a
    /// sequence number.
    const OLDEST: i64 = 1_000_000_000_000_000;

    /// Takes a position of this source.
    pub fn of(source: &'s SourceSpec, position: &Position) -> Result<Self, ForeignPosition> {
        let micros = source.number(Dialect::JetstreamV1, position)?;
        Ok(Self { source, micros: micros.max(Self::OLDEST) })
    }

    /// Everything that the host still keeps.
    pub fn oldest(source: &'s SourceSpec) -> Self {
        Self { source, micros: Self::OLDEST }
    }

    /// The number that is sent.
    pub fn micros(self) -> i64 {
        self.micros
    }

    /// Earlier by `margin`: what one host stamps is not in order across repos, and differs between the machines behind
    /// one name.
    #[must_use]
    pub fn rewound(self, margin: Duration) -> Self {
        let margin_us = i64::try_from(margin.as_micros()).unwrap_or(i64::MAX);
        Self { micros: self.micros.saturating_sub(margin_us).max(Self::OLDEST), ..self }
    }

    /// The address to connect to.
    pub(super) fn url(self, collections: &Collections) -> String {
        let mut url = live_url(self.source, collections);
        let _ = write!(url, "&cursor={}", self.micros);
        url
    }
}

/// The address to connect to for what happens from now on. The exact NSIDs are asked for, since `fm.plyr.*` would also
/// bring `fm.plyr.stg.*`; and no limit of size, which would silently drop account events too.
pub(super) fn live_url(source: &SourceSpec, collections: &Collections) -> String {
    let mut url = format!("{}/subscribe", source.origin());
    for (place, collection) in Collection::ALL.into_iter().enumerate() {
        url.push(if place == 0 { '?' } else { '&' });
        url.push_str("wantedCollections=");
        url.push_str(collections.nsid(collection).as_str());
    }
    url
}
