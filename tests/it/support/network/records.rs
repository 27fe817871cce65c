use serde_json::{Value, json};

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
pub struct Operation(pub(super) Value);

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

/// Now, as records say it.
fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// A `fm.plyr.track` record.
pub fn track(title: &str) -> Value {
    json!({
        "$type": "fm.plyr.track",
        "title": title,
        "artist": "Some Artist",
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
