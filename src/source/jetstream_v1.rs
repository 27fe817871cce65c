//! How Jetstream v1 is asked: `GET /subscribe`.

use std::{fmt::Write as _, time::Duration};

use super::{ForeignPosition, Position, PositionKind};
use crate::decode::{Collection, Collections};

/// A cursor that a Jetstream v1 host reads as unix microseconds. Made from a position of that number space and from
/// nothing else, so that no other number can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JetstreamMicros(i64);

impl JetstreamMicros {
    /// Long before anything that a host keeps, so it answers from its oldest. A newer server takes what is smaller for a
    /// sequence number.
    pub const OLDEST: Self = Self(1_000_000_000_000_000);

    /// Takes a position of this number space.
    pub fn of(position: Position) -> Result<Self, ForeignPosition> {
        let micros = position.in_space(PositionKind::JetstreamV1Micros)?;
        Ok(Self(micros).max(Self::OLDEST))
    }

    /// The number that is sent.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Earlier by `margin`: what one host stamps is not in order across repos, and differs between the machines behind
    /// one name.
    #[must_use]
    pub fn rewound(self, margin: Duration) -> Self {
        let margin_us = i64::try_from(margin.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(margin_us)).max(Self::OLDEST)
    }
}

/// The address to connect to. The exact NSIDs are asked for, since `fm.plyr.*` would also bring `fm.plyr.stg.*`; and no
/// limit of size, which would silently drop account events too.
pub(super) fn url(origin: &str, collections: &Collections, cursor: Option<JetstreamMicros>) -> String {
    let mut url = format!("{origin}/subscribe");
    for (place, collection) in Collection::ALL.into_iter().enumerate() {
        url.push(if place == 0 { '?' } else { '&' });
        url.push_str("wantedCollections=");
        url.push_str(collections.nsid(collection).as_str());
    }
    if let Some(JetstreamMicros(micros)) = cursor {
        let _ = write!(url, "&cursor={micros}");
    }
    url
}
