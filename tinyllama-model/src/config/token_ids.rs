//! `eos_token_id` as Hugging Face writes it: absent, an id, or a list of ids.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "`eos_token_id` must be a token id or a list of them")]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

/// For `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<u32>, D::Error> {
    Ok(match Option::<OneOrMany>::deserialize(json)? {
        None => Vec::new(),
        Some(OneOrMany::One(id)) => vec![id],
        Some(OneOrMany::Many(ids)) => ids,
    })
}

/// For `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(ids: &[u32], json: S) -> Result<S::Ok, S::Error> {
    match ids {
        [] => json.serialize_none(),
        &[id] => OneOrMany::One(id).serialize(json),
        several => OneOrMany::Many(several.to_vec()).serialize(json),
    }
}
