use std::{sync::Once, time::Duration};

use reqwest::redirect::Policy;

/// A client for the hosts of the sources, which the operator has named: HTTP/1.1 alone, with the roots that the program brings.
pub(super) fn client(time_max: Duration) -> reqwest::Result<reqwest::Client> {
    install_provider();
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .no_proxy()
        .connect_timeout(time_max)
        .redirect(Policy::none())
        .build()
}

/// Names the only provider of cryptography that is compiled in, which keeps rustls from panicking should a dependency bring
/// another. One that the process has chosen already stays.
fn install_provider() {
    static TLS: Once = Once::new();
    TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
