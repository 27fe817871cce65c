use std::{fmt, net::IpAddr, sync::Arc};

use futures_util::future::BoxFuture;
use hickory_resolver::{TokioResolver, proto::rr::RData};

/// Looks names up: of hosts, and the texts that confirm handles.
///
/// Comes in as an argument, so that a test needs no name server and can play a wicked one.
#[derive(Clone)]
pub struct Names {
    addresses: Arc<dyn Fn(String) -> Looking<IpAddr> + Send + Sync>,
    texts: Arc<dyn Fn(String) -> Looking<String> + Send + Sync>,
}

/// A look-up under way.
pub type Looking<T> = BoxFuture<'static, Result<Vec<T>, NameError>>;

/// The name servers gave no answer: whether the name exists is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name cannot be looked up: {0}")]
pub struct NameError(pub String);

/// Texts behind one name at most; one that confirms a handle is alone or nearly so.
const TEXTS_MAX: usize = 32;

impl Names {
    /// Asks the name servers that this machine asks; hosts also as its own files have them.
    pub fn system() -> Self {
        let resolver = Arc::new(std::sync::OnceLock::new());
        Self::of(
            |host| Box::pin(async move { look_up_addresses(&host).await }),
            move |name| {
                let resolver = resolver.clone();
                Box::pin(async move {
                    let resolver = resolver.get_or_init(make_resolver).as_ref().map_err(Clone::clone)?;
                    look_up_texts(resolver, name).await
                })
            },
        )
    }

    /// Asks these functions: the addresses of a host; the TXT records of a name, none where it has none.
    pub fn of(
        addresses: impl Fn(String) -> Looking<IpAddr> + Send + Sync + 'static,
        texts: impl Fn(String) -> Looking<String> + Send + Sync + 'static,
    ) -> Self {
        Self { addresses: Arc::new(addresses), texts: Arc::new(texts) }
    }

    /// The addresses of a host.
    pub(super) async fn find_addresses(&self, host: &str) -> Result<Vec<IpAddr>, NameError> {
        (self.addresses)(host.to_owned()).await
    }

    /// The TXT records of a name.
    pub(super) async fn find_texts(&self, name: &str) -> Result<Vec<String>, NameError> {
        (self.texts)(name.to_owned()).await
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

fn make_resolver() -> Result<TokioResolver, NameError> {
    let resolver = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
    resolver.map_err(|error| NameError(error.to_string()))
}

async fn look_up_addresses(host: &str) -> Result<Vec<IpAddr>, NameError> {
    let found = tokio::net::lookup_host((host, 0)).await.map_err(|error| NameError(error.to_string()))?;
    Ok(found.map(|address| address.ip()).collect())
}

async fn look_up_texts(resolver: &TokioResolver, name: String) -> Result<Vec<String>, NameError> {
    // The dot keeps the search list of this machine out of it.
    let found = match resolver.txt_lookup(format!("{name}.")).await {
        Ok(found) => found,
        Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
        Err(error) => return Err(NameError(error.to_string())),
    };
    let texts = found.answers().iter().filter_map(|record| match &record.data {
        RData::TXT(text) => Some(text.txt_data.concat()),
        _ => None,
    });
    Ok(texts.take(TEXTS_MAX).filter_map(|text| String::from_utf8(text).ok()).collect())
}
