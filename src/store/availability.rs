use sqlx::error::DatabaseError;

/// Whether the database is away or busy, so that the same may work later: a broken connection or a state of the server, as
/// opposed to a statement that it refuses.
pub fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_state_of_the_server(&code)),
        _ => false,
    }
}

/// By SQLSTATE class: 08 connection, 25 transaction state (read-only after a failover), 40 rolled back for another transaction,
/// 53 out of resources, 55 not in that state, 57 stopped by its operator, 58 a failure of its system.
fn is_state_of_the_server(code: &str) -> bool {
    ["08", "25", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class))
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
        assert!(is_state_of_the_server("57P03") && is_state_of_the_server("08006"), "it starts; the connection broke");
        assert!(
            !is_state_of_the_server("23505") && !is_state_of_the_server("28P01"),
            "a refused row; a wrong password"
        );
    }
}
