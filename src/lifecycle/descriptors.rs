use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files to what the system allows. Shells and containers often start programs with 1,024, which clients
/// alone can use up; the higher one is there to be taken.
pub(super) fn raise() {
    let allowed = getrlimit(Resource::Nofile);
    if allowed.current == allowed.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: allowed.maximum, ..allowed }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
