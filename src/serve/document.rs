//! The OpenAPI document: what the routes declare of themselves, and what goes for all of them.

use serde_json::Value;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    http::{
        app::App,
        error::{Detail, XrpcError},
    },
    operation, pages, rest, xrpc,
};
use crate::model::Collections;

#[derive(OpenApi)]
#[openapi(
    info(title = "plyr-likes", description = "Who likes what on plyr.fm: an index of public records on atproto."),
    components(schemas(Detail, XrpcError)),
    modifiers(&Credentials)
)]
struct Document;

/// The two ways to say who asks.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let cookie = ApiKey::Cookie(ApiKeyValue::new("session_id"));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// Every route with its description; the XRPC methods are in the namespace of `collections`.
pub fn documented_routes(collections: &Collections) -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(rest::routes())
        .merge(xrpc::routes(collections.namespace()))
        .merge(operation::health::routes())
        .merge(pages::status::routes())
}

/// The document of what [`super::router`] answers.
pub fn openapi(collections: &Collections) -> Value {
    complete(documented_routes(collections).into_openapi())
}

/// The document with the one thing that utoipa has no word for: an optional parameter may be left empty.
pub fn complete(document: utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(document).expect("a document of strings and maps is JSON");
    let items = document["paths"].as_object_mut().into_iter().flatten();
    let operations = items.filter_map(|(_, item)| item.as_object_mut()).flatten();
    let parameters = operations.filter_map(|(_, operation)| operation.get_mut("parameters")?.as_array_mut()).flatten();
    for parameter in parameters.filter(|parameter| parameter["in"] == "query" && parameter["required"] == false) {
        parameter["allowEmptyValue"] = true.into();
    }
    document
}
