use chrono::{DateTime, Utc};

use crate::atproto::{Tid, Timestamp};

/// What orders a record among others: its own time, unless that is later than the commit that wrote it.
pub fn sort_at(created_at: Timestamp, rev: Tid) -> DateTime<Utc> {
    created_at.min(rev.time()).utc()
}
