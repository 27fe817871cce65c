//! Tracks, and pages of them.

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};

use super::shapes::{Track, TrackPage};
use crate::serve::http::{
    app::App,
    credentials::Credentials,
    error::{ApiError, Detail},
    pagination::split_page,
    params::{Parameters, actor_name, named_uri},
    transaction::ReadTransaction,
};
use crate::store::views::{
    Page,
    actors::{ActorName, find_actor},
    tracks::{
        PopularKey, find_track_id, list_of_artist, list_popular, list_popular_of_artist, list_recent, load_tracks,
    },
};

type Answer<T> = Result<Json<T>, ApiError>;

/// The tracks behind keys, as this viewer sees them.
pub async fn tracks_of(transaction: &mut ReadTransaction, ids: &[i64]) -> Result<Vec<Track>, ApiError> {
    let viewer = transaction.viewer_id();
    let views = load_tracks(transaction.connection(), ids, viewer).await?;
    Ok(views.into_iter().map(Track::from).collect())
}

/// The number in a path.
pub fn track_id(path: Result<Path<i64>, PathRejection>) -> Result<i64, ApiError> {
    path.map(|Path(id)| id).map_err(|_| ApiError::parameter("track_id", "must be a whole number of 64 bits"))
}

/// Tracks, newest or most liked first.
#[utoipa::path(get, path = "/tracks/", tag = "tracks", params(
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Tracks on a page, 50 unless given."),
    ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ("sort" = Option<String>, Query, description = "`recent` (unless given) or `popular`."),
    ("artist_did" = Option<String>, Query, description = "Of this artist alone: a DID or a handle."),
), responses(
    (status = 200, body = TrackPage),
    (status = 400, body = Detail, description = "The cursor is not one that was given for this query."),
    (status = 401, body = Detail, description = "A token was given and is not valid."),
    (status = 422, body = Detail, description = "A parameter breaks its rule."),
))]
pub async fn list_tracks(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Answer<TrackPage> {
    let artist = match parameters.one("artist_did") {
        Some(_) => Some(parameters.actor("artist_did")?),
        None => None,
    };
    match parameters.one("sort").unwrap_or("recent") {
        "recent" => answer_recent(&app, &credentials, &parameters, artist).await,
        "popular" => answer_popular(&app, &credentials, &parameters, artist).await,
        _ => Err(ApiError::parameter("sort", "must be recent or popular")),
    }
}

/// One artist's tracks, newest first. Empty for an actor without tracks or never seen.
#[utoipa::path(get, path = "/artists/{did}/tracks", tag = "artists", params(
    ("did" = String, Path, description = "A DID or a handle."),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Tracks on a page, 50 unless given."),
    ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
), responses(
    (status = 200, body = TrackPage),
    (status = 400, body = Detail, description = "The cursor is not one that was given for this query."),
    (status = 401, body = Detail, description = "A token was given and is not valid."),
    (status = 422, body = Detail, description = "A parameter breaks its rule."),
))]
pub async fn list_artist_tracks(
    State(app): State<App>,
    credentials: Credentials,
    Path(artist): Path<String>,
    parameters: Parameters,
) -> Answer<TrackPage> {
    let artist = actor_name(&artist).map_err(|why| ApiError::parameter("did", why))?;
    answer_recent(&app, &credentials, &parameters, Some(artist)).await
}

async fn answer_recent(
    app: &App,
    credentials: &Credentials,
    parameters: &Parameters,
    artist: Option<ActorName>,
) -> Answer<TrackPage> {
    let query = format!("tracks recent {}", artist.as_ref().map_or("", ActorName::as_str));
    let page = parameters.page(&app.cursors, &query)?;
    let mut transaction = app.read(credentials).await?;
    let keys = match artist {
        None => list_recent(transaction.connection(), &page).await?,
        Some(artist) => match find_actor(transaction.connection(), &artist).await? {
            Some(artist) => list_of_artist(transaction.connection(), artist.id, &page).await?,
            None => Vec::new(),
        },
    };
    let (keys, last) = split_page(keys, page.limit);
    let ids: Vec<i64> = keys.iter().map(|key| key.id).collect();
    let tracks = tracks_of(&mut transaction, &ids).await?;
    let next_cursor = last.map(|key| app.cursors.seal(&query, &key.place));
    Ok(Json(TrackPage { tracks, has_more: next_cursor.is_some(), next_cursor }))
}

async fn answer_popular(
    app: &App,
    credentials: &Credentials,
    parameters: &Parameters,
    artist: Option<ActorName>,
) -> Answer<TrackPage> {
    let query = format!("tracks popular {}", artist.as_ref().map_or("", ActorName::as_str));
    let page = parameters.page(&app.cursors, &query)?;
    let mut transaction = app.read(credentials).await?;
    let keys = match artist {
        None => popular_keys(&mut transaction, &page).await?,
        Some(artist) => match find_actor(transaction.connection(), &artist).await? {
            Some(artist) => list_popular_of_artist(transaction.connection(), artist.id, &page).await?,
            None => Vec::new(),
        },
    };
    let (keys, last) = split_page(keys, page.limit);
    let ids: Vec<i64> = keys.iter().map(|key| key.id).collect();
    let tracks = tracks_of(&mut transaction, &ids).await?;
    let next_cursor = last.map(|key| app.cursors.seal(&query, &key));
    Ok(Json(TrackPage { tracks, has_more: next_cursor.is_some(), next_cursor }))
}

/// The keys of a page among all tracks. Those whose record is not there are few, and are passed over.
async fn popular_keys(transaction: &mut ReadTransaction, page: &Page<PopularKey>) -> Result<Vec<PopularKey>, ApiError> {
    let wanted = usize::try_from(page.limit).unwrap_or_default();
    let mut stretch = Page { after: page.after, limit: 2 * page.limit };
    let mut keys = Vec::with_capacity(wanted);
    loop {
        let found = list_popular(transaction.connection(), &stretch).await?;
        keys.extend(found.iter().filter(|(_, is_there)| *is_there).map(|(key, _)| *key));
        let is_last = found.len() < usize::try_from(stretch.limit).unwrap_or_default();
        if is_last || keys.len() >= wanted {
            keys.truncate(wanted);
            return Ok(keys);
        }
        stretch = Page { after: found.last().map(|(key, _)| *key), limit: 4 * stretch.limit };
    }
}

/// A track by its number.
#[utoipa::path(get, path = "/tracks/{track_id}", tag = "tracks", params(
    ("track_id" = i64, Path, description = "The track's number."),
), responses(
    (status = 200, body = Track),
    (status = 401, body = Detail, description = "A token was given and is not valid."),
    (status = 404, body = Detail, description = "No such track, or its record is gone or has not come yet."),
    (status = 422, body = Detail, description = "Not a number."),
))]
pub async fn show_track(
    State(app): State<App>,
    credentials: Credentials,
    path: Result<Path<i64>, PathRejection>,
) -> Answer<Track> {
    let id = track_id(path)?;
    let mut transaction = app.read(&credentials).await?;
    show(&mut transaction, id).await
}

/// A track by its URI.
#[utoipa::path(get, path = "/tracks/by-uri", tag = "tracks", params(
    ("uri" = String, Query, description = "The AT-URI of the record, with a DID or a handle."),
), responses(
    (status = 200, body = Track),
    (status = 401, body = Detail, description = "A token was given and is not valid."),
    (status = 404, body = Detail, description = "No such track, or its record is gone or has not come yet."),
    (status = 422, body = Detail, description = "Not an AT-URI."),
))]
pub async fn show_track_by_uri(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Answer<Track> {
    let uri = named_uri(parameters.required("uri")?).map_err(|why| ApiError::parameter("uri", why))?;
    let mut transaction = app.read(&credentials).await?;
    let uri = transaction.resolve_uri(uri).await?.ok_or_else(|| ApiError::not_found("track"))?;
    let id = find_track_id(transaction.connection(), &uri).await?.ok_or_else(|| ApiError::not_found("track"))?;
    show(&mut transaction, id).await
}

async fn show(transaction: &mut ReadTransaction, id: i64) -> Answer<Track> {
    let track = tracks_of(transaction, &[id]).await?.pop();
    track.map(Json).ok_or_else(|| ApiError::not_found("track"))
}
