use super::text_type;

text_type! {
    /// A namespaced identifier of a lexicon, <https://atproto.com/specs/nsid>.
    Nsid, "NSID", check
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.len() > 317 {
        return Err("longer than 317 characters");
    }
    let Some((authority, name)) = text.rsplit_once('.') else {
        return Err("needs at least three parts");
    };
    if name.is_empty() || name.len() > 63 || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err("the name must be 1 to 63 letters and digits");
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("the name must start with a letter");
    }
    let mut parts = 0;
    for part in authority.split('.') {
        if part.is_empty() || part.len() > 63 {
            return Err("each part must be 1 to 63 characters");
        }
        if !part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err("only letters, digits, hyphens and dots");
        }
        if part.starts_with('-') || part.ends_with('-') {
            return Err("a part must not start or end with a hyphen");
        }
        parts += 1;
    }
    if parts < 2 {
        return Err("needs at least three parts");
    }
    if authority.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("must start with a letter");
    }
    Ok(())
}
