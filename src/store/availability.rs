use sqlx::error::DatabaseError;

/// Whether the database is away and may come back by itself: the connection failed, or the server is starting, stopping or out of
/// resources. A refused statement, a wrong password or a row that cannot be read is none of these.
pub fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        // Class 08: the connection broke; 53: no memory, disk or connection is left; 57P: the server starts or stops; 58: its system
        // failed, as by an input or output error.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            let of = |class: &str| code.starts_with(class);
            of("08") || of("53") || of("57P") || of("58")
        }),
        _ => false,
    }
}

/// Whether a statement named a table that is not there.
pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(DatabaseError::code).is_some_and(|code| code == "42P01")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn an_answer_of_the_database_is_no_outage() {
        assert!(is_unavailable(&sqlx::Error::Io(io::ErrorKind::ConnectionRefused.into())));
        assert!(is_unavailable(&sqlx::Error::PoolTimedOut));
        assert!(!is_unavailable(&sqlx::Error::RowNotFound));
        assert!(!is_unavailable(&sqlx::Error::PoolClosed));
    }
}
