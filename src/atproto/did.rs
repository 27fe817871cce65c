use std::borrow::Cow;

use super::text_type;

text_type! {
    /// A decentralized identifier, <https://atproto.com/specs/did>. Any method is accepted: an actor of a method that
    /// no program resolves yet is still an actor. The colon before the port of a `did:web` is spelt `%3A`, and `%3a` read as that: they are
    /// one account.
    Did, "DID", check, canonical
}

/// Bytes that the specification allows at most.
const LENGTH_MAX: usize = 2048;

fn check(text: &str) -> Result<(), &'static str> {
    if text.len() > LENGTH_MAX {
        return Err("longer than 2048 characters");
    }
    let Some((method, id)) = text.strip_prefix("did:").and_then(|rest| rest.split_once(':')) else {
        return Err("must start with did: and a method");
    };
    if method.is_empty() || !method.bytes().all(|b| b.is_ascii_lowercase()) {
        return Err("the method must be lower-case letters");
    }
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:%-".contains(&b)) {
        return Err("a character that a DID may not hold");
    }
    if id.ends_with([':', '%']) {
        return Err("must not end with a colon or a percent sign");
    }
    Ok(())
}

fn canonical(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.starts_with("did:web:") && text.contains("%3a") { text.replace("%3a", "%3A").into() } else { text }
}
