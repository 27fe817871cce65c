//! The one test binary: through the front door, with the real database.

mod private_postgres;
