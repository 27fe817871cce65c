use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};

use super::SyntaxError;

/// A moment, to the microsecond, <https://atproto.com/specs/lexicon#datetime>. Shown as RFC 3339 with `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// Takes the lexicon's `datetime`: RFC 3339 with a capital `T`, seconds and a zone (`-00:00` is none).
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let fail = |why| Err(SyntaxError { kind: "datetime", why });
        if text.len() > 64 {
            return fail("longer than 64 characters");
        }
        if text.as_bytes().get(10) != Some(&b'T') {
            return fail("needs a capital T between date and time");
        }
        if text.ends_with("-00:00") {
            return fail("-00:00 is not a zone");
        }
        if text.ends_with('z') {
            return fail("the Z must be a capital");
        }
        match DateTime::<FixedOffset>::parse_from_rfc3339(text) {
            Ok(moment) => Ok(Self::from_utc(moment.to_utc())),
            Err(_) => fail("not an RFC 3339 date and time with a zone"),
        }
    }

    /// Cuts the nanoseconds that Postgres does not keep.
    pub fn from_utc(moment: DateTime<Utc>) -> Self {
        Self(DateTime::from_timestamp_micros(moment.timestamp_micros()).unwrap_or(moment))
    }

    /// Microseconds since 1970; `None` where no calendar reaches.
    pub fn from_micros(micros: i64) -> Option<Self> {
        DateTime::from_timestamp_micros(micros).map(Self)
    }

    /// The moment as the database driver takes it.
    pub fn utc(self) -> DateTime<Utc> {
        self.0
    }

    /// Microseconds since 1970, negative before.
    pub fn micros(self) -> i64 {
        self.0.timestamp_micros()
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
