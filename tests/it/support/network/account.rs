use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::records::{Operation, Stored};

/// The most that the PDS gives in one page.
const PAGE_LIMIT: &str = "100";

/// An account on the PDS, signed in.
#[derive(Debug, Clone)]
pub struct Account {
    /// Who.
    pub did: String,
    /// What it is called now.
    pub handle: String,
    /// The session's token.
    pub access_jwt: String,
    pub(super) pds_url: String,
    pub(super) client: Client,
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

    /// Stores bytes beside the repo, and gives the blob that a record may name. Those that none names are removed.
    pub async fn upload_blob(&self, mime_type: &str, bytes: Vec<u8>) -> Value {
        let request = self.client.post(self.method("com.atproto.repo.uploadBlob")).bearer_auth(&self.access_jwt);
        send(request.header("content-type", mime_type).body(bytes)).await["blob"].clone()
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
pub(super) async fn send(request: RequestBuilder) -> Value {
    let (client, request) = request.build_split();
    let request = request.expect("the request is well formed");
    let what = format!("{} {}", request.method(), request.url());
    let response = client.execute(request).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let status = response.status();
    let body = response.text().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert_eq!(status, StatusCode::OK, "{what}: {body}");
    serde_json::from_str(&body).unwrap_or(Value::Null)
}

pub(super) fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}")).to_owned()
}
