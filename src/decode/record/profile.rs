use super::{error::RecordError, fields::Fields};
use crate::model::Profile;

/// Bytes of a biography that the index holds: what the lexicon of `app.bsky.actor.profile` allows.
const BIO_BYTES_MAX: usize = 2560;

pub(super) fn decode(fields: Fields<'_>) -> Result<Profile, RecordError> {
    Ok(Profile {
        avatar: fields.uri("avatar")?,
        bio: fields.cut_text("bio", BIO_BYTES_MAX)?,
        created_at: fields.required_datetime("createdAt")?,
        updated_at: fields.datetime("updatedAt")?,
    })
}
