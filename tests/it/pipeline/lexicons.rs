//! Decoder and lexicons held together: what the lexicon JSON allows is decoded, what it forbids is refused by the name of
//! the field, in both encodings. The lexicons are interpreted here independently; nothing of the decoder's checks is used.

use std::{collections::BTreeMap, sync::LazyLock};

use ipld_core::ipld::Ipld;
use plyr_likes::{
    atproto::RecordKey,
    decode::{
        RawFormat,
        lexicons::{self, ALL},
        record::{RawRecord, RecordError, decode_record},
    },
    model::{Collection, Collections, RejectReason},
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};
use unicode_segmentation::UnicodeSegmentation;

const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
const CID: &str = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a";

/// The lexicons by NSID: ours as they are published, and the two of com.atproto that ours refer to.
fn documents() -> &'static BTreeMap<String, Value> {
    static DOCUMENTS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(read_documents);
    &DOCUMENTS
}

fn read_documents() -> BTreeMap<String, Value> {
    let strong_ref = json!({"lexicon": 1, "id": "com.atproto.repo.strongRef", "defs": {"main": {
        "type": "object", "required": ["uri", "cid"],
        "properties": {"uri": {"type": "string", "format": "at-uri"}, "cid": {"type": "string", "format": "cid"}}
    }}});
    let labels = json!({"lexicon": 1, "id": "com.atproto.label.defs", "defs": {
        "selfLabels": {"type": "object", "required": ["values"], "properties": {
            "values": {"type": "array", "items": {"type": "ref", "ref": "#selfLabel"}, "maxLength": 10}}},
        "selfLabel": {"type": "object", "required": ["val"], "properties": {"val": {"type": "string", "maxLength": 128}}}
    }});
    let ours = ALL.into_iter().map(|(_, text)| serde_json::from_str(text).unwrap());
    ours.chain([strong_ref, labels])
        .map(|document: Value| (document["id"].as_str().unwrap().to_owned(), document))
        .collect()
}

/// A schema and the document that its local references are in.
#[derive(Clone, Copy)]
struct Schema<'d> {
    documents: &'d BTreeMap<String, Value>,
    document: &'d str,
    rules: &'d Value,
}

impl<'d> Schema<'d> {
    fn of_record(documents: &'d BTreeMap<String, Value>, nsid: &'d str) -> Self {
        Self { documents, document: nsid, rules: &documents[nsid]["defs"]["main"]["record"] }
    }

    fn inner(self, rules: &'d Value) -> Self {
        Self { rules, ..self }
    }

    fn refer(self, reference: &'d str) -> Self {
        let (document, name) = reference.split_once('#').unwrap_or((reference, "main"));
        let document = if document.is_empty() { self.document } else { document };
        Self { document, rules: &self.documents[document]["defs"][name], ..self }
    }

    fn kind(self) -> &'d str {
        self.rules["type"].as_str().unwrap()
    }

    fn number(self, name: &str) -> Option<i64> {
        self.rules[name].as_i64()
    }

    fn length(self, name: &str) -> Option<usize> {
        self.rules[name].as_u64().map(|length| usize::try_from(length).unwrap())
    }

    fn properties(self) -> impl Iterator<Item = (&'d str, bool, Self)> {
        let required = |name: &str| self.rules["required"].as_array().is_some_and(|all| all.contains(&name.into()));
        let properties = self.rules["properties"].as_object().unwrap();
        properties.iter().map(move |(name, schema)| (name.as_str(), required(name), self.inner(schema)))
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Every field that breaks the schema.
fn faults(schema: Schema<'_>, value: &Value, path: &str) -> Vec<String> {
    let here = |holds: bool| if holds { Vec::new() } else { vec![path.to_owned()] };
    match schema.kind() {
        "object" if value.is_object() => schema
            .properties()
            .flat_map(|(name, required, schema)| match value.get(name) {
                Some(value) => faults(schema, value, &join(path, name)),
                None if required => vec![join(path, name)],
                None => Vec::new(),
            })
            .collect(),
        "array" => match value.as_array() {
            Some(items) if items.len() <= schema.length("maxLength").unwrap_or(usize::MAX) => {
                let items = items.iter().enumerate();
                let schema = schema.inner(&schema.rules["items"]);
                items.flat_map(|(index, item)| faults(schema, item, &format!("{path}[{index}]"))).collect()
            }
            _ => here(false),
        },
        "string" => here(value.as_str().is_some_and(|text| allows_text(schema, text))),
        "integer" => here(value.as_i64().is_some_and(|value| value >= schema.number("minimum").unwrap_or(i64::MIN))),
        "ref" => faults(schema.refer(schema.rules["ref"].as_str().unwrap()), value, path),
        "union" if value.is_object() => match value["$type"].as_str() {
            Some(kind) if schema.rules["refs"].as_array().unwrap().contains(&kind.into()) => {
                let [Value::String(reference)] = schema.rules["refs"].as_array().unwrap().as_slice() else {
                    panic!("unions of one")
                };
                faults(schema.refer(reference), value, path)
            }
            Some(_) => Vec::new(),
            None => vec![join(path, "$type")],
        },
        "blob" if value.is_object() => blob_faults(value, path),
        "unknown" => here(value.is_object()),
        _ => here(false),
    }
}

fn blob_faults(value: &Value, path: &str) -> Vec<String> {
    let holds = [
        ("$type", value["$type"] == "blob"),
        ("ref", value["ref"]["$link"].as_str().is_some_and(|cid| cid.parse::<ipld_core::cid::Cid>().is_ok())),
        ("mimeType", value["mimeType"].as_str().is_some_and(|kind| kind.starts_with("audio/"))),
        ("size", value["size"].as_i64().is_some_and(|size| size >= 0)),
    ];
    holds.into_iter().filter(|(_, holds)| !holds).map(|(name, _)| join(path, name)).collect()
}

fn allows_text(schema: Schema<'_>, text: &str) -> bool {
    use atrium_api::types::string as atrium;
    text.len() >= schema.length("minLength").unwrap_or(0)
        && text.len() <= schema.length("maxLength").unwrap_or(usize::MAX)
        && text.graphemes(true).count() <= schema.length("maxGraphemes").unwrap_or(usize::MAX)
        && match schema.rules["format"].as_str() {
            None => true,
            Some("datetime") => text.parse::<atrium::Datetime>().is_ok(),
            Some("did") => text.parse::<atrium::Did>().is_ok(),
            Some("cid") => text.parse::<atrium::Cid>().is_ok(),
            Some("at-uri") => text.starts_with("at://"),
            Some("uri") => text.contains(':') && !text.contains(char::is_whitespace),
            Some(other) => panic!("no record has a {other}"),
        }
}

/// Makes valid records from schemas.
struct Generator {
    rng: StdRng,
    /// Whether optional fields are always there.
    all: bool,
}

impl Generator {
    fn valid(&mut self, schema: Schema<'_>) -> Value {
        match schema.kind() {
            "object" => {
                let mut value = json!({});
                for (name, required, schema) in schema.properties() {
                    if required || self.all || self.rng.random() {
                        value[name] = self.valid(schema);
                    }
                }
                if self.rng.random() {
                    let extra =
                        [json!(null), json!("\0"), json!([[{"a": -1}]]), json!(i64::MIN), json!({"$type": "x"})];
                    value["notInTheLexicon"] = extra.choose(&mut self.rng).unwrap().clone();
                }
                value
            }
            "array" => {
                let most = schema.length("maxLength").unwrap();
                let length = if self.rng.random_ratio(1, 16) { most } else { self.rng.random_range(1..4) };
                let schema = schema.inner(&schema.rules["items"]);
                (0..length).map(|_| self.valid(schema)).collect()
            }
            "string" => self.valid_text(schema).into(),
            "integer" => {
                let least = schema.number("minimum").unwrap_or(i64::MIN);
                (*[least, 180, i64::MAX].choose(&mut self.rng).unwrap()).into()
            }
            "ref" => self.valid(schema.refer(schema.rules["ref"].as_str().unwrap())),
            "union" => {
                let reference = schema.rules["refs"][0].as_str().unwrap();
                let mut value = self.valid(schema.refer(reference));
                value["$type"] = reference.into();
                value
            }
            "blob" => json!({"$type": "blob", "ref": {"$link": CID}, "mimeType": "audio/mpeg", "size": 1}),
            "unknown" => json!({"type": "any", "more": [1, {"deep": "er"}]}),
            other => panic!("no record has a {other}"),
        }
    }

    fn valid_text(&mut self, schema: Schema<'_>) -> String {
        let good: &[&str] = match schema.rules["format"].as_str() {
            Some("datetime") => &["2024-09-09T19:46:02.102Z", "0001-01-01T00:00:00Z", "2099-01-01T00:00:00+14:00"],
            Some("did") => &[DID, "did:web:localhost%3A8080"],
            Some("cid") => &[CID],
            Some("at-uri") => &["at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/fm.plyr.track/3l3pte3p2e325"],
            Some("uri") => &["https://example.com/a.mp3?b=c", "ipfs:bafy"],
            _ => &[],
        };
        if let Some(text) = good.choose(&mut self.rng) {
            return (*text).to_owned();
        }
        let most = schema.length("maxLength").unwrap_or(40);
        let graphemes = schema.length("maxGraphemes").unwrap_or(usize::MAX);
        let piece = *["a", "é", "漢", "👩‍👩‍👧", "e\u{301}", " "].choose(&mut self.rng).unwrap();
        let fits = (most / piece.len()).min(graphemes);
        piece.repeat(*[1.min(fits), fits].choose(&mut self.rng).unwrap()) + if fits == 0 { "a" } else { "" }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Name(String),
    Index(usize),
}

/// A change of one place that breaks one constraint there; `None` removes it.
#[derive(Debug, Clone)]
struct Break {
    steps: Vec<Step>,
    replacement: Option<Value>,
    what: &'static str,
}

impl Break {
    fn path(&self) -> String {
        self.steps.iter().fold(String::new(), |path, step| match step {
            Step::Name(name) => join(&path, name),
            Step::Index(index) => format!("{path}[{index}]"),
        })
    }

    fn apply(&self, record: &Value) -> Value {
        let mut record = record.clone();
        let (last, parents) = self.steps.split_last().unwrap();
        let parent = parents.iter().fold(&mut record, |value, step| match step {
            Step::Name(name) => &mut value[name],
            Step::Index(index) => &mut value[*index],
        });
        match (last, &self.replacement) {
            (Step::Name(name), None) => drop(parent.as_object_mut().unwrap().remove(name)),
            (Step::Name(name), Some(value)) => parent[name] = value.clone(),
            (Step::Index(index), Some(value)) => parent[*index] = value.clone(),
            (Step::Index(_), None) => panic!("an item is not required"),
        }
        record
    }
}

/// Every way to break one constraint of the schema in a valid value.
fn breaks(schema: Schema<'_>, value: &Value, steps: &[Step]) -> Vec<Break> {
    let to = |replacement: Value, what| Break { steps: steps.to_vec(), replacement: Some(replacement), what };
    let below = |step: Step| [steps, &[step]].concat();
    let mut all = Vec::new();
    if !steps.is_empty() && schema.kind() != "ref" {
        let wrong = [json!(null), json!(true), json!(7), json!("seven"), json!([]), json!({"a": 1})];
        let kind = schema.kind();
        let fits = |value: &Value| match kind {
            "string" => value.is_string(),
            "integer" => value.is_i64(),
            "array" => value.is_array(),
            _ => value.is_object(),
        };
        all.extend(wrong.into_iter().filter(|value| !fits(value)).map(|value| to(value, "another type")));
    }
    match schema.kind() {
        "object" => {
            for (name, required, schema) in schema.properties().filter(|(name, ..)| value.get(name).is_some()) {
                let steps = below(Step::Name(name.to_owned()));
                all.extend(breaks(schema, &value[name], &steps));
                if required {
                    all.push(Break { steps, replacement: None, what: "missing" });
                }
            }
        }
        "array" => {
            let items = value.as_array().unwrap();
            let last = items.len() - 1;
            let most = schema.length("maxLength").unwrap();
            all.push(to(vec![items[0].clone(); most + 1].into(), "too many items"));
            all.extend(breaks(schema.inner(&schema.rules["items"]), &items[last], &below(Step::Index(last))));
        }
        "string" => all.extend(text_breaks(schema).into_iter().map(|(text, what)| to(text.into(), what))),
        "integer" => all.extend(schema.number("minimum").map(|least| to((least - 1).into(), "too small"))),
        "ref" => all.extend(breaks(schema.refer(schema.rules["ref"].as_str().unwrap()), value, steps)),
        "union" => {
            let reference = schema.rules["refs"][0].as_str().unwrap();
            all.extend(breaks(schema.refer(reference), value, steps));
            all.push(Break { steps: below(Step::Name("$type".to_owned())), replacement: None, what: "missing" });
        }
        "blob" => {
            for (name, bad) in [
                ("$type", json!("blub")),
                ("ref", json!({"$link": "b"})),
                ("ref", json!(CID)),
                ("mimeType", json!("image/png")),
                ("size", json!(-1)),
                ("size", json!("1")),
            ] {
                let steps = below(Step::Name(name.to_owned()));
                all.push(Break { steps: steps.clone(), replacement: None, what: "missing" });
                all.push(Break { steps, replacement: Some(bad), what: "not of a blob" });
            }
        }
        _ => {}
    }
    all
}

fn text_breaks(schema: Schema<'_>) -> Vec<(String, &'static str)> {
    let mut all = Vec::new();
    if let Some(least) = schema.length("minLength") {
        all.push(("a".repeat(least - 1), "too short"));
    }
    if let Some(most) = schema.length("maxLength") {
        // Two bytes each, so that it is fewer characters than allowed, and bytes are what counts.
        all.push(("é".repeat(most / 2 + 1), "too many bytes"));
    }
    if let Some(most) = schema.length("maxGraphemes") {
        all.push(("a".repeat(most + 1), "too many graphemes"));
    }
    let bad: &[&str] = match schema.rules["format"].as_str() {
        Some("datetime") => {
            &["", "2024-09-09T19:46:02", "2024-13-09T19:46:02Z", "yesterday", "2024-09-09T19:46:02-00:00"]
        }
        Some("did") => &["", "did:plc:", "alice.test", "did:PLC:abc"],
        Some("cid") => &["", "bafy", "not a cid"],
        Some("at-uri") => &["", "https://example.com/a", "did:plc:abc/fm.plyr.track/a"],
        Some("uri") => &["", "example.com", "https://example.com/a b"],
        _ => &[],
    };
    all.extend(bad.iter().map(|text| ((*text).to_owned(), "bad format")));
    all
}

/// DAG-CBOR of a record given as JSON.
fn cbor(record: &Value) -> Vec<u8> {
    fn ipld(value: &Value) -> Ipld {
        match value {
            Value::Null => Ipld::Null,
            Value::Bool(value) => Ipld::Bool(*value),
            Value::Number(number) => Ipld::Integer(number.as_i64().unwrap().into()),
            Value::String(text) => Ipld::String(text.clone()),
            Value::Array(items) => Ipld::List(items.iter().map(ipld).collect()),
            Value::Object(fields) => match fields.get("$link").and_then(Value::as_str).map(str::parse) {
                Some(Ok(cid)) => Ipld::Link(cid),
                _ => Ipld::Map(fields.iter().map(|(name, value)| (name.clone(), ipld(value))).collect()),
            },
        }
    }
    serde_ipld_dagcbor::to_vec(&ipld(record)).unwrap()
}

/// What the decoder says; both encodings must say the same.
fn decode(collection: Collection, record: &Value) -> Result<(), RecordError> {
    let collections = Collections::of_namespace("fm.plyr").unwrap();
    let key = if collection == Collection::Profile { "self" } else { "3l3qo2vuowo2b" };
    let rkey = RecordKey::parse(key).unwrap();
    let text = serde_json::to_vec(record).unwrap();
    let raw = |format, bytes| RawRecord { format, bytes };
    let from_json = decode_record(&collections, collection, &rkey, raw(RawFormat::RecordJson, &text));
    let from_cbor = decode_record(&collections, collection, &rkey, raw(RawFormat::RecordCbor, &cbor(record)));
    assert_eq!(from_json, from_cbor, "{record}");
    from_json.map(|decoded| assert_eq!(decoded.collection(), collection))
}

fn nsid(collection: Collection) -> String {
    format!("fm.plyr.{}", collection.suffix())
}

fn valid_record(collection: Collection, seed: u64, all: bool) -> Value {
    let (documents, nsid) = (documents(), nsid(collection));
    let mut generator = Generator { rng: StdRng::seed_from_u64(seed), all };
    let mut record = generator.valid(Schema::of_record(documents, &nsid));
    record["$type"] = nsid.clone().into();
    record
}

fn any_collection() -> impl Strategy<Value = Collection> {
    prop::sample::select(Collection::ALL.to_vec())
}

proptest! {
    #[test]
    fn what_the_lexicon_allows_is_decoded(collection in any_collection(), seed in any::<u64>(), all in any::<bool>()) {
        let record = valid_record(collection, seed, all);
        let (documents, nsid) = (documents(), nsid(collection));
        prop_assert_eq!(faults(Schema::of_record(documents, &nsid), &record, ""), Vec::<String>::new());
        prop_assert_eq!(decode(collection, &record), Ok(()), "{}", record);
    }

    /// One to three breaks at once: whatever is refused, it is one of the fields that the lexicon says are broken.
    #[test]
    fn what_the_lexicon_forbids_is_refused_by_name(
        collection in any_collection(),
        seed in any::<u64>(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let (documents, nsid) = (documents(), nsid(collection));
        let schema = Schema::of_record(documents, &nsid);
        let mut record = valid_record(collection, seed, true);
        let mut whats = Vec::new();
        for pick in picks {
            if faults(schema, &record, "").len() == whats.len() {
                // A break inside of what an earlier one removed would put it back.
                let all: Vec<Break> = breaks(schema, &valid_record(collection, seed, true), &[]);
                let chosen = pick.get(&all);
                let root = |steps: &[Step]| format!("{:?}", steps.first());
                if whats.iter().all(|(steps, _): &(String, &str)| *steps != root(&chosen.steps)) {
                    record = chosen.apply(&record);
                    whats.push((root(&chosen.steps), chosen.what));
                }
            }
        }
        let broken = faults(schema, &record, "");
        prop_assert!(!broken.is_empty());
        let error = decode(collection, &record).unwrap_err();
        prop_assert_eq!(error.reason, RejectReason::Lexicon, "{:?}", error);
        prop_assert!(broken.contains(error.field.as_ref().unwrap()), "{error:?} is none of {broken:?}");
    }
}

#[test]
fn every_constraint_broken_alone_is_refused_by_name() {
    let documents = documents();
    let mut whats = BTreeMap::<&str, usize>::new();
    for collection in Collection::ALL {
        let nsid = nsid(collection);
        let schema = Schema::of_record(documents, &nsid);
        let record = valid_record(collection, 1, true);
        for one in breaks(schema, &record, &[]) {
            let broken = one.apply(&record);
            assert_eq!(faults(schema, &broken, ""), [one.path()], "{one:?}");
            let error = decode(collection, &broken).expect_err(&format!("{nsid}: {one:?}"));
            assert_eq!((error.reason, error.field), (RejectReason::Lexicon, Some(one.path())), "{nsid}: {one:?}");
            *whats.entry(one.what).or_default() += 1;
        }
    }
    let kinds = ["another type", "bad format", "missing", "not of a blob", "too many bytes", "too many graphemes"];
    assert!(kinds.iter().all(|kind| whats.contains_key(kind)), "{whats:?}");
    assert!(["too many items", "too short", "too small"].iter().all(|kind| whats.contains_key(kind)), "{whats:?}");
}

#[test]
fn a_type_that_is_not_the_collection_is_refused() {
    for collection in Collection::ALL {
        for kind in [json!(null), json!("fm.plyr.stg.like"), json!(7), json!("fm.plyr.like#main"), json!("")] {
            let mut record = valid_record(collection, 2, false);
            record["$type"] = kind;
            let error = decode(collection, &record).unwrap_err();
            assert_eq!((error.reason, error.field.as_deref()), (RejectReason::RecordType, Some("$type")));
        }
    }
}

/// Beyond the lexicon, which has no word for it.
#[test]
fn o12_subjects_that_are_no_track() {
    let documents = documents();
    let cases = [
        "at://alice.test/fm.plyr.track/3l3pte3p2e325",
        "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/fm.plyr.track",
        "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/fm.plyr.list/3l3pte3p2e325",
        "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/fm.plyr.stg.track/3l3pte3p2e325",
    ];
    for uri in cases {
        let mut record = valid_record(Collection::Like, 3, false);
        record["subject"]["uri"] = uri.into();
        assert!(faults(Schema::of_record(documents, "fm.plyr.like"), &record, "").is_empty());
        let error = decode(Collection::Like, &record).unwrap_err();
        assert_eq!((error.reason, error.field.as_deref()), (RejectReason::Lexicon, Some("subject.uri")), "{uri}");
    }
    let mut like = valid_record(Collection::Like, 3, false);
    like["subject"]["uri"] = "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/fm.plyr.track/any~valid:key".into();
    assert_eq!(decode(Collection::Like, &like), Ok(()));
}

#[test]
fn the_lexicons_are_of_their_nsid_and_refer_to_what_exists() {
    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Object(fields) => {
                found.extend(fields.get("ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            _ => {}
        }
    }
    let documents = documents();
    for (nsid, text) in ALL {
        let document: Value = serde_json::from_str(text).unwrap();
        assert_eq!((&document["id"], &document["lexicon"]), (&json!(nsid), &json!(1)));
        let main = &document["defs"]["main"];
        let expected = if nsid.contains(".get") { "query" } else { "record" };
        assert_eq!(main["type"], expected, "{nsid}");
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in found {
            let (id, name) = reference.split_once('#').unwrap_or((reference, "main"));
            let id = if id.is_empty() { nsid } else { id };
            assert!(documents[id]["defs"].get(name).is_some(), "{nsid}: {reference}");
        }
    }
}

#[test]
fn the_lexicons_move_with_the_namespace() {
    for (nsid, text) in lexicons::in_namespace("fm.plyr.stg") {
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["id"], nsid.as_str());
        assert!(nsid.starts_with("fm.plyr.stg."));
        assert_eq!(text.matches("fm.plyr.").count(), text.matches("fm.plyr.stg.").count());
    }
    let same: Vec<_> = ALL.into_iter().map(|(nsid, text)| (nsid.to_owned(), text.to_owned())).collect();
    assert_eq!(lexicons::in_namespace("fm.plyr"), same);
}
