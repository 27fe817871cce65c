//! Plain pages for people: how it stands, and what can be asked. No script, nothing from elsewhere.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::Value;

use super::{
    operation::{RejectsExpired, Status},
    repos::{RepoDrift, ReposStatus},
};
use crate::atproto::Timestamp;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{text-align:left;padding:.3rem .8rem .3rem 0;\
border-bottom:1px solid #8884;vertical-align:top}code,pre{font:14px/1.4 ui-monospace,monospace}\
pre{overflow-x:auto}summary{cursor:pointer;padding:.3rem 0}:root{color-scheme:light dark}";

/// The text as HTML shows it literally.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
        <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\
        <body><h1>{title}</h1>{body}</body></html>"
    )
}

fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut html = String::from("<table><tr>");
    for head in heads {
        html.extend(["<th>", &escape(head), "</th>"]);
    }
    html += "</tr>";
    for row in rows {
        html += "<tr>";
        for cell in row {
            html.extend(["<td>", &escape(&cell), "</td>"]);
        }
        html += "</tr>";
    }
    html + "</table>"
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

fn seconds(value: Option<f64>) -> String {
    or_dash(value.map(|value| format!("{value:.1} s")))
}

/// How many there are of each reason, and since when.
fn by_reason(what: &str, counts: &BTreeMap<String, i64>, oldest_at: Option<Timestamp>) -> String {
    if counts.is_empty() {
        return "<p>None.</p>".to_owned();
    }
    let since = oldest_at.map(|at| format!("<p>The oldest was noticed at {at}.</p>")).unwrap_or_default();
    since + &table(&["reason", what], counts.iter().map(|(reason, count)| vec![reason.clone(), count.to_string()]))
}

/// How many repos have been read, and what was in them otherwise than in the index.
fn repos(status: &ReposStatus) -> String {
    let oldest =
        status.oldest_at.map(|at| format!(" The one not read for the longest was read at {at}.")).unwrap_or_default();
    let told = format!("<p>{} read, {} to be read, {} failed.{oldest}</p>", status.done, status.pending, status.failed);
    if status.drift.is_empty() {
        return told;
    }
    let row = |found: &RepoDrift| {
        let RepoDrift { cause, kind, host, count, last_at } = found;
        vec![cause.clone(), kind.clone(), host.clone(), count.to_string(), last_at.to_string()]
    };
    told + &table(&["read for", "difference", "host", "count", "last at"], status.drift.iter().map(row))
}

/// How it stands, for a person.
pub fn status_page(status: &Status, now: Timestamp) -> String {
    let lag = match status.lag_s {
        Some(lag_s) => format!("{lag_s:.1} s behind."),
        None => "No source has delivered anything yet.".to_owned(),
    };
    let sources = status.sources.iter().map(|source| {
        let state = source.state.as_deref().unwrap_or("–").to_owned();
        let state = match source.score.as_ref().filter(|score| score.incomplete_since.is_some()) {
            Some(score) => {
                format!("{state}: incomplete in {}, {} missed", score.incomplete_in.join(", "), score.missed)
            }
            None => state,
        };
        let state = source.reason.as_ref().map_or(state.clone(), |reason| format!("{state}: {reason}"));
        let position = format!("{} {}", or_dash(source.position), source.kind.as_deref().unwrap_or_default());
        vec![
            source.source.clone(),
            state,
            position,
            seconds(source.lag_s),
            or_dash(source.event_at),
            or_dash(source.ours_at),
        ]
    });
    let indexers = status.indexers.iter().map(|indexer| {
        vec![
            format!("{} {}", indexer.host, indexer.process),
            indexer.state.replace('_', " "),
            or_dash(indexer.working_since),
            indexer.alive_at.to_string(),
        ]
    });
    let counts = &status.counts;
    let rows = [("actors", counts.actors), ("tracks", counts.tracks), ("likes", counts.likes), ("lists", counts.lists)];
    let body = format!(
        "<p>Version {}, at {now}. {lag}</p><h2>Sources</h2>{}<h2>Indexers</h2>{}<h2>Index</h2><p>{}</p>{}<p>{} like counts checked,\
         {} were wrong. {} accounts hidden, {} to be asked about.</p>\
         <h2>Open gaps</h2>{}<h2>Repos</h2>{}<h2>Rejects</h2>{}{}",
        status.version,
        table(&["source", "state", "position", "lag", "last event", "last of ours"], sources),
        table(&["process", "state", "working since", "alive at"], indexers),
        if counts.exact { "Counted." } else { "Estimated by the database." },
        table(&["what", "rows"], rows.map(|(name, count)| vec![name.to_owned(), count.to_string()])),
        status.drift.checked,
        status.drift.drifted,
        status.accounts.hidden,
        status.accounts.checks,
        by_reason("gaps", &status.gaps.by_reason, status.gaps.oldest_at),
        repos(&status.repos),
        by_reason("rejects", &status.rejects, None),
        if status.rejects_expired.is_empty() {
            String::new()
        } else {
            let row = |(reason, expired): (&String, &RejectsExpired)| {
                vec![reason.clone(), expired.count.to_string(), expired.last_at.to_string()]
            };
            table(&["reason", "kept no longer", "last at"], status.rejects_expired.iter().map(row))
        },
    );
    page("plyr-likes: status", &body)
}

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
