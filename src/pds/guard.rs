use std::{error::Error as _, fmt, sync::Arc, time::Duration};

use metrics::{counter, gauge};
use reqwest::{
    StatusCode, Url,
    header::{HeaderName, HeaderValue, LOCATION},
    redirect::Policy,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tokio_tungstenite::tungstenite::Bytes;

use super::{
    HostError, Names,
    address::is_public,
    gate::{Gate, Refused},
    hosts::{Hosts, Pass, Verdict},
    patience,
};
use crate::clock::Clock;

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// A connection without a request is kept open no longer than this.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Bytes of an error's body that are read, for its name.
const ERROR_BYTES_MAX: usize = 16 << 10;
const MESSAGE_CHARS_MAX: usize = 200;
const USER_AGENT: &str = concat!("plyr-likes/", env!("CARGO_PKG_VERSION"));

/// The one client for requests to hosts that strangers name. Cheap to clone; all clones share their bounds.
///
/// A name's addresses are checked when it is looked up, and those are the ones connected to: a second look-up that says
/// something else leads nowhere. An address in place of a name is checked like one. Redirects are new requests. Each host
/// gets a few requests at a time, all of them together not many more; one that fails or asks for patience is left alone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    /// For hosts that strangers name.
    guarded: reqwest::Client,
    /// For the hosts of the settings, which may be anywhere.
    open: reqwest::Client,
    allow_private_hosts: bool,
    in_all: Arc<Semaphore>,
    hosts: Hosts,
    clock: Clock,
    jitter: Jitter,
}

type Jitter = Box<dyn Fn() -> f64 + Send + Sync>;

/// How many requests at once, and whether strangers may name hosts of this machine and its network.
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions {
    /// Lets strangers name private hosts, and speaks plain HTTP: for networks on a developer's machine.
    pub allow_private_hosts: bool,
    /// Requests at once.
    pub in_all: usize,
    /// Requests at once to one host.
    pub per_host: usize,
    /// How long a connection may take to be made.
    pub connect_max: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { allow_private_hosts: false, in_all: 32, per_host: 4, connect_max: Duration::from_secs(5) }
    }
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS.
    #[error("TLS cannot be had: {0}")]
    Tls(#[from] rustls::Error),
    /// HTTP.
    #[error("HTTP cannot be had: {0}")]
    Http(#[from] reqwest::Error),
}

/// Who named the host of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A DID document or a handle, which anyone may write.
    Untrusted,
    /// The settings. Where such a host redirects to is untrusted.
    Operator,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is asked for.
    pub url: Url,
    /// Who named its host.
    pub trust: Trust,
    /// Bytes that the answer may have.
    pub bytes_max: usize,
    /// How long all of it may take, redirects and body included, from the moment when it is sent.
    pub time_max: Duration,
    /// Asks for another host than the URL's, as a proxy would. Only for networks on a developer's machine.
    pub host: Option<HeaderValue>,
}

impl Request {
    /// A request for something small.
    pub fn new(url: Url, trust: Trust) -> Self {
        Self { url, trust, bytes_max: 1 << 20, time_max: Duration::from_secs(15), host: None }
    }
}

impl Client {
    /// A client. `jitter` gives numbers from 0 to 1, so that many clients do not come back to a host together.
    pub fn new(
        options: ClientOptions,
        names: &Names,
        clock: Clock,
        jitter: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let tls = tls()?;
        let build = |allow_private_hosts| {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .dns_resolver(Arc::new(Gate { names: names.clone(), allow_private_hosts }))
                // A proxy would look the name up by itself.
                .no_proxy()
                .redirect(Policy::none())
                .referer(false)
                .user_agent(USER_AGENT)
                .connect_timeout(options.connect_max)
                .pool_max_idle_per_host(options.per_host)
                .pool_idle_timeout(IDLE_MAX)
                .build()
                .map_err(ClientError::Http)
        };
        Ok(Self(Arc::new(Inner {
            guarded: build(options.allow_private_hosts)?,
            open: build(true)?,
            allow_private_hosts: options.allow_private_hosts,
            in_all: Arc::new(Semaphore::new(options.in_all)),
            hosts: Hosts::new(options.per_host),
            clock,
            jitter: Box::new(jitter),
        })))
    }

    /// Whether strangers may name hosts of this machine and its network.
    pub fn allows_private_hosts(&self) -> bool {
        self.0.allow_private_hosts
    }

    /// Asks, and reads the whole answer.
    pub async fn fetch(&self, request: Request) -> Result<Vec<u8>, HostError> {
        let mut download = self.open(request).await?;
        let mut bytes = Vec::new();
        while let Some(more) = download.next().await? {
            bytes.extend_from_slice(&more);
        }
        Ok(bytes)
    }

    /// Asks, and reads the whole answer as JSON.
    pub async fn fetch_json<T: serde::de::DeserializeOwned>(&self, request: Request) -> Result<T, HostError> {
        let bytes = self.fetch(request).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            count("not_as_expected");
            HostError::NotAsExpected(error.to_string())
        })
    }

    /// Asks, and gives the answer to be read piece by piece. It keeps its place among the requests until it is dropped.
    pub async fn open(&self, request: Request) -> Result<Download, HostError> {
        let opened = self.follow(request).await;
        if let Err(error) = &opened {
            count(error.outcome());
        }
        opened
    }

    async fn follow(&self, request: Request) -> Result<Download, HostError> {
        let Request { mut url, mut trust, bytes_max, time_max, mut host } = request;
        let mut deadline = None;
        for _ in 0..=REDIRECTS_MAX {
            self.check(&url, trust)?;
            let mut pass = self.0.hosts.admit(&host_of(&url), || self.0.clock.now()).await?;
            let in_all = self.0.in_all.clone().acquire_owned().await;
            let in_all = in_all.map_err(|_| HostError::Unreachable("the program stops".to_owned()))?;
            // Waiting for one's turn is not the host's fault; what comes after is.
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + time_max);
            let response = self.send(&url, (trust, host.take()), deadline, &mut pass).await?;
            let mut download = Download {
                client: self.clone(),
                response,
                left: bytes_max,
                bytes_max,
                deadline,
                pass,
                _in_all: in_all,
            };
            let status = download.response.status();
            if status.is_success() {
                return Ok(download);
            }
            if !status.is_redirection() {
                return Err(download.into_error().await);
            }
            download.tell(Verdict::Works);
            let location = download.response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let location = location.ok_or(HostError::BadUrl("a redirect to nowhere"))?;
            url = url.join(location).map_err(|_| HostError::BadUrl("a redirect to nowhere"))?;
            trust = Trust::Untrusted;
        }
        Err(HostError::TooManyRedirects)
    }

    async fn send(
        &self,
        url: &Url,
        (trust, host): (Trust, Option<HeaderValue>),
        deadline: Instant,
        pass: &mut Pass,
    ) -> Result<reqwest::Response, HostError> {
        let client = if trust == Trust::Operator { &self.0.open } else { &self.0.guarded };
        let mut request = client.get(url.clone());
        if let Some(host) = host {
            request = request.header(HeaderName::from_static("host"), host);
        }
        let error = match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => classify(&error),
            Err(_) => HostError::TimedOut,
        };
        self.tell(pass, Verdict::Fails);
        Err(error)
    }

    /// What can be said of an address without looking its name up.
    fn check(&self, url: &Url, trust: Trust) -> Result<(), HostError> {
        let is_free = self.0.allow_private_hosts || trust == Trust::Operator;
        match url.scheme() {
            "https" => {}
            "http" if is_free => {}
            _ => return Err(HostError::BadUrl("it is not https")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(HostError::BadUrl("it names a user"));
        }
        let host = url.host_str().ok_or(HostError::BadUrl("it has no host"))?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
        if !is_free && literal.is_ok_and(|address| !is_public(address)) {
            return Err(HostError::AddressRefused);
        }
        Ok(())
    }

    fn tell(&self, pass: &mut Pass, verdict: Verdict) -> Option<crate::atproto::Timestamp> {
        let until = pass.tell(verdict, self.0.clock.now(), (self.0.jitter)());
        if verdict != Verdict::Works {
            self.measure();
        }
        until
    }

    /// Tells how many hosts are left alone because they fail.
    pub fn measure(&self) {
        gauge!("plyr_hosts_broken").set(u32::try_from(self.0.hosts.count_broken()).unwrap_or(u32::MAX));
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("allow_private_hosts", &self.0.allow_private_hosts).finish_non_exhaustive()
    }
}

/// An answer that is being read.
#[derive(Debug)]
pub struct Download {
    client: Client,
    response: reqwest::Response,
    left: usize,
    bytes_max: usize,
    deadline: Instant,
    pass: Pass,
    _in_all: OwnedSemaphorePermit,
}

impl Download {
    /// The next piece, none at the end. After an error there is nothing more to come.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HostError> {
        let piece = self.read().await;
        match &piece {
            Ok(Some(_)) => {}
            Ok(None) => {
                self.tell(Verdict::Works);
                count("ok");
            }
            Err(error) => {
                let is_away = matches!(error, HostError::Unreachable(_) | HostError::TimedOut);
                self.tell(if is_away { Verdict::Fails } else { Verdict::Works });
                count(error.outcome());
            }
        }
        piece
    }

    async fn read(&mut self) -> Result<Option<Bytes>, HostError> {
        let too_large = HostError::TooLarge { bytes_max: self.bytes_max };
        // What the host says of the length is believed when it is too much: then nothing need be read.
        if self.response.content_length().is_some_and(|length| length > self.left as u64) {
            return Err(too_large);
        }
        let piece = match timeout_at(self.deadline, self.response.chunk()).await {
            Ok(piece) => piece.map_err(|error| classify(&error))?,
            Err(_) => return Err(HostError::TimedOut),
        };
        if let Some(piece) = &piece {
            self.left = self.left.checked_sub(piece.len()).ok_or(too_large)?;
        }
        Ok(piece)
    }

    fn tell(&mut self, verdict: Verdict) -> Option<crate::atproto::Timestamp> {
        self.client.tell(&mut self.pass, verdict)
    }

    /// What an answer says that is no success.
    async fn into_error(mut self) -> HostError {
        let status = self.response.status();
        let asked = patience::asked(self.response.headers(), self.client.0.clock.now());
        let throttles =
            status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE && asked.is_some();
        if throttles {
            let until = self.tell(Verdict::Throttles(asked)).unwrap_or_else(|| self.client.0.clock.now());
            return HostError::Throttled { until };
        }
        self.tell(if status.is_server_error() { Verdict::Fails } else { Verdict::Works });
        let mut body = Vec::new();
        (self.left, self.bytes_max) = (ERROR_BYTES_MAX, ERROR_BYTES_MAX);
        while let Ok(Some(piece)) = self.read().await {
            body.extend_from_slice(&piece);
        }
        let Named { error, message } = serde_json::from_slice(&body).unwrap_or_default();
        let message = message.map(|text| text.chars().take(MESSAGE_CHARS_MAX).collect());
        HostError::Status { status: status.as_u16(), error, message }
    }
}

/// An error of XRPC.
#[derive(Default, serde::Deserialize)]
struct Named {
    error: Option<String>,
    message: Option<String>,
}

/// An answer that was read to its end counts as `ok` even if it then turns out to be no JSON, which counts once more.
fn count(outcome: &'static str) {
    counter!("plyr_hosts_requests_total", "outcome" => outcome).increment(1);
}

fn classify(error: &reqwest::Error) -> HostError {
    if error.is_timeout() {
        return HostError::TimedOut;
    }
    let mut deepest = error.source();
    let mut text = error.to_string();
    while let Some(cause) = deepest {
        if cause.is::<Refused>() {
            return HostError::AddressRefused;
        }
        text = cause.to_string();
        deepest = cause.source();
    }
    HostError::Unreachable(text.chars().take(MESSAGE_CHARS_MAX).collect())
}

/// Whose requests are counted together: scheme, host and port.
fn host_of(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// TLS with the roots that the program brings, so that it works without any on the machine.
fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
