use std::fmt;

use reqwest::Url;

/// Where a server is: scheme, host and perhaps port, without a path, a user or anything else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostUrl(Url);

/// The text names no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the address of a server: it must be https:// and a host")]
pub struct HostUrlError;

/// Longer names of hosts there are not.
const LENGTH_MAX: usize = 300;

impl HostUrl {
    /// Takes `https://host` (or `http://`), perhaps with a port and a slash at the end.
    pub fn parse(text: &str) -> Result<Self, HostUrlError> {
        if text.len() > LENGTH_MAX {
            return Err(HostUrlError);
        }
        let url: Url = text.parse().map_err(|_| HostUrlError)?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && (url.username(), url.password(), url.path()) == ("", None, "/")
            && (url.query(), url.fragment()) == (None, None);
        if is_plain { Ok(Self(url)) } else { Err(HostUrlError) }
    }

    /// The address of something on the server. `path` begins with a slash.
    pub fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(path);
        url
    }
}

/// Without a slash at the end.
impl fmt::Display for HostUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.origin().ascii_serialization())
    }
}

impl std::str::FromStr for HostUrl {
    type Err = HostUrlError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}
