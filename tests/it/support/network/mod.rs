//! A real PLC directory and a real PDS, and the accounts on it.
//!
//! One Node process makes the networks of the whole test run (`tests/network/network.mjs`); loading it takes seconds, a network
//! then takes milliseconds. Whatever the PDS refuses ends the test with what it answered. Knows nothing of our program, so the
//! bench includes this file too.

mod account;
mod maker;
mod records;

use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};

pub use account::Account;
use account::{send, text};
use maker::Maker;
pub use records::{Operation, Stored, like, list, track};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const PASSWORD: &str = "a password of a test";

/// A PDS with a PLC directory of its own. It goes away with the value.
pub struct Network {
    /// Such as `http://127.0.0.1:20123`.
    pub pds_url: String,
    /// Its PLC directory, likewise.
    pub plc_url: String,
    number: u64,
    admin_password: String,
    client: Client,
}

impl Network {
    /// A network whose PDS emits events as fast as any PDS does: up to a second late when idle.
    pub async fn start() -> Self {
        Self::create(false).await
    }

    /// A network whose PDS looks for new events every 5 ms: for measuring freshness.
    pub async fn start_fast() -> Self {
        Self::create(true).await
    }

    async fn create(fast: bool) -> Self {
        let answer = Maker::shared().ask(json!({"do": "create", "fast": fast})).await;
        let text = |field: &str| answer[field].as_str().expect("network.mjs names its addresses").to_owned();
        Self {
            pds_url: text("pds"),
            plc_url: text("plc"),
            number: answer["network"].as_u64().expect("network.mjs numbers its networks"),
            admin_password: text("admin_password"),
            client: super::http::client(REQUEST_TIMEOUT),
        }
    }

    /// The PDS as a source of ours.
    pub fn source(&self) -> String {
        format!("firehose+{}", self.websocket_url())
    }

    /// The PDS's address for websockets, without a path.
    pub fn websocket_url(&self) -> String {
        self.pds_url.replacen("http", "ws", 1)
    }

    /// Stops the PDS: connections are cut, its port refuses.
    pub async fn stop_pds(&self) {
        Maker::shared().ask(json!({"do": "stop", "network": self.number})).await;
    }

    /// Starts the PDS again on the repos, the events and the port that it had.
    pub async fn start_pds(&self) {
        Maker::shared().ask(json!({"do": "start", "network": self.number})).await;
    }

    /// Creates an account; `name` becomes the handle `name.test`.
    pub async fn account(&self, name: &str) -> Account {
        let handle = format!("{name}.test");
        let body = json!({"handle": handle, "email": format!("{name}@example.test"), "password": PASSWORD});
        let request = self.client.post(self.method("com.atproto.server.createAccount")).json(&body);
        let answer = send(request).await;
        Account {
            did: text(&answer, "did"),
            handle,
            access_jwt: text(&answer, "accessJwt"),
            pds_url: self.pds_url.clone(),
            client: self.client.clone(),
        }
    }

    /// Takes an account down, or lifts that, as the operator of the PDS.
    pub async fn takedown(&self, did: &str, applied: bool) {
        let takedown = if applied { json!({"applied": true, "ref": "test"}) } else { json!({"applied": false}) };
        let subject = json!({"$type": "com.atproto.admin.defs#repoRef", "did": did});
        self.administer("com.atproto.admin.updateSubjectStatus", json!({"subject": subject, "takedown": takedown}))
            .await;
    }

    /// Deletes an account for good. The operator does it: an owner would need the code that the PDS sends by mail.
    pub async fn delete_account(&self, account: Account) {
        self.administer("com.atproto.admin.deleteAccount", json!({"did": account.did})).await;
    }

    async fn administer(&self, nsid: &str, body: Value) {
        let request = self.client.post(self.method(nsid)).basic_auth("admin", Some(&self.admin_password)).json(&body);
        send(request).await;
    }

    fn method(&self, nsid: &str) -> String {
        format!("{}/xrpc/{nsid}", self.pds_url)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(Maker::shared().send(json!({"do": "destroy", "network": self.number})));
    }
}
