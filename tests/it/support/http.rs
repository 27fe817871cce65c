//! Plain HTTP, as the clients of the program speak it.

use std::{sync::Once, time::Duration};

use reqwest::Client;

/// A client whose requests end within `timeout`.
pub fn client(timeout: Duration) -> Client {
    static TLS: Once = Once::new();
    // A client is not made without a provider of cryptography, however plain its requests. If the program has chosen in this
    // process, that stands.
    TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Client::builder().timeout(timeout).build().expect("a client needs nothing but cryptography")
}
