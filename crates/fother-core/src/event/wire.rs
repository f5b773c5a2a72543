//! Reads an event's stored bytes in one pass. In the canonical form its data stand before its type, so that a derived reader would have
//! to keep them aside; here the type is found first, and the data are read as what they are.

use super::{Data, Event};
use crate::Timestamp;
use serde::{
    Deserialize,
    de::{DeserializeSeed, IntoDeserializer, MapAccess, value::MapAccessDeserializer},
};
use serde_json::{Error, value::RawValue};
use std::borrow::Cow;

#[derive(Deserialize)]
struct Wire<'a> {
    v: u32,
    seq: u64,
    at: Timestamp,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

pub(super) fn read(bytes: &[u8]) -> Result<Event, Error> {
    let Wire { v, seq, at, actor, kind, data } = serde_json::from_slice(bytes)?;
    let data = Data::deserialize(MapAccessDeserializer::new(Tagged { kind: Some(&kind), data: data.get() }))?;
    Ok(Event { v, seq, at, actor: actor.into_owned(), data })
}

/// The type, then the data.
struct Tagged<'a> {
    kind: Option<&'a str>,
    data: &'a str,
}

impl<'a> MapAccess<'a> for Tagged<'a> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let key = match self.kind {
            Some(_) => "type",
            None if !self.data.is_empty() => "data",
            None => return Ok(None),
        };
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.kind.take() {
            Some(kind) => seed.deserialize(kind.into_deserializer()),
            None => seed.deserialize(&mut serde_json::Deserializer::from_str(std::mem::take(&mut self.data))),
        }
    }
}
