//! What templates work on: values shaped like Go's, made from JSON or from a table's row.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Something with named properties and methods: a row of a table.
pub(crate) trait Object: fmt::Debug {
    /// The Go type's name in messages.
    fn type_name(&self) -> &str;
    /// A property or the result of a method; `None` if there is no such name.
    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>>;
    /// The object as JSON text.
    fn to_json(&self) -> String;
    /// The value that is printed for the whole object, where that is not its JSON.
    fn to_plain(&self) -> Option<Value> {
        None
    }
}

/// A value of a template.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Go's nil.
    Nil,
    /// The result of looking up a key that a map lacks.
    Missing,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    List(Rc<Vec<Value>>),
    /// Sorted by key, as Go's maps print and iterate.
    Map(Rc<BTreeMap<String, Value>>),
    /// Fields in declaration order.
    Struct(Rc<Vec<(String, Value)>>),
    Object(Rc<dyn Object>),
}

impl Value {
    pub(crate) fn text(text: impl Into<Rc<str>>) -> Self {
        Value::Text(text.into())
    }

    pub(crate) fn list(items: Vec<Value>) -> Self {
        Value::List(Rc::new(items))
    }

    /// A structure with these fields in this order.
    pub(crate) fn record(fields: Vec<(String, Value)>) -> Self {
        Value::Struct(Rc::new(fields))
    }

    /// Reads JSON; objects become structures that keep the order of their fields.
    pub(crate) fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The same value with every structure as a map.
    pub(crate) fn into_maps(self) -> Self {
        match self {
            Value::Struct(fields) => Value::Map(Rc::new(
                fields.iter().map(|(name, value)| (name.clone(), value.clone().into_maps())).collect(),
            )),
            Value::List(items) => Value::list(items.iter().cloned().map(Value::into_maps).collect()),
            other => other,
        }
    }

    /// A field of a structure or a key of a map, for code that reads answers.
    pub(crate) fn field(&self, name: &str) -> &Value {
        match self {
            Value::Struct(fields) => {
                fields.iter().find(|(field, _)| field == name).map_or(&Value::Nil, |(_, value)| value)
            }
            Value::Map(map) => map.get(name).unwrap_or(&Value::Nil),
            _ => &Value::Nil,
        }
    }

    /// A nested field: `at("NetworkSettings.Ports")`.
    pub(crate) fn at(&self, path: &str) -> &Value {
        path.split('.').fold(self, |value, name| value.field(name))
    }

    /// Whether an object has a field or key of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Value::Struct(fields) => fields.iter().any(|(field, _)| field == name),
            Value::Map(entries) => entries.contains_key(name),
            _ => false,
        }
    }

    /// The text, or an empty one if this is no text.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Value::Text(text) => text,
            _ => "",
        }
    }

    pub(crate) fn as_int(&self) -> i64 {
        match self {
            Value::Int(number) => *number,
            #[expect(clippy::cast_possible_truncation, reason = "a saturating cast is what is wanted")]
            Value::Float(number) => *number as i64,
            _ => 0,
        }
    }

    /// The number as a float; 0 if this is no number.
    pub(crate) fn as_float(&self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "figures for people")]
            Value::Int(number) => *number as f64,
            Value::Float(number) => *number,
            _ => 0.0,
        }
    }

    /// Go's truth: not zero, not empty, not nil.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Value::Nil | Value::Missing => false,
            Value::Bool(on) => *on,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List(items) => !items.is_empty(),
            Value::Map(map) => !map.is_empty(),
            Value::Struct(_) | Value::Object(_) => true,
        }
    }

    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Value::Nil | Value::Missing)
    }

    /// The items of a list; nothing for anything else.
    pub(crate) fn items(&self) -> &[Value] {
        match self {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The entries of a structure or a map.
    pub(crate) fn entries(&self) -> Vec<(&str, &Value)> {
        match self {
            Value::Struct(fields) => fields.iter().map(|(name, value)| (name.as_str(), value)).collect(),
            Value::Map(map) => map.iter().map(|(name, value)| (name.as_str(), value)).collect(),
            _ => Vec::new(),
        }
    }

    /// The Go type's name, for messages.
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Value::Nil | Value::Missing => "nil",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::List(_) => "[]interface {}",
            Value::Map(_) => "map[string]interface {}",
            Value::Struct(_) => "struct",
            Value::Object(object) => object.type_name(),
        }
    }

    /// Compact JSON.
    pub(crate) fn to_json(&self) -> String {
        let mut text = String::new();
        self.write_json(&mut text);
        text
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Value::Nil | Value::Missing => out.push_str("null"),
            Value::Bool(on) => out.push_str(if *on { "true" } else { "false" }),
            Value::Int(number) => out.push_str(&number.to_string()),
            Value::Float(number) => out.push_str(&json_float(*number)),
            Value::Text(text) => quote_json(text, out),
            Value::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Value::Map(_) | Value::Struct(_) => {
                out.push('{');
                for (index, (name, value)) in self.entries().into_iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    quote_json(name, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
            Value::Object(object) => out.push_str(&object.to_json()),
        }
    }
}

fn json_float(number: f64) -> String {
    serde_json::Number::from_f64(number).map_or_else(|| "null".to_owned(), |number| number.to_string())
}

/// Appends a JSON string, escaped as docker's client does: `<`, `>`, `&` stay as they are.
pub(crate) fn quote_json(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{2028}' | '\u{2029}' | '\u{0}'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Nil | Value::Missing, Value::Nil | Value::Missing) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => a == b,
            (Value::Struct(a), Value::Struct(b)) => a == b,
            (Value::Object(a), Value::Object(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, on: bool) -> Result<Value, E> {
        Ok(Value::Bool(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        #[expect(clippy::cast_precision_loss, reason = "beyond i64 a figure is only shown")]
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::text(text))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::list(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Value::record(fields))
    }
}
