//! The functions of templates: Go's own and docker's.

use super::format::{plain, print, println, sprintf};
use super::value::Value;

/// Every name that a template may call.
const NAMES: [&str; 27] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "index", "slice", "len", "print", "printf", "println",
    "html", "js", "urlquery", "call", "json", "join", "split", "lower", "upper", "title", "pad", "truncate",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

type Outcome = Result<Value, String>;

/// Calls a function while the header of a table is made: the column's name passes through unchanged.
pub(super) fn call_in_header(name: &str, args: &[Value]) -> Outcome {
    match (name, args) {
        ("json" | "title" | "lower" | "upper" | "truncate" | "split" | "join", [column, ..]) => Ok(column.clone()),
        _ => call(name, args),
    }
}

/// Calls a function. The message is the reason alone.
pub(super) fn call(name: &str, args: &[Value]) -> Outcome {
    match name {
        "not" => one(name, args).map(|value| Value::Bool(!value.truth())),
        "eq" => equal_any(args),
        "ne" => two(name, args).and_then(|(a, b)| Ok(Value::Bool(!equal(a, b)?))),
        "lt" => two(name, args).and_then(|(a, b)| Ok(Value::Bool(less(a, b)?))),
        "le" => two(name, args).and_then(|(a, b)| Ok(Value::Bool(less(a, b)? || equal(a, b)?))),
        "gt" => two(name, args).and_then(|(a, b)| Ok(Value::Bool(!less(a, b)? && !equal(a, b)?))),
        "ge" => two(name, args).and_then(|(a, b)| Ok(Value::Bool(!less(a, b)?))),
        "index" => index(args),
        "slice" => slice(args),
        "len" => one(name, args).and_then(len),
        "print" => Ok(Value::text(print(args))),
        "println" => Ok(Value::text(println(args))),
        "printf" => match args.split_first() {
            Some((format, rest)) => Ok(Value::text(sprintf(text("printf", format)?, rest))),
            None => Err("wrong number of args for printf: want at least 1 got 0".to_owned()),
        },
        "html" => Ok(Value::text(escape_html(&print(args)))),
        "js" => Ok(Value::text(escape_js(&print(args)))),
        "urlquery" => Ok(Value::text(escape_query(&print(args)))),
        "call" => Err("call of nil".to_owned()),
        "json" => one(name, args).map(|value| Value::text(value.to_json())),
        "join" => two(name, args).and_then(|(items, separator)| join(items, separator)),
        "split" => two(name, args).and_then(|(whole, separator)| split(whole, separator)),
        "lower" => one(name, args).and_then(|v| Ok(Value::text(text(name, v)?.to_lowercase()))),
        "upper" => one(name, args).and_then(|v| Ok(Value::text(text(name, v)?.to_uppercase()))),
        "title" => one(name, args).and_then(|v| Ok(Value::text(title(text(name, v)?)))),
        "pad" => pad(args),
        "truncate" => two(name, args).and_then(|(whole, limit)| {
            let limit = usize::try_from(limit.as_int()).unwrap_or(0);
            Ok(Value::text(text(name, whole)?.chars().take(limit).collect::<String>()))
        }),
        "and" | "or" => Err(format!("wrong number of args for {name}: want at least 1 got 0")),
        _ => Err(format!("function {name:?} not defined")),
    }
}

fn one<'a>(name: &str, args: &'a [Value]) -> Result<&'a Value, String> {
    match args {
        [value] => Ok(value),
        _ => Err(format!("wrong number of args for {name}: want 1 got {}", args.len())),
    }
}

fn two<'a>(name: &str, args: &'a [Value]) -> Result<(&'a Value, &'a Value), String> {
    match args {
        [a, b] => Ok((a, b)),
        _ => Err(format!("wrong number of args for {name}: want 2 got {}", args.len())),
    }
}

fn text<'a>(_: &str, value: &'a Value) -> Result<&'a str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(format!("wrong type for value; expected string; got {}", other.type_name())),
    }
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Int(_) | Value::Float(_), Value::Text(_) | Value::Bool(_))
        | (Value::Text(_), Value::Int(_) | Value::Float(_) | Value::Bool(_))
        | (Value::Bool(_), Value::Int(_) | Value::Float(_) | Value::Text(_)) => {
            Err("incompatible types for comparison".to_owned())
        }
        (Value::Int(_), Value::Float(_)) | (Value::Float(_), Value::Int(_)) => {
            Err("incompatible types for comparison".to_owned())
        }
        (Value::List(_) | Value::Map(_), Value::List(_) | Value::Map(_)) => {
            Err(format!("non-comparable type {}: {}", plain(a), a.type_name()))
        }
        _ => Ok(a == b),
    }
}

/// `eq a b c`: a equals any of the others.
fn equal_any(args: &[Value]) -> Outcome {
    match args.split_first() {
        Some((first, rest)) if !rest.is_empty() => {
            for other in rest {
                if equal(first, other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        _ => Err("missing argument for comparison".to_owned()),
    }
}

fn less(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a < b),
        (Value::Float(a), Value::Float(b)) => Ok(a < b),
        (Value::Text(a), Value::Text(b)) => Ok(a < b),
        (Value::Int(_) | Value::Float(_) | Value::Text(_), Value::Int(_) | Value::Float(_) | Value::Text(_)) => {
            Err("incompatible types for comparison".to_owned())
        }
        _ => Err("invalid type for comparison".to_owned()),
    }
}

/// `index x i j`: list by number, map by key.
fn index(args: &[Value]) -> Outcome {
    let Some((first, keys)) = args.split_first() else {
        return Err("wrong number of args for index: want at least 1 got 0".to_owned());
    };
    let mut value = first.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::List(items), Value::Int(at)) => usize::try_from(*at)
                .ok()
                .and_then(|at| items.get(at).cloned())
                .ok_or_else(|| format!("index out of range: {at}"))?,
            (Value::Text(whole), Value::Int(at)) => usize::try_from(*at)
                .ok()
                .and_then(|at| whole.as_bytes().get(at))
                .map(|byte| Value::Int(i64::from(*byte)))
                .ok_or_else(|| format!("index out of range: {at}"))?,
            (Value::Map(map), Value::Text(key)) => map.get(&**key).cloned().unwrap_or(Value::text("")),
            (Value::Struct(_), Value::Text(key)) => value.field(key).clone(),
            (Value::List(_) | Value::Text(_), other) => {
                return Err(format!("cannot index slice/array with type {}", other.type_name()));
            }
            (Value::Nil | Value::Missing, _) => return Err("index of untyped nil".to_owned()),
            (Value::Map(_) | Value::Struct(_), other) => {
                return Err(format!("value has type {}; should be string", other.type_name()));
            }
            (other, _) => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

/// `slice x from to`.
fn slice(args: &[Value]) -> Outcome {
    let Some((whole, bounds)) = args.split_first() else {
        return Err("wrong number of args for slice: want at least 1 got 0".to_owned());
    };
    let length = match whole {
        Value::List(items) => items.len(),
        Value::Text(text) => text.len(),
        Value::Nil | Value::Missing => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(Value::Int(number)) => usize::try_from(*number)
            .ok()
            .filter(|number| *number <= length)
            .ok_or_else(|| format!("index out of range: {number}")),
        Some(other) => Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    match whole {
        Value::List(items) => Ok(Value::list(items[from..to].to_vec())),
        Value::Text(text) => Ok(Value::text(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned())),
        _ => Ok(Value::Nil),
    }
}

fn len(value: &Value) -> Outcome {
    let length = match value {
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        Value::Text(text) => text.len(),
        Value::Nil | Value::Missing => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn join(items: &Value, separator: &Value) -> Outcome {
    let separator = text("join", separator)?;
    match items {
        Value::List(items) => Ok(Value::text(items.iter().map(plain).collect::<Vec<_>>().join(separator))),
        Value::Nil => Ok(Value::text("")),
        other => Err(format!("wrong type for value; expected []string; got {}", other.type_name())),
    }
}

fn split(whole: &Value, separator: &Value) -> Outcome {
    let (whole, separator) = (text("split", whole)?, text("split", separator)?);
    let parts: Vec<Value> = if separator.is_empty() {
        whole.chars().map(|c| Value::text(c.to_string())).collect()
    } else {
        whole.split(separator).map(Value::text).collect()
    };
    Ok(Value::list(parts))
}

fn title(whole: &str) -> String {
    let mut out = String::with_capacity(whole.len());
    let mut start = true;
    for c in whole.chars() {
        if start {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        start = !(c.is_alphanumeric() || c == '_' || c == '\'');
    }
    out
}

/// `pad text before after`: spaces on both sides; an empty text stays empty.
fn pad(args: &[Value]) -> Outcome {
    let [whole, before, after] = args else {
        return Err(format!("wrong number of args for pad: want 3 got {}", args.len()));
    };
    let whole = text("pad", whole)?;
    if whole.is_empty() {
        return Ok(Value::text(""));
    }
    let spaces = |count: &Value| " ".repeat(usize::try_from(count.as_int()).unwrap_or(0).min(4096));
    Ok(Value::text(format!("{}{whole}{}", spaces(before), spaces(after))))
}

fn escape_html(whole: &str) -> String {
    let mut out = String::with_capacity(whole.len());
    for c in whole.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn escape_js(whole: &str) -> String {
    let mut out = String::with_capacity(whole.len());
    for c in whole.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn escape_query(whole: &str) -> String {
    let mut out = String::with_capacity(whole.len());
    for byte in whole.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
