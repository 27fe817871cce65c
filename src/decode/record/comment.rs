use super::{
    error::RecordError,
    fields::{At, Fields, TextRule},
};
use crate::model::{Collection, Collections, Comment};

/// The subject must be a track of the same namespace.
pub(super) fn decode(collections: &Collections, fields: Fields<'_>) -> Result<Comment, RecordError> {
    let (subject, subject_cid) = fields.required_strong_ref("subject")?;
    if subject.collection != *collections.nsid(Collection::Track) {
        let at = fields.at("subject");
        return Err(At::Field(&at, "uri").fail("must name a track of the same namespace"));
    }
    Ok(Comment {
        subject,
        subject_cid,
        text: fields.required_text("text", TextRule::filled(3000))?,
        created_at: fields.required_datetime("createdAt")?,
    })
}
