//! A page of a list: its bounds, and how its rows are told from the one that says whether another page follows.

/// Rows on a page unless the client says otherwise.
pub const LIMIT_DEFAULT: i64 = 50;
/// Rows on a page at most.
pub const LIMIT_MAX: i64 = 100;

/// Keys for one page out of one row more than it shows, and the last key shown if another page follows.
pub fn split_page<K: Clone>(mut keys: Vec<K>, limit: i64) -> (Vec<K>, Option<K>) {
    let shown = usize::try_from(limit - 1).unwrap_or_default();
    let has_more = keys.len() > shown;
    keys.truncate(shown);
    let last = keys.last().filter(|_| has_more).cloned();
    (keys, last)
}
