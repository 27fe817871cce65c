use std::sync::Once;

/// Names the only provider of cryptography that is compiled in, which keeps rustls from panicking should a dependency bring
/// another. One that the process has chosen already stays.
pub(super) fn install_provider() {
    static TLS: Once = Once::new();
    TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
