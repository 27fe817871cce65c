//! What a browser is shown.
//!
//! Contract: text from records and hosts is escaped; a page loads nothing from elsewhere. Does not ask the database itself.

pub mod docs;
mod html;
pub mod status;
