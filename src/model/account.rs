use super::UntrustedText;

/// Why an account is not active, by <https://atproto.com/specs/account>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountStatus {
    /// Gone for good.
    Deleted,
    /// Inactive by its owner, temporarily.
    Deactivated,
    /// Inactive by its host, temporarily.
    Suspended,
    /// Inactive by its host or a relay.
    Takendown,
    /// The relay is slowing it down; says nothing of visibility.
    Throttled,
    /// The relay lost track of it.
    Desynchronized,
    /// A word that the specification does not know.
    Other(UntrustedText),
}

impl AccountStatus {
    /// Takes the word of the event; any word is taken.
    pub fn parse(text: &str) -> Self {
        match text {
            "deleted" => Self::Deleted,
            "deactivated" => Self::Deactivated,
            "suspended" => Self::Suspended,
            "takendown" => Self::Takendown,
            "throttled" => Self::Throttled,
            "desynchronized" => Self::Desynchronized,
            other => Self::Other(UntrustedText::up_to(other, 64)),
        }
    }

    /// Whether it says that the account is to be hidden: slowed down or out of step are the troubles of the host that says so.
    pub fn hides(&self) -> bool {
        !matches!(self, Self::Throttled | Self::Desynchronized)
    }

    /// The word of the event.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Deleted => "deleted",
            Self::Deactivated => "deactivated",
            Self::Suspended => "suspended",
            Self::Takendown => "takendown",
            Self::Throttled => "throttled",
            Self::Desynchronized => "desynchronized",
            Self::Other(word) => word.as_str(),
        }
    }
}
