//! What routes are made of: the shared state, parameters, pages of lists, cursors, errors, and what surrounds each request.
//!
//! Contract: what a client sends is parsed here once, into types that cannot be wrong, or refused with the parameter's name.
//! Does not know any route.

#![expect(unused_qualifications, reason = "utoipa writes the whole path of a type of parameters")]

pub mod answers;
pub mod app;
pub mod body;
pub mod budget;
pub mod connections;
pub mod credentials;
pub mod cursor;
pub mod error;
pub mod headers;
pub mod observe;
pub mod pagination;
pub mod params;
pub mod query;
pub mod recent;
pub mod responses;
pub mod settings;
pub mod token;
pub mod transaction;
