//! Many questions at once: which of these tracks does the viewer like.

use std::{collections::HashSet, fmt::Write};

use axum::{
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    model::TrackId,
    serve::http::{
        app::App,
        connections::Connection,
        credentials::Credentials,
        error::{ApiError, Detail},
        responses::{ServerErrors, ViewerErrors},
    },
    store::views::likes::find_liked,
};

/// Track ids in one question at most.
const BATCH_MAX: usize = 500;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(answer_batch))
}

/// Many tracks at once.
#[derive(Debug, Deserialize, ToSchema)]
pub struct BatchQuestion {
    /// At most 500; repeats are answered once.
    #[schema(max_items = 500, value_type = Vec<i64>)]
    track_ids: Vec<WholeNumber>,
}

/// A number of 64 bits. `1.0` is one too: JSON Schema's integers are all numbers without a fraction.
#[derive(Debug)]
struct WholeNumber(i64);

impl<'de> Deserialize<'de> for WholeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(WholeNumberVisitor)
    }
}

struct WholeNumberVisitor;

impl Visitor<'_> for WholeNumberVisitor {
    type Value = WholeNumber;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a whole number of 64 bits")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<WholeNumber, E> {
        Ok(WholeNumber(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<WholeNumber, E> {
        let fitting = i64::try_from(number).map(WholeNumber);
        fitting.map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<WholeNumber, E> {
        // Written out, a number without a fraction has no point in it.
        let fitting = number.to_string().parse().map(WholeNumber);
        fitting.map_err(|_| E::invalid_value(Unexpected::Float(number), &self))
    }
}

/// Which of these tracks the viewer likes: every id asked for, in that order; ids that no track has are false.
#[utoipa::path(post, path = "/tracks/likes/batch", tag = "likes", request_body = BatchQuestion, responses(
    (status = 200, body = std::collections::BTreeMap<String, bool>, description = "For example `{\"1\":true,\"2\":false}`."),
    (status = 400, body = Detail, description = "The body is not JSON."),
    (status = 408, body = Detail, description = "The body did not come within the time limit."),
    (status = 413, body = Detail, description = "The body is above 64 KB."),
    (status = 422, body = Detail, description = "`track_ids` is missing, above 500, or holds what is no number of 64 bits."),
    ViewerErrors, ServerErrors
), security(("bearer" = []), ("session" = [])))]
async fn answer_batch(
    State(app): State<App>,
    credentials: Credentials,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let hash = credentials.require_hash()?;
    let BatchQuestion { track_ids } = read_json(body)?;
    if track_ids.len() > BATCH_MAX {
        return Err(ApiError::parameter("track_ids", format_args!("at most {BATCH_MAX}, not {}", track_ids.len())));
    }
    let track_ids: Vec<TrackId> = track_ids.into_iter().map(|id| id.0.into()).collect();
    let now = app.now();
    let ids = track_ids.as_slice();
    let ask = |mut connection: Connection| async move {
        let liked = find_liked(&mut connection, hash, now, ids).await;
        (connection, liked)
    };
    let liked = app.warm.ask(ask).await?;
    let mut liked = liked.ok_or_else(ApiError::bad_token)?;
    liked.sort_unstable();
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((json, batch_answer(&track_ids, &liked)).into_response())
}

/// The ids asked for as an object, in the order of their first mention. `liked` is sorted.
fn batch_answer(track_ids: &[TrackId], liked: &[TrackId]) -> String {
    let mut answer = String::with_capacity(2 + 16 * track_ids.len());
    let mut seen = HashSet::with_capacity(track_ids.len());
    answer.push('{');
    for id in track_ids {
        if !seen.insert(id) {
            continue;
        }
        let comma = if answer.len() > 1 { "," } else { "" };
        write!(answer, "{comma}\"{id}\":{}", liked.binary_search(id).is_ok())
            .expect("a string takes all that is written to it");
    }
    answer.push('}');
    answer
}

/// Reads a JSON body: 413 above the limit, 400 when it is not JSON, 422 naming the field when it is not what was asked for.
fn read_json<T: for<'de> Deserialize<'de>>(body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", "the body is above 64 KB")
        }
        _ => ApiError::new(StatusCode::BAD_REQUEST, "InvalidRequest", "the body broke off"),
    })?;
    serde_json::from_slice(&body).map_err(|why| {
        if why.is_data() {
            return ApiError::parameter("track_ids", format_args!("must be a list of whole numbers of 64 bits: {why}"));
        }
        ApiError::new(StatusCode::BAD_REQUEST, "InvalidRequest", format!("the body is not JSON: {why}"))
    })
}
