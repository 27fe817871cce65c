//! Addresses of records, made and read.

use crate::{
    atproto::{AtUri, Did, RecordKey, Tid},
    model::{Collection, Collections},
};

/// The address of a record whose key is a TID.
pub fn uri_of(collections: &Collections, did: &Did, collection: Collection, rkey: Tid) -> AtUri {
    let rkey = RecordKey::parse(&rkey.to_string()).expect("a TID is a valid record key");
    AtUri { did: did.clone(), collection: collections.nsid(collection).clone(), rkey }
}

/// The owner and key of a list, if the URI is of our list collection and its key can be one.
pub fn list_key(collections: &Collections, uri: &AtUri) -> Option<Tid> {
    let is_list = uri.collection == *collections.nsid(Collection::List);
    Tid::parse(uri.rkey.as_str()).ok().filter(|_| is_list)
}
