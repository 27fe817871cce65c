//! The data model of atproto, <https://atproto.com/specs/data-model>, read from either of its encodings.

use std::{borrow::Cow, cell::Cell, fmt};

use data_encoding::BASE64_NOPAD;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::atproto::Cid;

/// How deep lists and maps may lie in each other. Both encodings stop here, so that a record is read or refused alike
/// whichever way it came, and long before the stack ends.
const DEPTH_MAX: usize = 100;

/// How many values one record or message may hold. A list has 2,500 of them, a commit 2,000; and a sender must not turn each
/// of its bytes into a value of ours.
const VALUES_MAX: u32 = 100_000;

/// A value that borrows its texts and bytes from what it was read from, where they needed no unescaping.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Boxed, because it is three times as large as the others.
    Link(Box<Cid>),
    List(Vec<Value<'a>>),
    Map(Map<'a>),
}

/// The entries in the order they were written. JSON allows a name twice: the last one counts, as everywhere else.
pub(super) type Map<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

/// Why something is not of the data model.
#[derive(Debug, thiserror::Error)]
pub(super) enum ValueError {
    /// Larger or deeper than any honest one.
    #[error("{0}")]
    Bound(&'static str),
    /// Not of the encoding, or something that the data model has not.
    #[error("{0}")]
    Encoding(String),
}

const TOO_DEEP: &str = "nested too deep";
const TOO_MANY: &str = "more values than any honest sender needs";

impl ValueError {
    /// Our own words come back through the readers' errors, which can carry nothing but words.
    fn of(error: impl fmt::Display) -> Self {
        let detail = error.to_string();
        let bound = [TOO_DEEP, TOO_MANY].into_iter().find(|bound| detail.contains(bound));
        bound.map_or(Self::Encoding(detail), Self::Bound)
    }
}

impl<'a> Value<'a> {
    /// Reads JSON. Links and bytes stay the maps that stand for them.
    pub(super) fn from_json(bytes: &'a [u8]) -> Result<Self, ValueError> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = read(&mut reader).map_err(ValueError::of)?;
        reader.end().map_err(ValueError::of)?;
        Ok(value)
    }

    /// Reads one DAG-CBOR object and nothing behind it.
    pub(super) fn from_cbor(bytes: &'a [u8]) -> Result<Self, ValueError> {
        let mut reader = serde_ipld_dagcbor::de::Deserializer::from_slice(bytes);
        let value = read(&mut reader).map_err(ValueError::of)?;
        reader.end().map_err(ValueError::of)?;
        Ok(value)
    }

    /// Reads two DAG-CBOR objects, one behind the other, and nothing behind them.
    pub(super) fn pair_from_cbor(bytes: &'a [u8]) -> Result<(Self, Self), ValueError> {
        let mut reader = serde_ipld_dagcbor::de::Deserializer::from_slice(bytes);
        let first = read(&mut reader).map_err(ValueError::of)?;
        let second = read(&mut reader).map_err(ValueError::of)?;
        reader.end().map_err(ValueError::of)?;
        Ok((first, second))
    }

    /// The JSON form: links as `{"$link"}`, bytes as `{"$bytes"}`.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Boolean(value) => (*value).into(),
            Self::Integer(value) => (*value).into(),
            Self::Text(text) => text.as_ref().into(),
            Self::Bytes(bytes) => serde_json::json!({ "$bytes": BASE64_NOPAD.encode(bytes) }),
            Self::Link(cid) => serde_json::json!({ "$link": cid.to_string() }),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(entries) => entries.iter().map(|(name, value)| (name.as_ref(), value.to_json())).collect(),
        }
    }

    /// Whether a text or a name anywhere inside holds U+0000.
    pub(super) fn holds_nul(&self) -> bool {
        match self {
            Self::Text(text) => text.contains('\0'),
            Self::List(items) => items.iter().any(Self::holds_nul),
            Self::Map(entries) => entries.iter().any(|(name, value)| name.contains('\0') || value.holds_nul()),
            _ => false,
        }
    }

    /// The field of a map; `None` where it is absent, or this is no map.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => find(entries, name),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub(super) fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub(super) fn as_boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// What a link names, in either encoding's form of a link.
    pub(super) fn as_link(&self) -> Option<Cid> {
        match self {
            Self::Link(cid) => Some(**cid),
            Self::Map(entries) => match entries.as_slice() {
                [(name, Self::Text(text))] if name == "$link" => Cid::parse(text).ok(),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The value of a name; the last, if it is there twice.
pub(super) fn find<'v, 'a>(entries: &'v Map<'a>, name: &str) -> Option<&'v Value<'a>> {
    entries.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn read<'de, D: Deserializer<'de>>(reader: D) -> Result<Value<'de>, D::Error> {
    Seed { depth: 0, room: &Cell::new(VALUES_MAX) }.deserialize(reader)
}

/// Reads a value that lies `depth` lists and maps deep, while there is room for more values.
#[derive(Clone, Copy)]
struct Seed<'s> {
    depth: usize,
    room: &'s Cell<u32>,
}

impl Seed<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth < DEPTH_MAX { Ok(Self { depth: self.depth + 1, ..self }) } else { Err(E::custom(TOO_DEEP)) }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        let room = self.room.get().checked_sub(1).ok_or_else(|| D::Error::custom(TOO_MANY))?;
        self.room.set(room);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the data model")
    }

    fn visit_unit<E: Error>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value<'de>, E> {
        i64::try_from(value).map(Value::Integer).map_err(|_| E::custom("an integer beyond 64 bits with a sign"))
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Value<'de>, E> {
        Err(E::custom("an integer beyond 64 bits with a sign"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value<'de>, E> {
        Err(E::custom("a number that is not an integer of 64 bits"))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Value<'de>, E> {
        Ok(Value::Bytes(Cow::Borrowed(bytes)))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Value<'de>, E> {
        Ok(Value::Bytes(Cow::Owned(bytes.to_owned())))
    }

    /// The only newtype that either reader gives is a link.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_bytes(LinkVisitor)
    }

    // No room is made ahead of the elements: the length is the sender's word.
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value<'de>, A::Error> {
        let deeper = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(deeper)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value<'de>, A::Error> {
        let deeper = self.deeper()?;
        let mut entries = Vec::new();
        while let Some(name) = access.next_key_seed(NameSeed)? {
            entries.push((name, access.next_value_seed(deeper)?));
        }
        Ok(Value::Map(entries))
    }
}

struct LinkVisitor;

impl<'de> Visitor<'de> for LinkVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a content identifier")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Value<'de>, E> {
        Cid::from_bytes(bytes).map(|cid| Value::Link(Box::new(cid))).map_err(E::custom)
    }
}

/// Reads a name in a map, borrowed where it can be.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}
