use super::{
    error::RecordError,
    fields::{Fields, TextRule},
};
use crate::model::Profile;

pub(super) fn decode(fields: Fields<'_>) -> Result<Profile, RecordError> {
    Ok(Profile {
        avatar: fields.uri("avatar")?,
        bio: fields.text("bio", TextRule::ANY)?,
        created_at: fields.required_datetime("createdAt")?,
        updated_at: fields.datetime("updatedAt")?,
    })
}
