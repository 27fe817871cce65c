//! A page of a list: one concept for every route that lists, REST and XRPC.
//!
//! A client asks by `limit` and `cursor`. A route says what it lists (its *query*: the route with all that filters it), reads
//! one row more than the page shows, and gives the rows back with the cursor of the page that follows, if one does. A page may end
//! early, even empty: where its rows have many bytes, or where many rows were passed over. Its cursor says whether it is the last.

use serde::{Deserialize, Serialize};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, SchemaType, Type},
    },
};

use super::{
    budget::Budget,
    cursor::{CursorPlace, Cursors},
    error::ApiError,
};
use crate::store::views::{Page, Stretch};

/// Rows on a page at most.
const LIMIT_MAX: i64 = 100;

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// Rows on a page.
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
    /// What the page before gave to ask for this one.
    #[param(max_length = 8192)]
    cursor: Option<String>,
}

/// Rows on a page: 1 to 100, 50 unless the client says otherwise.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Limit(i64);

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.map(Self).ok_or_else(|| format!("must be a whole number from 1 to {LIMIT_MAX}"))
    }
}

impl ToSchema for Limit {}
impl PartialSchema for Limit {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .minimum(Some(1))
            .maximum(Some(LIMIT_MAX))
            .default(Some(Self::default().0.into()))
            .into()
    }
}

impl PageParams {
    /// The page that the client asks for of `query`; refused when the cursor was given for another one.
    pub fn open<P: CursorPlace>(self, cursors: &Cursors, query: String) -> Result<Pager<'_, P>, ApiError> {
        let after = self.cursor.map(|cursor| cursors.open(&query, &cursor)).transpose()?;
        Ok(Pager { cursors, query, wanted: Page { after, limit: self.limit.0 + 1 } })
    }
}

/// A page while its rows are read.
#[derive(Debug)]
pub struct Pager<'a, P> {
    cursors: &'a Cursors,
    query: String,
    /// What to read: one row more than the page shows, which tells whether another page follows.
    pub wanted: Page<P>,
}

impl<P: CursorPlace> Pager<'_, P> {
    /// The rows to show, and the cursor of the page that follows them, if one does.
    pub fn close<R>(&self, mut rows: Vec<R>, place: impl FnOnce(&R) -> P) -> (Vec<R>, Option<String>) {
        let shown = usize::try_from(self.wanted.limit - 1).unwrap_or_default();
        let has_more = rows.len() > shown;
        rows.truncate(shown);
        let last = rows.last().filter(|_| has_more);
        let cursor = last.map(|last| self.cursors.seal(&self.query, &place(last)));
        (rows, cursor)
    }

    /// Likewise of a page that passes over rows: where it ended before it was full, the next goes on there.
    pub fn close_stretch<R>(&self, stretch: Stretch<R, P>, place: impl FnOnce(&R) -> P) -> (Vec<R>, Option<String>) {
        let rest = stretch.rest.map(|rest| self.cursors.seal(&self.query, &rest));
        let (rows, cursor) = self.close(stretch.rows, place);
        (rows, cursor.or(rest))
    }

    /// The rows of a closed page as they are shown: all of them with the cursor given, or as many as an answer has room for, with
    /// the cursor of the rest.
    pub fn fit<R, S: Serialize>(
        &self,
        rows: impl IntoIterator<Item = R>,
        cursor: Option<String>,
        place: impl Fn(&R) -> P,
        show: impl Fn(R) -> S,
    ) -> (Vec<S>, Option<String>) {
        let (mut shown, mut budget, mut last) = (Vec::new(), Budget::default(), None);
        for row in rows {
            let (place, row) = (place(&row), show(row));
            if !budget.takes(&row) {
                return (shown, last.map(|last| self.cursors.seal(&self.query, &last)));
            }
            shown.push(row);
            last = Some(place);
        }
        (shown, cursor)
    }
}
