use reqwest::header::{HOST, HeaderValue};

use super::{Client, DidDocument, DocumentError, HostError, HostUrl, Names, Request, Trust};
use crate::atproto::{Did, Handle};

/// Bytes of a DID document at most; honest ones have one or two thousand.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;
/// Bytes of `/.well-known/atproto-did` at most: a DID, and perhaps a line end.
const WELL_KNOWN_BYTES_MAX: usize = 4 << 10;
/// Top-level domains under which no handle may be, <https://atproto.com/specs/handle>. `.test` is for developers.
const RESERVED: [&str; 8] = ["alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion"];

/// Looks up DID documents, and whose a handle is.
#[derive(Debug, Clone)]
pub struct Directory {
    client: Client,
    names: Names,
    plc: HostUrl,
}

/// There is no document to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// No account has this DID.
    #[error("no account has this DID")]
    NotFound,
    /// The DID was given up for good.
    #[error("the DID was given up for good")]
    Tombstone,
    /// Of no method that we know, or not of the method's form.
    #[error("the DID cannot be looked up: {0}")]
    Unsupported(&'static str),
    /// What was served is no document, or that of another.
    #[error("what was served as DID document cannot be used: {0}")]
    Document(#[from] DocumentError),
    /// Nothing that can be used was served.
    #[error("the DID document cannot be had: {0}")]
    Host(#[from] HostError),
}

/// What a handle's domain says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandleAnswer {
    /// It is this DID's.
    Of(Did),
    /// It is no account's, or it names two at once.
    NoAccount,
    /// The domain gives no answer; it may give one later.
    Unknown(String),
}

impl Directory {
    /// Asks this PLC directory about `did:plc`, and other DIDs at the hosts that they name.
    pub fn new(client: Client, names: Names, plc: HostUrl) -> Self {
        Self { client, names, plc }
    }

    /// The client that all requests go through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The DID document, from the host that the DID's method says.
    pub async fn fetch_document(&self, did: &Did) -> Result<DidDocument, DirectoryError> {
        let mut request = self.request_of(did)?;
        request.bytes_max = DOCUMENT_BYTES_MAX;
        match self.client.fetch(request).await {
            Ok(bytes) => Ok(DidDocument::parse(did, &bytes)?),
            Err(HostError::Status { status: 404, .. }) => Err(DirectoryError::NotFound),
            Err(HostError::Status { status: 410, .. }) => Err(DirectoryError::Tombstone),
            Err(error) => Err(error.into()),
        }
    }

    fn request_of(&self, did: &Did) -> Result<Request, DirectoryError> {
        let unsupported = DirectoryError::Unsupported;
        if let Some(id) = did.as_str().strip_prefix("did:plc:") {
            let is_plc = id.len() == 24 && id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
            let id = is_plc.then_some(did).ok_or(unsupported("a did:plc has 24 letters of base32"))?;
            return Ok(Request::new(self.plc.join(&format!("/{id}")), Trust::Operator));
        }
        let id = did.as_str().strip_prefix("did:web:").ok_or(unsupported("neither did:plc nor did:web"))?;
        let is_local = self.client.allows_private_hosts();
        let (host, port) = match id.split_once("%3A") {
            Some((host, port)) if is_local => (host, Some(port)),
            Some(_) => return Err(unsupported("a did:web with a port is for development")),
            None => (id, None),
        };
        let has_path = host.contains([':', '%', '_']) || host.is_empty();
        if has_path || port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(unsupported("a did:web is the name of a host and no more"));
        }
        let scheme = if is_local && (host == "localhost" || port.is_some()) { "http" } else { "https" };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let url = HostUrl::parse(&format!("{scheme}://{host}{port}"));
        let url = url.map_err(|_| unsupported("a did:web is the name of a host and no more"))?;
        Ok(Request::new(url.join("/.well-known/did.json"), Trust::Untrusted))
    }

    /// Whose a handle is, by the TXT records of its domain or else by what the domain serves. With private hosts allowed,
    /// `pds` is asked about a handle under `.test`, which no name server knows.
    pub async fn fetch_handle_owner(&self, handle: &Handle, pds: Option<&HostUrl>) -> HandleAnswer {
        let top = handle.as_str().rsplit('.').next().unwrap_or_default();
        if RESERVED.contains(&top) {
            return HandleAnswer::NoAccount;
        }
        if top == "test" {
            return match pds.filter(|_| self.client.allows_private_hosts()) {
                Some(pds) => self.ask_domain(handle, Some(pds)).await,
                None => HandleAnswer::NoAccount,
            };
        }
        let by_name = self.names.find_texts(&format!("_atproto.{handle}")).await;
        match by_name.as_deref().map(owner_of_texts) {
            Ok(Some(answer)) => answer,
            Ok(None) => self.ask_domain(handle, None).await,
            // What the domain serves counts only where its name has no record, which is not known now.
            Err(error) => match self.ask_domain(handle, None).await {
                HandleAnswer::Of(did) => HandleAnswer::Of(did),
                _ => HandleAnswer::Unknown(error.to_string()),
            },
        }
    }

    /// `/.well-known/atproto-did` of the handle's domain, or of that domain on another server.
    async fn ask_domain(&self, handle: &Handle, server: Option<&HostUrl>) -> HandleAnswer {
        let Ok(url) = server.map_or_else(|| HostUrl::parse(&format!("https://{handle}")), |server| Ok(server.clone()))
        else {
            return HandleAnswer::NoAccount;
        };
        let mut request = Request::new(url.join("/.well-known/atproto-did"), Trust::Untrusted);
        request.bytes_max = WELL_KNOWN_BYTES_MAX;
        if server.is_some()
            && let Ok(name) = HeaderValue::try_from(handle.as_str())
        {
            request.headers.insert(HOST, name);
        }
        match self.client.fetch(request).await {
            Ok(bytes) => {
                let did = std::str::from_utf8(&bytes).ok().and_then(|text| Did::parse(text.trim()).ok());
                did.map_or(HandleAnswer::NoAccount, HandleAnswer::Of)
            }
            Err(error) if error.is_transient() => HandleAnswer::Unknown(error.to_string()),
            Err(_) => HandleAnswer::NoAccount,
        }
    }
}

/// None where no text is about a DID. Two DIDs at once are as good as none.
fn owner_of_texts(texts: &[String]) -> Option<HandleAnswer> {
    let mut dids: Vec<&str> = texts.iter().filter_map(|text| text.strip_prefix("did=")).map(str::trim).collect();
    dids.sort_unstable();
    dids.dedup();
    match dids.as_slice() {
        [] => None,
        [did] => Some(Did::parse(did).map_or(HandleAnswer::NoAccount, HandleAnswer::Of)),
        _ => Some(HandleAnswer::NoAccount),
    }
}

/// The host that serves a DID's document, where the DID itself names it.
pub fn document_host(did: &Did) -> Option<HostUrl> {
    let host = did.as_str().strip_prefix("did:web:")?;
    HostUrl::parse(&format!("https://{}", host.replacen("%3A", ":", 1))).ok()
}
