//! Tracks: one, by number or by URI, and pages of them.

use std::collections::HashMap;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    artists::ArtistPath,
    shapes::{Track, TrackPage},
};
use crate::{
    model::TrackId,
    serve::http::{
        app::App,
        credentials::Credentials,
        cursor::CursorPlace,
        error::{ApiError, Detail},
        pagination::{PageParams, Pager},
        params::{ActorParam, TrackIdParam, UriParam},
        query::{Path, Query},
        responses::{AnyoneErrors, CursorErrors, ParameterErrors, ServerErrors},
        transaction::ReadTransaction,
    },
    store::views::{
        Stretch,
        actors::{ActorName, find_actor},
        tracks::{find_track_id, list_of_artist, list_popular, list_popular_of_artist, list_recent, load_tracks},
    },
};

type Answer<T> = Result<Json<T>, ApiError>;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_tracks))
        .route("/tracks", axum::routing::get(list_tracks))
        .routes(routes!(show_track))
        .routes(routes!(show_track_by_uri))
        .routes(routes!(list_artist_tracks))
}

/// The tracks behind keys, as this viewer sees them.
pub async fn tracks_of(transaction: &mut ReadTransaction, ids: &[TrackId]) -> Result<Vec<Track>, ApiError> {
    let viewer = transaction.viewer_id();
    let views = load_tracks(transaction.connection(), ids, viewer).await?;
    Ok(views.into_iter().map(Track::from).collect())
}

/// A page of tracks out of its keys: as many as fit.
pub async fn track_page<P: CursorPlace, K>(
    transaction: &mut ReadTransaction,
    pager: &Pager<'_, P>,
    keys: impl Into<Stretch<K, P>>,
    of: impl Fn(&K) -> (TrackId, P),
) -> Result<TrackPage, ApiError> {
    let (keys, cursor) = pager.close_stretch(keys.into(), |last| of(last).1);
    let ids: Vec<TrackId> = keys.iter().map(|key| of(key).0).collect();
    let tracks = tracks_of(transaction, &ids).await?;
    let mut tracks: HashMap<i64, Track> = tracks.into_iter().map(|track| (track.id, track)).collect();
    let rows = keys.iter().filter_map(|key| Some((key, tracks.remove(&of(key).0.number())?)));
    let (tracks, cursor) = pager.fit(rows, cursor, |(key, _)| of(key).1, |(_, track)| track);
    Ok(TrackPage::new(tracks, cursor))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListTracksQuery {
    /// Which tracks come first.
    #[serde(default)]
    #[param(inline)]
    sort: Sort,
    /// Of this artist alone: a DID or a handle.
    #[param(inline)]
    artist_did: Option<ActorParam>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(default = "recent")]
enum Sort {
    /// Newest first.
    #[default]
    Recent,
    /// Most liked first.
    Popular,
}

/// Tracks, newest or most liked first.
#[utoipa::path(get, path = "/tracks/", tag = "tracks", params(ListTracksQuery, PageParams), responses(
    (status = 200, body = TrackPage, description = "A page of tracks."),
    CursorErrors, AnyoneErrors, ParameterErrors, ServerErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn list_tracks(
    State(app): State<App>,
    credentials: Credentials,
    Query(ListTracksQuery { sort, artist_did }): Query<ListTracksQuery>,
    Query(page): Query<PageParams>,
) -> Answer<TrackPage> {
    let artist = artist_did.map(|artist| artist.0);
    match sort {
        Sort::Recent => list_newest(app, credentials, artist, page).await,
        Sort::Popular => list_most_liked(app, credentials, artist, page).await,
    }
}

/// One artist's tracks, newest first. Empty for an actor without tracks or never seen.
#[utoipa::path(get, path = "/artists/{did}/tracks", tag = "artists", params(ArtistPath, PageParams), responses(
    (status = 200, body = TrackPage, description = "A page of tracks."),
    CursorErrors, AnyoneErrors, ParameterErrors, ServerErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn list_artist_tracks(
    State(app): State<App>,
    credentials: Credentials,
    Path(ArtistPath { did }): Path<ArtistPath>,
    Query(page): Query<PageParams>,
) -> Answer<TrackPage> {
    list_newest(app, credentials, Some(did.0), page).await
}

async fn list_newest(
    app: App,
    credentials: Credentials,
    artist: Option<ActorName>,
    page: PageParams,
) -> Answer<TrackPage> {
    let query = format!("tracks recent {}", artist.as_ref().map_or("", ActorName::as_str));
    let pager = page.open(&app.cursors, query)?;
    let mut transaction = app.read(&credentials).await?;
    let keys = match artist {
        None => list_recent(transaction.connection(), &pager.wanted).await?,
        Some(artist) => match find_actor(transaction.connection(), &artist).await? {
            Some(artist) => list_of_artist(transaction.connection(), artist.id, &pager.wanted).await?,
            None => Vec::new(),
        },
    };
    track_page(&mut transaction, &pager, keys, |key| (key.id, key.place.clone())).await.map(Json)
}

async fn list_most_liked(
    app: App,
    credentials: Credentials,
    artist: Option<ActorName>,
    page: PageParams,
) -> Answer<TrackPage> {
    let query = format!("tracks popular {}", artist.as_ref().map_or("", ActorName::as_str));
    let pager = page.open(&app.cursors, query)?;
    let mut transaction = app.read(&credentials).await?;
    let keys = match artist {
        None => list_popular(transaction.connection(), &pager.wanted).await?,
        Some(artist) => match find_actor(transaction.connection(), &artist).await? {
            Some(artist) => list_popular_of_artist(transaction.connection(), artist.id, &pager.wanted).await?,
            None => Vec::new(),
        },
    };
    track_page(&mut transaction, &pager, keys, |key| (key.id, *key)).await.map(Json)
}

/// The track in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct TrackPath {
    /// The track's number.
    #[param(inline)]
    pub track_id: TrackIdParam,
}

/// A track by its number.
#[utoipa::path(get, path = "/tracks/{track_id}", tag = "tracks", params(TrackPath), responses(
    (status = 200, body = Track, description = "The track."),
    (status = 404, body = Detail, description = "No such track, or its record is gone or has not come yet."),
    AnyoneErrors, ParameterErrors, ServerErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn show_track(
    State(app): State<App>,
    credentials: Credentials,
    Path(TrackPath { track_id }): Path<TrackPath>,
) -> Answer<Track> {
    let mut transaction = app.read(&credentials).await?;
    show(&mut transaction, track_id.0).await
}

/// The record in a query.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UriQuery {
    /// The AT-URI of the record, with a DID or a handle.
    #[param(inline)]
    pub uri: UriParam,
}

/// A track by its URI.
#[utoipa::path(get, path = "/tracks/by-uri", tag = "tracks", params(UriQuery), responses(
    (status = 200, body = Track, description = "The track."),
    (status = 404, body = Detail, description = "No such track, or its record is gone or has not come yet."),
    AnyoneErrors, ParameterErrors, ServerErrors
), security((), ("bearer" = []), ("session" = [])))]
async fn show_track_by_uri(
    State(app): State<App>,
    credentials: Credentials,
    Query(UriQuery { uri }): Query<UriQuery>,
) -> Answer<Track> {
    let mut transaction = app.read(&credentials).await?;
    let uri = transaction.resolve_uri(uri.uri).await?.ok_or_else(|| ApiError::not_found("track"))?;
    let id = find_track_id(transaction.connection(), &uri).await?.ok_or_else(|| ApiError::not_found("track"))?;
    show(&mut transaction, id).await
}

async fn show(transaction: &mut ReadTransaction, id: TrackId) -> Answer<Track> {
    let track = tracks_of(transaction, &[id]).await?.pop();
    track.map(Json).ok_or_else(|| ApiError::not_found("track"))
}
