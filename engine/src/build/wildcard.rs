//! PURE. Go's `filepath.Match`, which `COPY` and `ADD` match names with.

use crate::error::{Error, Result};

/// Whether a text has characters that make it a pattern.
pub(super) fn has_meta(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Whether `name` (one part of a path) matches `pattern`.
///
/// # Errors
/// `InvalidArgument` for a class that is not closed, or a backslash at the end.
pub(super) fn matches(pattern: &str, name: &str) -> Result<bool> {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let wrong = || Error::invalid(format!("syntax error in pattern {:?}", pattern.iter().collect::<String>()));
    // The last star and where its text ended: what follows it is tried again with one more character.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p + 1, n));
            p += 1;
            continue;
        }
        let step = if p < pattern.len() {
            one(&pattern, p, name.get(n).copied()).ok_or_else(wrong)?
        } else {
            (p, n >= name.len())
        };
        if p >= pattern.len() && n >= name.len() {
            return Ok(true);
        }
        if p < pattern.len() && n < name.len() && step.1 {
            (p, n) = (step.0, n + 1);
            continue;
        }
        match star {
            Some((after, end)) if end < name.len() => {
                star = Some((after, end + 1));
                (p, n) = (after, end + 1);
            }
            _ => return Ok(false),
        }
    }
}

/// One element of a pattern against one character: where the next element is, and whether it matches. `None` = malformed.
fn one(pattern: &[char], at: usize, letter: Option<char>) -> Option<(usize, bool)> {
    match pattern[at] {
        '?' => Some((at + 1, letter.is_some_and(|c| c != '/'))),
        '[' => class(pattern, at + 1, letter),
        '\\' => {
            let literal = *pattern.get(at + 1)?;
            Some((at + 2, letter == Some(literal)))
        }
        literal => Some((at + 1, letter == Some(literal))),
    }
}

fn class(pattern: &[char], mut at: usize, letter: Option<char>) -> Option<(usize, bool)> {
    let negated = pattern.get(at) == Some(&'^');
    at += usize::from(negated);
    let (mut matched, mut ranges) = (false, 0);
    loop {
        if pattern.get(at) == Some(&']') && ranges > 0 {
            return Some((at + 1, letter.is_some() && matched != negated));
        }
        let (low, next) = bound(pattern, at)?;
        let (high, next) = if pattern.get(next) == Some(&'-') { bound(pattern, next + 1)? } else { (low, next) };
        matched |= letter.is_some_and(|c| (low..=high).contains(&c));
        (at, ranges) = (next, ranges + 1);
    }
}

fn bound(pattern: &[char], at: usize) -> Option<(char, usize)> {
    match pattern.get(at)? {
        '\\' => Some((*pattern.get(at + 1)?, at + 2)),
        '-' | ']' => None,
        literal => Some((*literal, at + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_gos() {
        for (pattern, name, expected) in [
            ("*", "anything", true),
            ("*.go", "a.go", true),
            ("*.go", "a.gox", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "aab", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("", "", true),
            ("a", "", false),
            ("ab*", "ab", true),
            ("[]a]", "a", false),
        ] {
            match matches(pattern, name) {
                Ok(found) => assert_eq!(found, expected, "{pattern} {name}"),
                Err(_) => assert_eq!(pattern, "[]a]"),
            }
        }
        for malformed in ["[", "[a", "[-]", "a\\"] {
            assert!(matches(malformed, "a").is_err(), "{malformed}");
        }
    }
}
