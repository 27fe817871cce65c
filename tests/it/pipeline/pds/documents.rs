//! DID documents, those that lie among them, and whose a handle is.

use plyr_likes::{
    atproto::{Did, Handle},
    pds::{DidDocument, Directory, DirectoryError, DocumentError, HandleAnswer, HostError, HostUrl, Names},
};
use serde_json::{Value, json};

use super::{ManualClock, client, names, open_client, options};
use crate::support::host::{Host, Reply};

const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
const KEY: &str = "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";

fn did() -> Did {
    Did::parse(DID).unwrap()
}

fn handle(text: &str) -> Handle {
    Handle::parse(text).unwrap()
}

/// As PLC serves it.
fn document() -> Value {
    json!({
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": DID,
        "alsoKnownAs": ["at://Alice.example"],
        "verificationMethod": [
            {"id": format!("{DID}#other"), "type": "Ed25519", "controller": DID},
            {"id": format!("{DID}#atproto"), "type": "Multikey", "controller": DID, "publicKeyMultibase": KEY},
        ],
        "service": [
            {"id": "#labeler", "type": "AtprotoLabeler", "serviceEndpoint": {"an": "object"}},
            {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://pds.example/"},
        ],
    })
}

fn parse(document: &Value) -> Result<DidDocument, DocumentError> {
    DidDocument::parse(&did(), document.to_string().as_bytes())
}

#[test]
fn a_document_as_it_is_served() {
    let read = parse(&document()).unwrap();
    assert_eq!(read.pds.unwrap().to_string(), "https://pds.example");
    assert_eq!(read.signing_key.unwrap().to_string(), KEY);
    assert_eq!(read.handle, Some(handle("alice.example")));
    let bare = parse(&json!({"id": DID})).unwrap();
    assert_eq!((bare.pds, bare.signing_key, bare.handle), (None, None, None));
}

#[test]
fn documents_that_are_refused() {
    let with = |pointer: &str, value: Value| {
        let mut document = document();
        *document.pointer_mut(pointer).unwrap() = value;
        parse(&document)
    };
    assert_eq!(with("/id", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa".into()), Err(DocumentError::OfAnother));
    assert_eq!(with("/id", json!([DID])), Err(DocumentError::NoDocument));
    assert_eq!(with("/service", json!({"id": "#atproto_pds"})), Err(DocumentError::NoDocument));
    for endpoint in [
        json!(7),
        json!(["https://pds.example"]),
        json!("pds.example"),
        json!("ftp://pds.example"),
        json!("https://pds.example/path"),
        json!("https://pds.example?a=b"),
        json!("https://me@pds.example"),
        json!("https://"),
        json!(format!("https://{}.example", "a".repeat(400))),
        Value::Null,
    ] {
        assert_eq!(with("/service/1/serviceEndpoint", endpoint.clone()), Err(DocumentError::BadPds), "{endpoint}");
    }
    assert_eq!(with("/service/1/type", "AtprotoLabeler".into()), Err(DocumentError::BadPds));
    assert_eq!(with("/verificationMethod/1/type", "JsonWebKey2020".into()), Err(DocumentError::BadKey));
    for key in [json!(KEY[1..]), json!("z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"), json!(null), json!({})] {
        assert_eq!(with("/verificationMethod/1/publicKeyMultibase", key.clone()), Err(DocumentError::BadKey), "{key}");
    }
    for claimed in [json!([]), json!(["https://alice.example"]), json!([1, null]), json!(["at://handle.invalid"])] {
        assert_eq!(with("/alsoKnownAs", claimed.clone()).unwrap().handle, None, "{claimed}");
    }
    for text in ["", "null", "[]", "{}", "\"did\"", "{\"id\":"] {
        assert_eq!(DidDocument::parse(&did(), text.as_bytes()), Err(DocumentError::NoDocument), "{text}");
    }
}

fn directory_at(host: &Host, names: Names) -> Directory {
    Directory::new(open_client(&ManualClock::new()), names, HostUrl::parse(&host.url()).unwrap())
}

async fn fetched(reply: Reply) -> Result<DidDocument, DirectoryError> {
    let host = Host::start(move |_| reply.clone()).await;
    let outcome = directory_at(&host, names(&[], &[])).fetch_document(&did()).await;
    assert_eq!(host.asked()[0].target, format!("/{DID}"));
    outcome
}

#[tokio::test]
async fn a8_a_directory_that_lies() {
    assert!(fetched(Reply::ok(document().to_string())).await.is_ok());
    let other = document().to_string().replace(DID, "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa");
    assert_eq!(fetched(Reply::ok(other)).await, Err(DirectoryError::Document(DocumentError::OfAnother)));
    assert_eq!(fetched(Reply::ok("{}")).await, Err(DirectoryError::Document(DocumentError::NoDocument)));
    assert_eq!(fetched(Reply::status(404)).await, Err(DirectoryError::NotFound));
    assert_eq!(fetched(Reply::status(410)).await, Err(DirectoryError::Tombstone));
    let large = fetched(Reply::ok(vec![b' '; 1 << 20])).await;
    assert!(matches!(large, Err(DirectoryError::Host(HostError::TooLarge { .. }))), "{large:?}");
    let failing = fetched(Reply::status(500)).await;
    assert!(matches!(failing, Err(DirectoryError::Host(HostError::Status { status: 500, .. }))), "{failing:?}");
}

#[tokio::test]
async fn dids_that_no_host_is_asked_about() {
    let host = Host::start(|_| Reply::ok("{}")).await;
    let directory = directory_at(&host, names(&[], &[]));
    for text in [
        "did:plc:short",
        "did:plc:ewvi7nxzyoun6zhxrhs64oi1",
        "did:plc:..%2F..%2Fexport",
        "did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc",
        "did:web:example.com:user:alice",
        "did:web:example.com%2Fpath",
        "did:web:example.com%3A443%3A1",
        "did:web:example.com%3Aport",
    ] {
        let outcome = directory.fetch_document(&Did::parse(text).unwrap()).await;
        assert!(matches!(outcome, Err(DirectoryError::Unsupported(_))), "{text}: {outcome:?}");
    }
    assert_eq!(host.connections(), 0);
    // A port is for developers.
    let guarded = Directory::new(
        client(options(false), &names(&[], &[]), &ManualClock::new()),
        names(&[], &[]),
        HostUrl::parse(&host.url()).unwrap(),
    );
    let outcome = guarded.fetch_document(&Did::parse("did:web:example.com%3A8080").unwrap()).await;
    assert!(matches!(outcome, Err(DirectoryError::Unsupported(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_did_web_on_this_machine() {
    let host = Host::start(|asked| {
        assert_eq!(asked.target, "/.well-known/did.json");
        let did = format!("did:web:{}", asked.host.replace(':', "%3A"));
        Reply::ok(document().to_string().replace(DID, &did))
    })
    .await;
    let did = Did::parse(&format!("did:web:127.0.0.1%3A{}", host.address.port())).unwrap();
    let document = directory_at(&host, names(&[], &[])).fetch_document(&did).await.unwrap();
    assert_eq!((document.did, document.handle), (did, Some(handle("alice.example"))));
}

#[tokio::test]
async fn a8_whose_a_handle_is() {
    let other = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
    let (this, that) = (format!("did={DID}"), format!("did={other}"));
    let texts: [(&str, &[&str]); 6] = [
        ("_atproto.one.example.com", &["v=spf1", &this]),
        ("_atproto.twice.example.com", &[&this, &this]),
        ("_atproto.two.example.com", &[&this, &that]),
        ("_atproto.other.example.com", &[&that]),
        ("_atproto.broken.example.com", &["did=absent"]),
        ("_atproto.failing.example.com", &["SERVFAIL"]),
    ];
    let host = Host::start(|_| Reply::status(500)).await;
    let directory = directory_at(&host, names(&[], &texts));
    let owner = async |name: &str| directory.fetch_handle_owner(&handle(name), None).await;
    assert_eq!(owner("one.example.com").await, HandleAnswer::Of(did()));
    assert_eq!(owner("twice.example.com").await, HandleAnswer::Of(did()));
    assert_eq!(owner("two.example.com").await, HandleAnswer::NoAccount, "two DIDs are none");
    assert_eq!(owner("other.example.com").await, HandleAnswer::Of(Did::parse(other).unwrap()));
    assert_eq!(owner("broken.example.com").await, HandleAnswer::NoAccount);
    let failing = owner("failing.example.com").await;
    assert!(matches!(failing, HandleAnswer::Unknown(_)), "{failing:?}");
    let absent = owner("absent.example.com").await;
    assert!(matches!(absent, HandleAnswer::Unknown(_)), "no host could be asked: {absent:?}");
    for reserved in ["alice.invalid", "alice.local", "alice.internal", "alice.onion", "alice.localhost", "alice.test"] {
        assert_eq!(owner(reserved).await, HandleAnswer::NoAccount, "{reserved}");
    }
    assert_eq!(host.connections(), 0);
}

/// What a domain serves, asked on a PDS as in development: over plain HTTP.
#[tokio::test]
async fn a8_what_a_domain_serves() {
    let host = Host::start(|asked| {
        assert_eq!(asked.target, "/.well-known/atproto-did");
        match asked.host.as_str() {
            "alice.test" => Reply::ok(format!("{DID}\n")),
            "html.test" => Reply::ok("<html>not found</html>"),
            "huge.test" => Reply::ok(vec![b'x'; 1 << 20]),
            "failing.test" => Reply::status(502),
            _ => Reply::status(404),
        }
    })
    .await;
    let directory = directory_at(&host, names(&[], &[]));
    let pds = HostUrl::parse(&host.url()).unwrap();
    let owner = async |name: &str| directory.fetch_handle_owner(&handle(name), Some(&pds)).await;
    assert_eq!(owner("alice.test").await, HandleAnswer::Of(did()));
    assert_eq!(owner("html.test").await, HandleAnswer::NoAccount);
    assert_eq!(owner("huge.test").await, HandleAnswer::NoAccount);
    assert_eq!(owner("absent.test").await, HandleAnswer::NoAccount);
    let failing = owner("failing.test").await;
    assert!(matches!(failing, HandleAnswer::Unknown(_)), "{failing:?}");
    assert_eq!(host.asked().len(), 5);
    // Only a developer's PDS is believed about `.test`.
    let guarded =
        Directory::new(client(options(false), &names(&[], &[]), &ManualClock::new()), names(&[], &[]), pds.clone());
    assert_eq!(guarded.fetch_handle_owner(&handle("alice.test"), Some(&pds)).await, HandleAnswer::NoAccount);
}
