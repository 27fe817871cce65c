use std::time::Duration;

use chrono::DateTime;

use super::{SyntaxError, Timestamp};

/// A timestamp identifier, <https://atproto.com/specs/tid>: 53 bits of microseconds since 1970 and 10 bits of clock id.
///
/// A repo's `rev` is one, and so is the key of a like. The syntax allows 64 bits, and they are stored as a signed integer: the order of the
/// numbers is the order of the texts, except that those that begin with c to j, of the years from 2255 on, come before all others. No
/// rev is one of them, since none is taken from the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tid(i64);

const ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";
const LENGTH: usize = 13;
/// How far a clock that writes revs may be ahead of ours.
const AHEAD_MAX: Duration = Duration::from_mins(5);
/// Values of the alphabet by byte, 255 where a byte is not of it.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut at: u8 = 0;
    while at < 32 {
        values[ALPHABET[at as usize] as usize] = at;
        at += 1;
    }
    values
};

impl Tid {
    /// Takes thirteen characters of base32-sortable that fit in 64 bits.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let fail = |why| Err(SyntaxError { kind: "TID", why });
        let bytes = text.as_bytes();
        if bytes.len() != LENGTH {
            return fail("must be 13 characters");
        }
        if VALUES[usize::from(bytes[0])] >= 16 {
            return fail("must start with one of 234567abcdefghij");
        }
        let mut number = 0_u64;
        for byte in bytes {
            let value = VALUES[usize::from(*byte)];
            if value == 255 {
                return fail("a character that is not of base32-sortable");
            }
            number = (number << 5) | u64::from(value);
        }
        Ok(Self(number.cast_signed()))
    }

    /// The number that a table holds.
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// The number: microseconds since 1970 shifted left by ten, and the clock id, without regard to its sign.
    pub fn number(self) -> i64 {
        self.0
    }

    /// The time that the writer's clock showed. Not to be trusted beyond ordering one repo's commits.
    pub fn time(self) -> Timestamp {
        // 54 bits of microseconds end in the year 2540, well inside chrono's range.
        let micros = (self.0.cast_unsigned() >> 10).cast_signed();
        Timestamp::from_utc(DateTime::from_timestamp_micros(micros).unwrap_or_default())
    }

    /// Whether a clock that wrote it was more than five minutes ahead of ours. Such a rev is never taken: none that its repo has
    /// later would be greater.
    pub fn is_from_future(self, now: Timestamp) -> bool {
        self.time() > now.plus(AHEAD_MAX)
    }

    /// The greatest that is not from the future.
    pub fn newest_possible(now: Timestamp) -> Self {
        Self::last_at(now.plus(AHEAD_MAX))
    }

    /// The last identifier of a moment; of moments before 1970 the first of all.
    pub fn last_at(moment: Timestamp) -> Self {
        Self((moment.micros().clamp(0, (1 << 53) - 1) << 10) | 0x3ff)
    }

    /// The identifier that sorts directly before this one; the first stays the first.
    #[must_use]
    pub fn before(self) -> Self {
        Self((self.0 - 1).max(0))
    }
}

impl std::fmt::Display for Tid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = (0..LENGTH)
            .rev()
            .map(|at| usize::try_from((self.0.cast_unsigned() >> (5 * at)) & 31).unwrap_or_default())
            .map(|value| char::from(ALPHABET[value]))
            .collect();
        f.write_str(&text)
    }
}

impl std::str::FromStr for Tid {
    type Err = SyntaxError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}
