//! PURE. The patterns of `${name#p}`, `${name%p}` and `${name/p/r}`: `*`, `?` and escapes, no brackets.

use regex::{NoExpand, Regex};

/// The value without the shortest (or longest) beginning that the pattern matches.
pub(super) fn without_prefix(pattern: &str, value: &str, longest: bool) -> Result<String, String> {
    let regex = compiled(pattern, longest, true)?;
    Ok(regex.find(value).map_or(value, |found| &value[found.end()..]).to_owned())
}

/// The value without the shortest (or longest) end that the pattern matches.
///
/// Expressions match leftmost: pattern and value are turned round for this.
pub(super) fn without_suffix(pattern: &str, value: &str, longest: bool) -> Result<String, String> {
    let turned: String = value.chars().rev().collect();
    let rest = without_prefix(&reversed(pattern), &turned, longest)?;
    Ok(rest.chars().rev().collect())
}

/// The value with the first match, or all, replaced; at most `bytes_max` long.
pub(super) fn replaced(
    pattern: &str,
    value: &str,
    replacement: &str,
    all: bool,
    bytes_max: usize,
) -> Result<String, String> {
    let regex = compiled(pattern, true, false)?;
    // At worst something is put between all letters.
    if replacement.len().saturating_mul(value.len() + 1) > bytes_max {
        return Err(format!("the result of a substitution can be longer than {bytes_max} bytes"));
    }
    Ok(regex.replacen(value, usize::from(!all), NoExpand(replacement)).into_owned())
}

/// The pattern read from its end, escapes kept before what they escape.
fn reversed(pattern: &str) -> String {
    let mut units: Vec<String> = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        let mut unit = letter.to_string();
        if letter == '\\' {
            unit.extend(letters.next());
        }
        units.push(unit);
    }
    units.into_iter().rev().collect()
}

fn compiled(pattern: &str, longest: bool, anchored: bool) -> Result<Regex, String> {
    let wrong = |why: String| format!("invalid pattern ({pattern}) in substitution: {why}");
    let mut text = String::from(if anchored { "^" } else { "" });
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '*' => text.push_str(if longest { ".*" } else { ".*?" }),
            '?' => text.push('.'),
            // What closes the substitution is escaped for its sake, not for the pattern's.
            '\\' if matches!(letters.peek(), Some('}' | '/')) => {}
            '\\' => match letters.next() {
                Some(escaped @ ('*' | '?' | '\\')) => text.push_str(&regex::escape(&escaped.to_string())),
                Some(other) => return Err(wrong(format!("invalid escape '\\{other}'"))),
                None => return Err(wrong("nothing follows the escape".to_owned())),
            },
            other => text.push_str(&regex::escape(&other.to_string())),
        }
    }
    Regex::new(&text).map_err(|error| wrong(error.to_string()))
}
