//! The blocks of a CAR, version 1, <https://ipld.io/specs/transport/car/carv1/>: a header, then sections of a CID and its
//! bytes, each behind its length.

use std::collections::HashMap;

use super::value::Value;
use crate::atproto::Cid;

/// Finds the blocks, borrowed. Whether a block's bytes hash to its CID is for the caller to check.
pub(super) fn read_blocks(car: &[u8]) -> Result<HashMap<Cid, &[u8]>, &'static str> {
    read(car)?.1.collect()
}

/// What the header calls the only root, and the blocks in their order, borrowed and unchecked.
#[expect(clippy::type_complexity, reason = "a pair of what the format is a pair of")]
pub(super) fn read(
    car: &[u8],
) -> Result<(Option<Cid>, impl Iterator<Item = Result<(Cid, &[u8]), &'static str>>), &'static str> {
    let (header, mut rest) = split_section(car)?;
    let header = Value::from_cbor(header).map_err(|_| "the header is not DAG-CBOR")?;
    if header.field("version").and_then(Value::as_integer) != Some(1) {
        return Err("the header is not of version 1");
    }
    let root = match header.field("roots") {
        Some(Value::List(roots)) if roots.len() == 1 => roots[0].as_link(),
        _ => None,
    };
    let blocks = std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let block = split_section(rest).and_then(|(section, behind)| {
            rest = behind;
            Cid::split_from(section).map_err(|_| "a section without a CID")
        });
        if block.is_err() {
            rest = &[];
        }
        Some(block)
    });
    Ok((root, blocks))
}

fn split_section(bytes: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let (length, rest) = split_varint(bytes)?;
    let length = usize::try_from(length).map_err(|_| "a section longer than memory")?;
    if length == 0 {
        return Err("an empty section");
    }
    rest.split_at_checked(length).ok_or("a section is cut short")
}

/// Seven bits per byte, the lowest first; the top bit says that more follow.
fn split_varint(bytes: &[u8]) -> Result<(u64, &[u8]), &'static str> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((number, &bytes[at + 1..]));
        }
    }
    Err("a length is cut short or too long")
}
