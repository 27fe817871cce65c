use std::io::Write as _;

/// Writes to stdout; a reader who has gone away is no error.
pub(super) fn print(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).ok();
}
