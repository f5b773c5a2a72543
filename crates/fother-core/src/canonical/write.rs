//! Writes a value in canonical form as it is serialised, without a tree of values in between. Members of an object are written in the
//! order in which they come, and put in order where it closes.

use super::{DEPTH_MAX, Error, INTEGER_MAX};
use serde::{Serialize, ser};
use std::borrow::Cow;

/// The value goes to the end of `out`.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) depth: usize,
}

impl ser::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Json(<serde_json::Error as ser::Error>::custom(message))
    }
}

impl Writer<'_> {
    fn whole(self, number: u64) -> Result<(), Error> {
        if number > INTEGER_MAX {
            return Err(Error::Number(number.to_string()));
        }
        Ok(serde_json::to_writer(self.out, &number)?)
    }

    fn word(self, word: &str) -> Result<(), Error> {
        self.out.extend_from_slice(word.as_bytes());
        Ok(())
    }

    fn text(self, text: &str) -> Result<(), Error> {
        Ok(serde_json::to_writer(self.out, text)?)
    }
}

impl<'a> Writer<'a> {
    /// Something that holds others: they are one level deeper.
    fn open(self, bracket: u8) -> Members<'a> {
        self.out.push(bracket);
        // In ASCII a closing bracket stands two places behind its opening one.
        Members { start: self.out.len(), out: self.out, depth: self.depth + 1, close: bracket + 2, members: Vec::new(), wraps: false }
    }

    /// What a variant of this name holds: an object of one member.
    fn variant(self, name: &str, bracket: u8) -> Result<Members<'a>, Error> {
        self.out.push(b'{');
        serde_json::to_writer(&mut *self.out, name)?;
        self.out.push(b':');
        let inner = Writer { out: self.out, depth: self.depth + 1 };
        Ok(Members { wraps: true, ..inner.checked()?.open(bracket) })
    }

    fn checked(self) -> Result<Self, Error> {
        if self.depth > DEPTH_MAX { Err(Error::Depth) } else { Ok(self) }
    }
}

/// The members of an array or an object so far.
pub(super) struct Members<'a> {
    out: &'a mut Vec<u8>,
    /// Where the first begins.
    start: usize,
    depth: usize,
    close: u8,
    /// Of an object: the key of each, and where it ends.
    members: Vec<(Cow<'static, str>, usize)>,
    /// Whether it stands in an object of its own.
    wraps: bool,
}

impl Members<'_> {
    fn comma(&mut self) {
        if self.out.len() > self.start {
            self.out.push(b',');
        }
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(Writer { out: &mut *self.out, depth: self.depth }.checked()?)
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.comma();
        self.value(value)
    }

    fn key(&mut self, key: Cow<'static, str>) -> Result<(), Error> {
        self.comma();
        serde_json::to_writer(&mut *self.out, &key)?;
        self.out.push(b':');
        self.members.push((key, 0));
        Ok(())
    }

    fn member<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.value(value)?;
        let end = self.out.len();
        if let Some((_, to)) = self.members.last_mut() {
            *to = end;
        }
        Ok(())
    }

    fn close(mut self) -> Result<(), Error> {
        if !self.members.is_sorted_by(|a, b| a.0 < b.0) {
            self.sort();
        }
        self.out.push(self.close);
        if self.wraps {
            self.out.push(b'}');
        }
        Ok(())
    }

    /// Puts the members in the order of their keys; of several with one key the last counts.
    fn sort(&mut self) {
        let mut from = self.start;
        let mut members: Vec<(&str, &[u8])> = Vec::with_capacity(self.members.len());
        for (key, to) in &self.members {
            members.push((key.as_ref(), self.out.get(from..*to).unwrap_or_default()));
            from = to + 1;
        }
        members.sort_by(|a, b| a.0.cmp(b.0));
        let mut sorted = Vec::with_capacity(self.out.len() - self.start);
        for (at, (key, member)) in members.iter().enumerate() {
            if members.get(at + 1).is_some_and(|(next, _)| next == key) {
                continue;
            }
            if !sorted.is_empty() {
                sorted.push(b',');
            }
            sorted.extend_from_slice(member);
        }
        self.out.truncate(self.start);
        self.out.extend_from_slice(&sorted);
    }
}

/// A key as text: text itself, or what stands for itself in JSON, such as a number.
fn key_text<T: Serialize + ?Sized>(key: &T) -> Result<String, Error> {
    let mut out = Vec::new();
    key.serialize(Writer { out: &mut out, depth: 0 })?;
    match out.first() {
        Some(b'"') => Ok(serde_json::from_slice(&out)?),
        Some(b't' | b'f' | b'-' | b'0'..=b'9') => Ok(String::from_utf8_lossy(&out).into_owned()),
        _ => Err(ser::Error::custom("a key must be text")),
    }
}

impl<'a> ser::Serializer for Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Members<'a>;
    type SerializeTuple = Members<'a>;
    type SerializeTupleStruct = Members<'a>;
    type SerializeTupleVariant = Members<'a>;
    type SerializeMap = Members<'a>;
    type SerializeStruct = Members<'a>;
    type SerializeStructVariant = Members<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.word(if value { "true" } else { "false" })
    }
    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }
    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }
    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }
    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        if value.unsigned_abs() > INTEGER_MAX {
            return Err(Error::Number(value.to_string()));
        }
        Ok(serde_json::to_writer(self.out, &value)?)
    }
    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.whole(value.into())
    }
    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.whole(value.into())
    }
    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.whole(value.into())
    }
    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.whole(value)
    }
    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        Err(Error::Number(value.to_string()))
    }
    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        Err(Error::Number(value.to_string()))
    }
    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.text(value.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.text(value)
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        value.serialize(self)
    }
    fn serialize_none(self) -> Result<(), Error> {
        self.word("null")
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), Error> {
        self.word("null")
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.word("null")
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.text(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let mut members = self.open(b'{');
        members.key(variant.into())?;
        members.member(value)?;
        members.close()
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'a>, Error> {
        Ok(self.open(b'['))
    }
    fn serialize_tuple(self, _: usize) -> Result<Members<'a>, Error> {
        Ok(self.open(b'['))
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Members<'a>, Error> {
        Ok(self.open(b'['))
    }
    fn serialize_tuple_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Members<'a>, Error> {
        self.variant(variant, b'[')
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Members<'a>, Error> {
        Ok(self.open(b'{'))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'a>, Error> {
        Ok(self.open(b'{'))
    }
    fn serialize_struct_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Members<'a>, Error> {
        self.variant(variant, b'{')
    }
}

macro_rules! elements {
    ($($form:ident $add:ident,)+) => {$(
        impl ser::$form for Members<'_> {
            type Ok = ();
            type Error = Error;

            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }

            fn end(self) -> Result<(), Error> {
                self.close()
            }
        }
    )+};
}

elements! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

macro_rules! fields {
    ($($form:ident,)+) => {$(
        impl ser::$form for Members<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
                self.key(key.into())?;
                self.member(value)
            }

            fn end(self) -> Result<(), Error> {
                self.close()
            }
        }
    )+};
}

fields! {
    SerializeStruct,
    SerializeStructVariant,
}

impl ser::SerializeMap for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key_text(key)?.into())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.member(value)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}
