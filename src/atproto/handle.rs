use super::text_type;

text_type! {
    /// A handle in lower case, <https://atproto.com/specs/handle>.
    Handle, "handle", check
}

impl Handle {
    /// Takes a handle in any case, as people type it (also with a leading `@`), and keeps it in lower case.
    pub fn parse_any_case(text: &str) -> Result<Self, super::SyntaxError> {
        Self::parse(&text.strip_prefix('@').unwrap_or(text).to_ascii_lowercase())
    }
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.len() > 253 {
        return Err("longer than 253 characters");
    }
    let mut labels = 0;
    let mut last = "";
    for label in text.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("each part must be 1 to 63 characters");
        }
        if !label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err("only lower-case letters, digits, hyphens and dots");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a part must not start or end with a hyphen");
        }
        labels += 1;
        last = label;
    }
    if labels < 2 {
        return Err("needs at least two parts");
    }
    if !last.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err("the last part must start with a letter");
    }
    Ok(())
}
