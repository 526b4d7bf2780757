//! PURE. How the arguments of instructions are taken apart before variables are known.

use serde_json::Value;

use super::fault::Fault;
use super::model::Pair;

/// What a text is, read as a JSON array.
pub(super) enum Array {
    /// An array of strings.
    Strings(Vec<String>),
    /// Something else: it is a line for the shell.
    No,
}

/// Reads a JSON array of strings.
///
/// # Errors
/// An array of anything else.
pub(super) fn array(text: &str) -> Result<Array, Fault> {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return Ok(Array::No);
    }
    let Ok(values) = serde_json::from_str::<Vec<Value>>(text) else { return Ok(Array::No) };
    let string = |value| match value {
        Value::String(text) => Some(text),
        _ => None,
    };
    values
        .into_iter()
        .map(string)
        .collect::<Option<_>>()
        .map(Array::Strings)
        .ok_or_else(|| Fault::new("when using JSON array syntax, arrays must be comprised of strings only").at(text))
}

/// Words between white space.
pub(super) fn plain(text: &str) -> Vec<String> {
    let words = text.split(is_blank).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// A JSON array, else words between white space.
pub(super) fn list(text: &str) -> Result<Vec<String>, Fault> {
    Ok(match array(text)? {
        Array::Strings(words) => words,
        Array::No => plain(text),
    })
}

/// What the front-end's expressions take for white space; other white space is a letter.
pub(super) fn is_blank(letter: char) -> bool {
    matches!(letter, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Words with their quotes and escapes, which protect spaces.
pub(super) fn quoted(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match quote {
            None if letter.is_whitespace() => words.extend(word.take()),
            _ if letter == escape && quote != Some('\'') => match letters.next() {
                Some(escaped) => word.get_or_insert_default().extend([letter, escaped]),
                // An escape at the end stands for nothing, and ends a quote.
                None => break,
            },
            _ => {
                word.get_or_insert_default().push(letter);
                quote = match quote {
                    None => matches!(letter, '\'' | '"').then_some(letter),
                    Some(open) => Some(open).filter(|open| *open != letter),
                };
            }
        }
    }
    words.extend(word);
    words
}

/// `a=b "c d"=e`, or the old form `name all the rest`.
///
/// # Errors
/// A word without `=`, a name that is empty, a name without a value.
pub(super) fn pairs(text: &str, instruction: &str, escape: char) -> Result<Vec<Pair>, Fault> {
    let words = quoted(text, escape);
    let Some(first) = words.first() else {
        return Err(Fault::new(format!("{instruction} requires at least one argument")));
    };
    if !first.contains('=') {
        let two = || Fault::new(format!("{instruction} must have two arguments")).at(text);
        let (key, value) = text.split_once(is_blank).ok_or_else(two)?;
        let value = value.trim_start_matches(is_blank).to_owned();
        return Ok(vec![Pair { key: key.to_owned(), value, legacy: true }]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(Fault::new(format!("{instruction} names can not be blank")).at(&word)),
        Some((key, value)) => Ok(Pair { key: key.to_owned(), value: value.to_owned(), legacy: false }),
        None => {
            Err(Fault::new(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"))
                .at(&word))
        }
    };
    words.into_iter().map(pair).collect()
}

/// Comma-separated fields, quoted as CSV is.
///
/// # Errors
/// Quotes that are not closed, or that do not end a field.
pub(super) fn csv(text: &str) -> Result<Vec<String>, Fault> {
    let wrong = |why: &str| Fault::new(format!("failed to parse csv mounts: {why} in {text:?}"));
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut letters = text.chars().peekable();
    loop {
        if letters.next_if_eq(&'"').is_some() {
            loop {
                match letters.next() {
                    Some('"') if letters.next_if_eq(&'"').is_some() => field.push('"'),
                    Some('"') => break,
                    Some(letter) => field.push(letter),
                    None => return Err(wrong("a quote is not closed")),
                }
            }
            if !matches!(letters.peek(), None | Some(',')) {
                return Err(wrong("extraneous or missing \" "));
            }
        }
        while let Some(letter) = letters.next_if(|letter| *letter != ',') {
            if letter == '"' {
                return Err(wrong("bare \""));
            }
            field.push(letter);
        }
        fields.push(std::mem::take(&mut field));
        if letters.next().is_none() {
            return Ok(fields);
        }
    }
}
