use std::fmt::{Display, Write};

/// One a line: neither a DID, a URI nor a CID holds a line break.
pub fn lines(items: impl Iterator<Item = impl Display>) -> String {
    let mut text = String::new();
    for item in items {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{item}");
    }
    text
}
