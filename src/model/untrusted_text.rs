use std::fmt;

/// A text that an untrusted host or client has worded, on its way to the database: bounded, and without U+0000, which the type
/// `text` of Postgres cannot hold. Nothing else makes one, and the store takes no other for what comes from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UntrustedText(String);

impl UntrustedText {
    /// Characters that are kept.
    pub const CHARS_MAX: usize = 300;

    /// Writes the value out, with U+FFFD in place of U+0000, and cuts what is too long.
    pub fn of(value: &(impl fmt::Display + ?Sized)) -> Self {
        Self::up_to(value, Self::CHARS_MAX)
    }

    /// The same, cut to fewer characters.
    pub fn up_to(value: &(impl fmt::Display + ?Sized), chars_max: usize) -> Self {
        let text = value.to_string();
        Self(text.chars().map(|c| if c == '\0' { '\u{fffd}' } else { c }).take(chars_max).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UntrustedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
