use std::time::Duration;

use chrono::{DateTime, Datelike, FixedOffset, SecondsFormat, TimeDelta, Utc};

use super::SyntaxError;

/// A moment, to the microsecond, <https://atproto.com/specs/lexicon#datetime>. Shown as RFC 3339 with `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// Takes the lexicon's `datetime`: RFC 3339 with a capital `T`, seconds and a zone (`-00:00` is none). The moment must have a year of
    /// four digits in UTC too.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let fail = |why| SyntaxError { kind: "datetime", why };
        if text.len() > 64 {
            return Err(fail("longer than 64 characters"));
        }
        if !has_shape(text.as_bytes()) {
            return Err(fail("must look like 2024-09-09T19:46:02.102Z, or with a zone such as +14:00"));
        }
        if text.ends_with("-00:00") {
            return Err(fail("-00:00 is not a zone"));
        }
        let moment = DateTime::<FixedOffset>::parse_from_rfc3339(text).map_err(|_| fail("no such date or time"))?;
        Self::from_micros(moment.timestamp_micros()).ok_or_else(|| fail("its year in UTC has no four digits"))
    }

    /// Cuts the nanoseconds that Postgres does not keep.
    pub fn from_utc(moment: DateTime<Utc>) -> Self {
        Self(DateTime::from_timestamp_micros(moment.timestamp_micros()).unwrap_or(moment))
    }

    /// Microseconds since 1970; `None` outside of the years 0 to 9999, which RFC 3339 and Postgres can both write.
    pub fn from_micros(micros: i64) -> Option<Self> {
        DateTime::from_timestamp_micros(micros).filter(|moment| (0..=9999).contains(&moment.year())).map(Self)
    }

    /// A later moment; the same one where there is no such time.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        let wait = TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
        Self(self.0.checked_add_signed(wait).unwrap_or(self.0))
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

/// Whether the text is made like `2024-09-09T19:46:02.102Z`. The calendar's reader alone would take more than that: a small
/// `t`, a space, a zone without a colon, the minus sign of typographers.
fn has_shape(text: &[u8]) -> bool {
    let like = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                sign => byte == sign,
            })
    };
    let Some((moment, rest)) = text.split_at_checked(19) else {
        return false;
    };
    if !like(moment, b"0000-00-00T00:00:00") {
        return false;
    }
    let zone = match rest.split_first() {
        Some((b'.', fraction)) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        _ => rest,
    };
    zone == b"Z" || like(zone, b"+00:00") || like(zone, b"-00:00")
}
