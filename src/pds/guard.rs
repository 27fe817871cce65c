use std::{fmt, sync::Arc, time::Duration};

use reqwest::{Method, Url, header::LOCATION, redirect::Policy};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::{
    Answer, Download, Groups, HostError, HostUrl, Memory, Names, Request, Trust,
    address::may_connect,
    answer::{classify, count},
    groups::Grouping,
    hosts::{Admission, Health, Hosts, Places},
    resolver::GuardedResolver,
};
use crate::clock::Clock;

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// A connection without a request is kept open no longer than this.
/// Below it only 443 is asked: the others are mail servers', name servers' and the like, whose owners expect nothing of us. An
/// address does not name its scheme's own port.
const PORT_MIN: u16 = 1024;
const IDLE_MAX: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("plyr-likes/", env!("CARGO_PKG_VERSION"));

/// The one client for requests to untrusted hosts. Cheap to clone; all clones share their bounds.
///
/// A name's addresses are checked when it is looked up, and those are the ones connected to: a second look-up that says
/// something else leads nowhere. An address in place of a name is checked like one. Redirects are new requests. Each host
/// gets a few requests at a time, all of them together not many more; one that fails or throttles is not asked until its
/// backoff ends.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    /// For untrusted hosts.
    guarded: reqwest::Client,
    /// For the hosts of the settings, which may be anywhere.
    open: reqwest::Client,
    allow_private_hosts: bool,
    /// Requests to untrusted hosts.
    in_all: Arc<Semaphore>,
    hosts: Hosts,
    grouping: Grouping,
    memory: Memory,
}

/// How many requests at once, and whether hosts of this machine and its network are reached.
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions {
    /// Reaches private hosts, and speaks plain HTTP: for networks on a developer's machine.
    pub allow_private_hosts: bool,
    /// Requests at once to all untrusted hosts. Those of one registrable domain, or at one address, have three quarters of these.
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

impl ClientOptions {
    /// A group that had all of them would leave none for others.
    fn places(&self) -> Places {
        Places { per_host: self.per_host, per_group: (self.in_all * 3 / 4).max(self.per_host) }
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
                .dns_resolver(Arc::new(GuardedResolver { names: names.clone(), allow_private_hosts }))
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
            hosts: Hosts::new(options.places(), clock, jitter),
            grouping: Grouping::new(names.clone()),
            memory: Memory::default(),
        })))
    }

    /// Whether hosts of this machine and its network are reached.
    pub fn allows_private_hosts(&self) -> bool {
        self.0.allow_private_hosts
    }

    /// What a host shares limits by, however many names there are.
    pub async fn groups_of(&self, host: &HostUrl) -> Groups {
        self.0.grouping.find(&host.join("/")).await
    }

    /// The bytes that answers and what is kept of them may take together.
    pub fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// Asks, and reads the whole answer.
    pub async fn fetch(&self, request: Request) -> Result<Vec<u8>, HostError> {
        let mut download = self.open(request).await?;
        let (mut bytes, mut held) = (Vec::new(), self.0.memory.hold());
        while let Some(more) = download.next().await? {
            held.grow(more.len()).await.inspect_err(|error| count(error.outcome()))?;
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

    /// Sends, and reads the whole answer with its headers, whatever its status: for those who act on them.
    pub async fn send(&self, request: Request) -> Result<Answer, HostError> {
        let answered = async { self.follow(request).await?.into_answer().await }.await;
        count(answered.as_ref().map_or_else(HostError::outcome, |_| "ok"));
        answered
    }

    /// Asks, and gives the answer to be read piece by piece. It keeps its place among the requests until it is dropped.
    pub async fn open(&self, request: Request) -> Result<Download, HostError> {
        let opened = match self.follow(request).await {
            Ok(download) if download.response.status().is_success() => Ok(download),
            Ok(download) => Err(download.into_error().await),
            Err(error) => Err(error),
        };
        if let Err(error) = &opened {
            count(error.outcome());
        }
        opened
    }

    /// The first answer that is no redirect.
    async fn follow(&self, mut request: Request) -> Result<Download, HostError> {
        let mut deadline = None;
        for _ in 0..=REDIRECTS_MAX {
            self.check(&request.url, request.trust)?;
            let (admission, in_all) = self.admit(&request).await?;
            // Waiting for one's turn is not the host's fault; what comes after is.
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + request.time_max);
            let mut download = self.send_once(&request, deadline, admission, in_all).await?;
            if !download.response.status().is_redirection() {
                return Ok(download);
            }
            download.report(Health::Works);
            if request.method() != Method::GET {
                return Err(HostError::RedirectedPost);
            }
            let location = download.response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let location = location.ok_or(HostError::BadUrl("a redirect to nowhere"))?;
            request.url = request.url.join(location).map_err(|_| HostError::BadUrl("a redirect to nowhere"))?;
            request.trust = Trust::Untrusted;
            // They were for the first host alone.
            request.headers.clear();
        }
        Err(HostError::TooManyRedirects)
    }

    /// Waits for a free place among the requests: to the host, to those with which it shares limits, and to all. The hosts of the operator
    /// share with none.
    async fn admit(&self, request: &Request) -> Result<(Admission, Option<OwnedSemaphorePermit>), HostError> {
        let name = host_of(&request.url);
        if request.trust == Trust::Operator {
            return Ok((self.0.hosts.admit(&name, &[]).await?, None));
        }
        let groups = self.0.grouping.find(&request.url).await;
        let admission = self.0.hosts.admit(&name, &groups).await?;
        let in_all = self.0.in_all.clone().acquire_owned().await;
        let in_all = in_all.map_err(|_| HostError::Unreachable("the program stops".to_owned()))?;
        Ok((admission, Some(in_all)))
    }

    async fn send_once(
        &self,
        request: &Request,
        deadline: Instant,
        mut admission: Admission,
        in_all: Option<OwnedSemaphorePermit>,
    ) -> Result<Download, HostError> {
        let client = if request.trust == Trust::Operator { &self.0.open } else { &self.0.guarded };
        let mut sending = client.request(request.method(), request.url.clone()).headers(request.headers.clone());
        if let Some(body) = request.body() {
            sending = sending.body(body);
        }
        let error = match timeout_at(deadline, sending.send()).await {
            Ok(Ok(response)) => {
                let bytes_max = request.bytes_max;
                return Ok(Download { response, left: bytes_max, bytes_max, deadline, admission, _in_all: in_all });
            }
            Ok(Err(error)) => classify(&error),
            Err(_) => HostError::TimedOut,
        };
        admission.report(Health::Fails);
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
        if !is_free && url.port().is_some_and(|port| port < PORT_MIN) {
            return Err(HostError::BadUrl("its port is that of another service"));
        }
        let host = url.host_str().ok_or(HostError::BadUrl("it has no host"))?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
        if !is_free && literal.is_ok_and(|address| !may_connect(address)) {
            return Err(HostError::AddressRefused);
        }
        Ok(())
    }

    /// Sets the gauge of hosts whose circuit is open.
    pub fn measure(&self) {
        self.0.hosts.measure();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("allow_private_hosts", &self.0.allow_private_hosts).finish_non_exhaustive()
    }
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
