use super::{
    error::RecordError,
    fields::{At, Fields},
};
use crate::model::{Collection, Collections, Like};

/// Beyond what the lexicon says, the subject must be a track of the same namespace.
pub(super) fn decode(collections: &Collections, fields: Fields<'_>) -> Result<Like, RecordError> {
    let (subject, subject_cid) = fields.required_strong_ref("subject")?;
    if subject.collection != *collections.nsid(Collection::Track) {
        let at = fields.at("subject");
        return Err(At::Field(&at, "uri").fail("must name a track of the same namespace"));
    }
    Ok(Like { subject, subject_cid, created_at: fields.required_datetime("createdAt")? })
}
