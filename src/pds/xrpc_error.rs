use super::HostError;

/// What was asked of a repo was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XrpcError {
    /// The server has no such repo.
    #[error("the server does not have the repo")]
    RepoNotFound,
    /// The server or its operator keeps the repo from the public.
    #[error("the repo was taken down")]
    RepoTakendown,
    /// Likewise, temporarily.
    #[error("the repo is suspended")]
    RepoSuspended,
    /// Its owner keeps it from the public.
    #[error("the repo is deactivated")]
    RepoDeactivated,
    /// The server does not offer what was asked of it.
    #[error("the server does not offer this")]
    NotOffered,
    /// The server has the repo, and no such record.
    #[error("there is no such record")]
    RecordNotFound,
    /// The answer is about something else than what was asked, or never ends.
    #[error("the answer is not one to what was asked: {0}")]
    BadAnswer(&'static str),
    /// Nothing that can be used was answered.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl XrpcError {
    /// Whether the server said that it does not give the repo to the public, which says nothing of what is in it.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::RepoNotFound | Self::RepoTakendown | Self::RepoSuspended | Self::RepoDeactivated)
    }

    pub(super) fn of_host(error: HostError) -> Self {
        let HostError::Status { status, error: Some(name), message } = &error else { return Self::Host(error) };
        if *status == 501 {
            return Self::NotOffered;
        }
        match name.as_str() {
            "RepoNotFound" => Self::RepoNotFound,
            "RepoTakendown" => Self::RepoTakendown,
            "RepoSuspended" => Self::RepoSuspended,
            "RepoDeactivated" => Self::RepoDeactivated,
            "RecordNotFound" => Self::RecordNotFound,
            "MethodNotImplemented" | "XRPCNotSupported" => Self::NotOffered,
            // The methods of `com.atproto.repo` have no name for it.
            "InvalidRequest" if message.as_deref().is_some_and(|text| text.starts_with("Could not find repo")) => {
                Self::RepoNotFound
            }
            // A PDS that would proxy the request, and has no service to proxy it to.
            "InvalidRequest" if message.as_deref().is_some_and(|text| text.starts_with("No service configured")) => {
                Self::NotOffered
            }
            _ => Self::Host(error),
        }
    }
}
