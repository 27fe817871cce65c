//! The identifiers of atproto, parsed once and valid from then on.
//!
//! Contract: a value of one of these types satisfies the syntax of <https://atproto.com/specs>. Code that holds one
//! need not check it again; code that reads one back from a table parses it again. Knows nothing of ours.

mod at_uri;
mod cid;
mod did;
mod handle;
mod nsid;
mod public_key;
mod record_key;
mod tid;
mod timestamp;

pub use at_uri::AtUri;
pub use cid::Cid;
pub use did::Did;
pub use handle::Handle;
pub use nsid::Nsid;
pub use public_key::PublicKey;
pub use record_key::RecordKey;
pub use tid::Tid;
pub use timestamp::Timestamp;

/// The text was not of the syntax asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: {why}")]
pub struct SyntaxError {
    /// What was asked for, in the specification's words.
    pub kind: &'static str,
    /// The rule that the text broke.
    pub why: &'static str,
}

/// A newtype over text whose only way in is `parse`.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:path) => {
        $crate::atproto::text_type! { $(#[$doc])* $name, $kind, $check, std::convert::identity }
    };
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:path, $canonical:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// Takes text that satisfies the specification's syntax, in its one spelling from then on; refuses any other with the rule it broke.
            pub fn parse(text: &str) -> Result<Self, $crate::atproto::SyntaxError> {
                match $check(text) {
                    Ok(()) => Ok(Self($canonical(std::borrow::Cow::from(text)).into())),
                    Err(why) => Err($crate::atproto::SyntaxError { kind: $kind, why }),
                }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::atproto::SyntaxError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
use text_type;
