use super::text_type;

text_type! {
    /// The last part of a record's path, <https://atproto.com/specs/record-key>.
    RecordKey, "record key", check
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 512 {
        return Err("must be 1 to 512 characters");
    }
    if text == "." || text == ".." {
        return Err("must not be . or ..");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:~-".contains(&b)) {
        return Err("a character that a record key may not hold");
    }
    Ok(())
}
