//! Reads JSON the way Go's `encoding/json` does, because that is what the clients of this API were tested against.
//!
//! Keys match in any case, `null` stands for the zero value of everything, unknown keys are passed over, and an empty
//! document is an empty object where the caller allows it. Errors name the field: `HostConfig.Memory: …`.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde_json::{Map, Value};

/// Nesting deeper than this is refused by the parser before a value is built (serde_json's own limit).
pub const DEPTH_MAX: usize = 128;

/// Why a document could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    path: Vec<String>,
    message: String,
}

impl Error {
    fn inside(mut self, field: &str) -> Self {
        self.path.push(field.to_owned());
        self
    }
    fn expected(what: &str, value: &Value) -> Self {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let shown = if matches!(value, Value::Number(_)) { format!("number {value}") } else { found.to_owned() };
        serde::de::Error::custom(format!("cannot read {shown} as {what}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            let path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
            write!(f, "{}: ", path.join("."))?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { path: Vec::new(), message: message.to_string() }
    }
}

/// Reads one document; nothing may follow it.
///
/// # Errors
/// When the bytes are not JSON, or a field has another type; the message names the field.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| {
        let text = if e.is_eof() { "unexpected EOF".to_owned() } else { e.to_string() };
        serde::de::Error::custom(text)
    })?;
    from_value(value)
}

/// Reads a parsed document.
///
/// # Errors
/// When a field has another type; the message names the field.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(GoValue(value))
}

struct GoValue(Value);

macro_rules! integers {
    ($($method:ident $visit:ident $kind:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match &self.0 {
                Value::Null => visitor.$visit(0),
                Value::Number(n) => {
                    let value = n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
                    match value.and_then(|v| <$kind>::try_from(v).ok()) {
                        Some(v) => visitor.$visit(v),
                        None => Err(Error::expected(stringify!($kind), &self.0)),
                    }
                }
                other => Err(Error::expected("an integer", other)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for GoValue {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(b),
            Value::String(s) => visitor.visit_string(s),
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter(), index: 0 }),
            Value::Object(map) => visitor.visit_map(Entries::all(map)),
            Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
                (Some(v), _, _) => visitor.visit_u64(v),
                (_, Some(v), _) => visitor.visit_i64(v),
                (_, _, Some(v)) => visitor.visit_f64(v),
                _ => Err(Error::expected("a number", &Value::Number(n))),
            },
        }
    }
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_bool(false),
            Value::Bool(b) => visitor.visit_bool(b),
            other => Err(Error::expected("bool", &other)),
        }
    }
    integers!(deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64);
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0 {
            Value::Null => visitor.visit_f64(0.0),
            Value::Number(n) => visitor.visit_f64(n.as_f64().unwrap_or_default()),
            other => Err(Error::expected("a number", other)),
        }
    }
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_string(String::new()),
            Value::String(s) => visitor.visit_string(s),
            other => Err(Error::expected("string", &other)),
        }
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            other => visitor.visit_some(Self(other)),
        }
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_seq(Items { items: Vec::new().into_iter(), index: 0 }),
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter(), index: 0 }),
            other => Err(Error::expected("array", &other)),
        }
    }
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        // Go fills a fixed array as far as the document goes and drops the rest.
        let mut items = match self.0 {
            Value::Null => Vec::new(),
            Value::Array(items) => items,
            other => return Err(Error::expected("array", &other)),
        };
        items.resize(len, Value::Null);
        visitor.visit_seq(Items { items: items.into_iter(), index: 0 })
    }
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_map(Entries::all(Map::new())),
            Value::Object(map) => visitor.visit_map(Entries::all(map)),
            other => Err(Error::expected("object", &other)),
        }
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_map(Entries::all(Map::new())),
            Value::Object(map) => visitor.visit_map(Entries::of_struct(map, fields)),
            other => Err(Error::expected("object", &other)),
        }
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(s) => visitor.visit_enum(Word(s)),
            other => Err(Error::expected("string", &other)),
        }
    }
    serde::forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit unit_struct tuple_struct identifier ignored_any }
}

struct Items {
    items: std::vec::IntoIter<Value>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(GoValue(item)).map(Some).map_err(|e| e.inside(&index.to_string()))
    }
}

struct Entries {
    entries: std::vec::IntoIter<(String, Value)>,
    value: Option<(String, Value)>,
}

impl Entries {
    fn all(map: Map<String, Value>) -> Self {
        Self { entries: map.into_iter().collect::<Vec<_>>().into_iter(), value: None }
    }
    /// The entries whose keys are fields in any case, under the field's own spelling; an exact spelling wins.
    fn of_struct(map: Map<String, Value>, fields: &'static [&'static str]) -> Self {
        let mut chosen: Vec<(String, Value)> = Vec::with_capacity(map.len());
        for (key, value) in map {
            let exact = fields.contains(&key.as_str());
            let Some(field) =
                fields.iter().find(|f| **f == key).or_else(|| fields.iter().find(|f| f.eq_ignore_ascii_case(&key)))
            else {
                continue;
            };
            match chosen.iter_mut().find(|(known, _)| known == field) {
                Some(slot) if exact => slot.1 = value,
                Some(_) => {}
                None => chosen.push(((*field).to_owned(), value)),
            }
        }
        Self { entries: chosen.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Error;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        let read = seed.deserialize(StrDeserializer::<Error>::new(&key)).map(Some);
        self.value = Some((key, value));
        read
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let (key, value) =
            self.value.take().ok_or_else(|| -> Error { serde::de::Error::custom("value without key") })?;
        seed.deserialize(GoValue(value)).map_err(|e| e.inside(&key))
    }
}

struct Word(String);

impl<'de> EnumAccess<'de> for Word {
    type Error = Error;
    type Variant = Self;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let word: StrDeserializer<'_, Error> = self.0.as_str().into_deserializer();
        Ok((seed.deserialize(word)?, Self(String::new())))
    }
}

impl<'de> VariantAccess<'de> for Word {
    type Error = Error;
    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        Err(serde::de::Error::custom("a word cannot carry a value"))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("a word cannot carry a value"))
    }
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("a word cannot carry a value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(serde::Deserialize, Debug, Default, PartialEq)]
    #[serde(default, rename_all = "PascalCase")]
    struct Inner {
        memory: i64,
        size: [u32; 2],
    }
    #[derive(serde::Deserialize, Debug, Default, PartialEq)]
    #[serde(default, rename_all = "PascalCase")]
    struct Outer {
        name: String,
        list: Vec<String>,
        labels: BTreeMap<String, String>,
        inner: Inner,
        limit: Option<i64>,
        on: bool,
    }

    #[test]
    fn keys_match_in_any_case_and_the_exact_one_wins() {
        let read: Outer = from_slice(br#"{"NAME":"a","name":"b","Name":"c","ON":true,"inner":{"MEMORY":5}}"#).unwrap();
        assert_eq!((read.name.as_str(), read.on, read.inner.memory), ("c", true, 5));
    }

    #[test]
    fn map_keys_keep_their_case() {
        let read: Outer = from_slice(br#"{"Labels":{"A":"1","a":null}}"#).unwrap();
        assert_eq!(read.labels, BTreeMap::from([("A".into(), "1".into()), ("a".into(), String::new())]));
    }

    #[test]
    fn null_is_the_zero_value_everywhere() {
        let text = br#"{"Name":null,"List":null,"Labels":null,"Inner":null,"Limit":null,"On":null,"Unknown":[1]}"#;
        assert_eq!(from_slice::<Outer>(text).unwrap(), Outer::default());
        let read: Outer = from_slice(br#"{"Inner":{"Size":null,"Memory":null}}"#).unwrap();
        assert_eq!(read, Outer::default());
    }

    #[test]
    fn fixed_arrays_are_filled_as_far_as_they_go() {
        let read: Outer = from_slice(br#"{"Inner":{"Size":[7]}}"#).unwrap();
        assert_eq!(read.inner.size, [7, 0]);
    }

    #[test]
    fn errors_name_the_field() {
        let text = |bytes: &[u8]| from_slice::<Outer>(bytes).unwrap_err().to_string();
        assert_eq!(text(br#"{"Inner":{"Memory":"5"}}"#), "Inner.Memory: cannot read string as an integer");
        assert_eq!(text(br#"{"Inner":{"Size":[1,-2]}}"#), "Inner.Size.1: cannot read number -2 as u32");
        assert_eq!(text(br#"{"List":["a",3]}"#), "List.1: cannot read number 3 as string");
        assert_eq!(text(b"{\"Name\":"), "unexpected EOF");
        assert_eq!(text(b"[]"), "cannot read array as object");
    }
}
