//! The OpenAPI document, for people.

use std::fmt::Write;

use serde_json::Value;

use super::html::{escape, page, table};

/// The OpenAPI document, for a person.
pub fn docs_page(document: &Value) -> String {
    let mut body = String::from("<p>The document itself: <a href=\"/openapi.json\">openapi.json</a>.</p>");
    let nothing = serde_json::Map::new();
    for (path, methods) in document["paths"].as_object().unwrap_or(&nothing) {
        for (method, operation) in methods.as_object().unwrap_or(&nothing) {
            body += &operation_section(path, method, operation);
        }
    }
    body += "<h2>Schemas</h2>";
    for (name, schema) in document["components"]["schemas"].as_object().unwrap_or(&nothing) {
        let _ = write!(
            body,
            "<details id=\"{0}\"><summary><code>{0}</code> {1}</summary><pre>{2}</pre></details>",
            escape(name),
            escape(schema["description"].as_str().unwrap_or_default()),
            escape(&serde_json::to_string_pretty(schema).unwrap_or_default())
        );
    }
    page("plyr-likes: what can be asked", &body)
}

fn operation_section(path: &str, method: &str, operation: &Value) -> String {
    let no_parameters = Vec::new();
    let parameters = operation["parameters"].as_array().unwrap_or(&no_parameters).iter().map(|parameter| {
        ["name", "in", "description"].map(|key| parameter[key].as_str().unwrap_or_default().to_owned()).to_vec()
    });
    let no_responses = serde_json::Map::new();
    let responses = operation["responses"].as_object().unwrap_or(&no_responses).iter().map(|(status, response)| {
        let schema = &response["content"]["application/json"]["schema"]["$ref"];
        let schema = schema.as_str().and_then(|link| link.rsplit('/').next()).unwrap_or_default();
        vec![status.clone(), schema.to_owned(), response["description"].as_str().unwrap_or_default().to_owned()]
    });
    let text = |key: &str| escape(operation[key].as_str().unwrap_or_default());
    format!(
        "<details><summary><code>{} {}</code> {}</summary><p>{}</p>{}{}</details>",
        method.to_uppercase(),
        escape(path),
        text("summary"),
        text("description"),
        table(&["parameter", "in", "meaning"], parameters),
        table(&["status", "schema", "meaning"], responses)
    )
}
