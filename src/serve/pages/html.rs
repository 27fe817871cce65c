//! HTML by hand: a plain page, tables, and text that stays text. No script, nothing from elsewhere.

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, header},
    response::{Html, IntoResponse, Response},
};
use data_encoding::BASE64;
use sha2::{Digest, Sha256};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{text-align:left;padding:.3rem .8rem .3rem 0;\
border-bottom:1px solid #8884;vertical-align:top}code,pre{font:14px/1.4 ui-monospace,monospace}\
pre{overflow-x:auto}summary{cursor:pointer;padding:.3rem 0}:root{color-scheme:light dark}";

/// What a page may load and run: its own style, known by its hash, and nothing else.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = BASE64.encode(&Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("base64 is made of a header's characters")
});

/// A page as an answer.
pub fn answer(page: String) -> Response {
    ([(header::CONTENT_SECURITY_POLICY, POLICY.clone())], Html(page)).into_response()
}

/// The text as HTML shows it literally.
pub fn escape(text: &str) -> String {
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

/// A page with this title around `body`.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
        <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\
        <body><h1>{title}</h1>{body}</body></html>"
    )
}

/// A table of texts.
pub fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
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

/// A value or a dash.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// Seconds or a dash.
pub fn seconds(value: Option<f64>) -> String {
    or_dash(value.map(|value| format!("{value:.1} s")))
}
