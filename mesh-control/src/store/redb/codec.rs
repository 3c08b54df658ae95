//! How objects look in the database: the key is readable, the value is the protobuf of the API,
//! which stays readable by later versions.

use mesh_api::model::{Kind, Object, ObjectName, ObjectRef};
use mesh_api::wire;
use prost::Message as _;

use crate::store::{Change, ChangeKind, StoreError};

/// "Kind/namespace/name"; names have no slash.
pub(super) fn key(reference: &ObjectRef) -> String {
    format!("{}/{}", reference.kind, reference.name)
}

pub(super) fn encode(object: &Object) -> Vec<u8> {
    wire::Object::from(object).encode_to_vec()
}

pub(super) fn decode(key: &str, bytes: &[u8]) -> Result<Object, StoreError> {
    let corrupt = |problem: String| StoreError::Corrupt { key: key.to_owned(), problem };
    let wire = wire::Object::decode(bytes).map_err(|error| corrupt(error.to_string()))?;
    Object::try_from(wire).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        corrupt(lines.join("; "))
    })
}

pub(super) const fn kind_number(kind: ChangeKind) -> u8 {
    match kind {
        ChangeKind::Created => 1,
        ChangeKind::Configured => 2,
        ChangeKind::Deleted => 3,
    }
}

pub(super) fn change(
    revision: u64,
    key: &str,
    (time_ms, number, bytes): (u64, u8, &[u8]),
) -> Result<Change, StoreError> {
    let corrupt =
        |problem: &str| StoreError::Corrupt { key: key.to_owned(), problem: problem.to_owned() };
    let kind = match number {
        1 => ChangeKind::Created,
        2 => ChangeKind::Configured,
        3 => ChangeKind::Deleted,
        _ => return Err(corrupt("unknown kind of change")),
    };
    let object = match kind {
        ChangeKind::Created | ChangeKind::Configured => Some(decode(key, bytes)?),
        ChangeKind::Deleted => None,
    };
    Ok(Change {
        revision,
        time_ms,
        reference: reference(key).ok_or_else(|| corrupt("malformed key"))?,
        kind,
        object,
    })
}

fn reference(key: &str) -> Option<ObjectRef> {
    let (kind, name) = key.split_once('/')?;
    Some(ObjectRef {
        kind: Kind::ALL.into_iter().find(|it| it.as_str() == kind)?,
        name: name.parse::<ObjectName>().ok()?,
    })
}
