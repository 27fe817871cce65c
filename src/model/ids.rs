use std::fmt;

/// Gives a type to the numbers by which one table names its rows.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// The number in the table.
            pub fn number(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<i64> for $name {
            fn from(number: i64) -> Self {
                Self(number)
            }
        }
    };
}

id! {
    /// Stands for the DID of an actor.
    ActorId
}
id! {
    /// Stands for the URI of a track, from the first time that any record names it.
    TrackId
}
id! {
    /// Names a session, for the operator who revokes it.
    SessionId
}
id! {
    /// Stands for the CID that a like names as the version of its track.
    CidId
}
