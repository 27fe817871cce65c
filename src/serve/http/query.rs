//! Parameters of the path and of the query string as a type of the route's own, or refused with the parameter's name.
//!
//! A query parameter left empty counts as left out, of one given several times a single value takes the first, and names that
//! the route does not know are ignored.

use std::collections::BTreeMap;

use axum::{
    extract::{FromRequestParts, path::ErrorKind, rejection::PathRejection},
    http::request::Parts,
};
use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor,
        value::{MapAccessDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

use super::error::ApiError;

/// The query string.
#[derive(Debug)]
pub struct Query<T>(pub T);

/// The parameters in the path.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let pairs = pairs.map_err(|why| ApiError::parameter("query string", why))?.0;
        read(pairs.into_iter().filter(|(_, value)| !value.is_empty())).map(Self)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let pairs = axum::extract::Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let pairs = pairs.map_err(|rejection| not_text(&rejection))?.0;
        read(pairs.into_iter()).map(Self)
    }
}

/// A path whose percent-encoded bytes are not UTF-8: the only one that pairs of texts cannot take.
fn not_text(rejection: &PathRejection) -> ApiError {
    if let PathRejection::FailedToDeserializePathParams(failed) = rejection
        && let ErrorKind::InvalidUtf8InPathParam { key } = failed.kind()
    {
        return ApiError::parameter(key, "is not UTF-8");
    }
    ApiError::broken(rejection)
}

fn read<T: DeserializeOwned>(pairs: impl Iterator<Item = (String, String)>) -> Result<T, ApiError> {
    let mut values = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in pairs {
        values.entry(name).or_default().push(value);
    }
    let pairs = Pairs { unread: values.into_iter(), value: None };
    T::deserialize(MapAccessDeserializer::new(pairs)).map_err(|why| ApiError::parameter(&why.parameter, why.why))
}

/// Why a parameter is refused.
#[derive(Debug)]
struct Refused {
    parameter: String,
    why: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.parameter, self.why)
    }
}

impl std::error::Error for Refused {}

impl serde::de::Error for Refused {
    fn custom<T: std::fmt::Display>(why: T) -> Self {
        Self { parameter: String::new(), why: why.to_string() }
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("must be {}", expected.join(" or ")))
    }

    fn missing_field(parameter: &'static str) -> Self {
        Self { parameter: parameter.to_owned(), why: "is missing".to_owned() }
    }
}

/// Names with all their values.
struct Pairs {
    unread: std::collections::btree_map::IntoIter<String, Vec<String>>,
    value: Option<(String, Vec<String>)>,
}

impl<'de> MapAccess<'de> for Pairs {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        self.value = self.unread.next();
        let Some((name, _)) = &self.value else { return Ok(None) };
        seed.deserialize(name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let (name, values) = self.value.take().ok_or_else(|| Refused::custom("a value without a name"))?;
        seed.deserialize(Values(values)).map_err(|why| Refused { parameter: name, ..why })
    }
}

/// The values of one name: the first of them, or the list.
struct Values(Vec<String>);

impl Values {
    fn first(self) -> Result<String, Refused> {
        self.0.into_iter().next().ok_or_else(|| Refused::custom("is missing"))
    }
}

impl<'de> Deserializer<'de> for Values {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_string(self.first()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(SeqDeserializer::new(self.0.into_iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.first()?.into_deserializer().deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map struct identifier ignored_any
    }
}
