use serde::Deserialize;
use serde_json::Value;

use super::HostUrl;
use crate::atproto::{Did, Handle, PublicKey};

/// What a DID document says that concerns us, <https://atproto.com/specs/did>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DidDocument {
    /// Whose document.
    pub did: Did,
    /// The server of the repo; none where there is no repo.
    pub pds: Option<HostUrl>,
    /// The key that signs the repo's commits.
    pub signing_key: Option<PublicKey>,
    /// The handle that the document claims. The handle's domain has to say the same before it is believed.
    pub handle: Option<Handle>,
}

/// What was served is no document that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON of the form that documents have.
    #[error("it is no DID document")]
    NoDocument,
    /// The document of another DID.
    #[error("it is the document of another DID")]
    OfAnother,
    /// A service of the name that the PDS has, and it is none.
    #[error("its #atproto_pds is not a PDS with an address")]
    BadPds,
    /// A key of the name that the signing key has, and it is none of the two curves.
    #[error("its #atproto is not a key that signs commits")]
    BadKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    id: String,
    also_known_as: Option<Vec<Value>>,
    verification_method: Option<Vec<Value>>,
    service: Option<Vec<Value>>,
}

/// What an entry of a list says of itself. One that is no object is of no use to us, and does not cost the others.
fn entries(list: Option<Vec<Value>>) -> impl Iterator<Item = Entry> {
    list.unwrap_or_default().into_iter().filter_map(|entry| serde_json::from_value(entry).ok())
}

/// A service or a key. Of others than ours nothing is asked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: Option<Value>,
    #[serde(rename = "type")]
    kind: Option<Value>,
    service_endpoint: Option<Value>,
    public_key_multibase: Option<Value>,
}

impl Entry {
    fn is_named(&self, did: &Did, fragment: &str) -> bool {
        let id = self.id.as_ref().and_then(Value::as_str).unwrap_or_default();
        let (owner, name) = id.find('#').map_or((id, ""), |at| id.split_at(at));
        name == fragment && (owner.is_empty() || Did::parse(owner).as_ref() == Ok(did))
    }

    /// The key, in the form of today or of the years before.
    fn signing_key(&self) -> Option<PublicKey> {
        let key = text(self.public_key_multibase.as_ref())?;
        match text(self.kind.as_ref())? {
            "Multikey" => PublicKey::parse(key).ok(),
            "EcdsaSecp256k1VerificationKey2019" => PublicKey::parse_point(key, PublicKey::K256).ok(),
            "EcdsaSecp256r1VerificationKey2019" => PublicKey::parse_point(key, PublicKey::P256).ok(),
            _ => None,
        }
    }

    fn is(&self, kind: &str) -> bool {
        text(self.kind.as_ref()) == Some(kind)
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

impl DidDocument {
    /// Reads the document of `did`. Of several services or keys of one name the first counts. A handle that is none, or
    /// `handle.invalid`, is as if it was not there, and so is a list that is null; a PDS or a key that is none refuses the document.
    pub fn parse(did: &Did, bytes: &[u8]) -> Result<Self, DocumentError> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|_| DocumentError::NoDocument)?;
        if Did::parse(&raw.id).as_ref() != Ok(did) {
            return Err(DocumentError::OfAnother);
        }
        let service = entries(raw.service).find(|entry| entry.is_named(did, "#atproto_pds"));
        let pds = service.map(|entry| {
            let endpoint = text(entry.service_endpoint.as_ref()).filter(|_| entry.is("AtprotoPersonalDataServer"));
            endpoint.and_then(|endpoint| HostUrl::parse(endpoint).ok()).ok_or(DocumentError::BadPds)
        });
        let method = entries(raw.verification_method).find(|entry| entry.is_named(did, "#atproto"));
        let signing_key = method.map(|entry| entry.signing_key().ok_or(DocumentError::BadKey));
        let known_as = raw.also_known_as.unwrap_or_default();
        let claimed = known_as.iter().filter_map(Value::as_str).filter_map(|uri| uri.strip_prefix("at://"));
        let mut handles = claimed.filter_map(|handle| Handle::parse_any_case(handle).ok());
        Ok(Self {
            did: did.clone(),
            pds: pds.transpose()?,
            signing_key: signing_key.transpose()?,
            handle: handles.find(|handle| handle.as_str() != "handle.invalid"),
        })
    }
}
