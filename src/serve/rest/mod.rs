//! The REST routes, for the frontend and for programs of ours.
//!
//! Contract: each file declares its routes once, with their parameters, errors and place in the OpenAPI document. JSON names
//! are those of the contract; errors are `{"detail"}`. Does not know XRPC.

#![expect(unused_qualifications, reason = "utoipa writes the whole path of a type of parameters")]

mod artists;
mod batch;
mod liked;
mod likes;
mod lists;
mod shapes;
mod tracks;
mod writes;

use utoipa_axum::router::OpenApiRouter;

use super::http::app::App;

/// All REST routes.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(tracks::routes())
        .merge(batch::routes())
        .merge(liked::routes())
        .merge(likes::routes())
        .merge(artists::routes())
        .merge(lists::routes())
        .merge(writes::routes())
}
