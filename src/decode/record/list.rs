use super::{
    error::RecordError,
    fields::{At, Fields, TextRule},
};
use crate::model::{List, ListItem};

const LIST_ITEMS_MAX: usize = 500;
/// Bytes of a list's type. What is longer is no word that a client asks for, and counts as none: cut, two types could become one.
const LIST_TYPE_BYTES_MAX: usize = 128;

pub(super) fn decode(fields: Fields<'_>) -> Result<List, RecordError> {
    fields.required("items")?;
    let at = fields.at("items");
    let item = |(index, value)| {
        let at = At::Item(&at, index);
        let (uri, cid) = Fields::of(value, &at)?.required_strong_ref("subject")?;
        Ok(ListItem { uri, cid })
    };
    Ok(List {
        items: fields.list("items", LIST_ITEMS_MAX)?.iter().enumerate().map(item).collect::<Result<_, _>>()?,
        name: fields.text("name", TextRule { graphemes_max: 64, ..TextRule::up_to(256) })?,
        list_type: fields.text("listType", TextRule::ANY)?.filter(|word| word.len() <= LIST_TYPE_BYTES_MAX),
        created_at: fields.required_datetime("createdAt")?,
        updated_at: fields.datetime("updatedAt")?,
    })
}
