//! PURE. `.dockerignore` and `--exclude`: patterns as moby's patternmatcher has them, which are not git's.
//!
//! A pattern is anchored at the root; one that matches a directory matches what is below; the last that matches wins,
//! and `!` takes back.

use regex::Regex;

use super::expand::ExpandError;

/// The most patterns that are taken.
const PATTERNS_MAX: usize = 10_000;

/// Patterns in the order that they were written.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    is_exception: bool,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    Exact,
    Prefix(String),
    Suffix(String),
    Expression(Regex),
}

/// Reads a `.dockerignore`.
///
/// # Errors
/// `!` by itself, brackets that are not closed, too many patterns.
pub fn parse(text: &str) -> Result<Patterns, ExpandError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let line = line.trim();
        let (exception, path) = line.strip_prefix('!').map_or(("", line), |path| ("!", path.trim()));
        if path.is_empty() {
            return line.to_owned();
        }
        let path = clean(path);
        format!("{exception}{}", if path.len() > 1 { path.strip_prefix('/').unwrap_or(&path) } else { &path })
    });
    Patterns::new(lines)
}

impl Patterns {
    /// Patterns given one by one; empty ones are left out.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, ExpandError> {
        let mut patterns = Vec::new();
        for text in texts {
            let text = text.as_ref().trim();
            if text.is_empty() {
                continue;
            }
            if patterns.len() == PATTERNS_MAX {
                return Err(ExpandError(format!("more than {PATTERNS_MAX} patterns")));
            }
            patterns.push(Pattern::new(text)?);
        }
        Ok(Self { patterns })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a `!` is among them.
    #[must_use]
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.is_exception)
    }

    /// The patterns as text, `!` included: what a client is asked to leave out.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let text = |pattern: &Pattern| format!("{}{}", if pattern.is_exception { "!" } else { "" }, pattern.text);
        self.patterns.iter().map(text).collect()
    }

    /// Whether a path (relative to the root, without `.` or `..`) or a directory above it is excluded.
    #[must_use]
    pub fn excludes(&self, path: &str) -> bool {
        let path = path.trim_matches('/');
        if path.is_empty() || path == "." {
            return false;
        }
        let mut excluded = false;
        for pattern in &self.patterns {
            if pattern.is_exception == excluded && pattern.covers(path) {
                excluded = !pattern.is_exception;
            }
        }
        excluded
    }

    /// Whether something below an excluded directory may be taken back, so that it has to be looked into.
    #[must_use]
    pub fn may_take_back_below(&self, directory: &str) -> bool {
        let directory = directory.trim_matches('/');
        let mut exceptions = self.patterns.iter().filter(|pattern| pattern.is_exception);
        exceptions.any(|pattern| pattern.may_match_below(directory))
    }

    /// Whether everything at the root is excluded.
    #[must_use]
    pub fn covers_all(&self) -> bool {
        let all = |pattern: &Pattern| !pattern.is_exception && matches!(pattern.text.as_str(), "*" | "**" | "**/*");
        self.patterns.iter().any(all)
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, ExpandError> {
        let cleaned = clean(text);
        let (text, is_exception) = match cleaned.strip_prefix('!') {
            Some("") => return Err(ExpandError("illegal exclusion pattern: \"!\"".to_owned())),
            Some(rest) => (rest.to_owned(), true),
            None => (cleaned, false),
        };
        let matcher = compile(&text)?;
        Ok(Self { text, is_exception, matcher })
    }

    fn matches(&self, path: &str) -> bool {
        match &self.matcher {
            Matcher::Exact => path == self.text,
            Matcher::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Matcher::Suffix(suffix) => path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path),
            Matcher::Expression(expression) => expression.is_match(path),
        }
    }

    /// Whether it matches the path or a directory above.
    fn covers(&self, path: &str) -> bool {
        self.matches(path) || path.match_indices('/').any(|(at, _)| self.matches(&path[..at]))
    }

    fn may_match_below(&self, directory: &str) -> bool {
        let is_literal = |part: &str| !part.contains(['*', '?', '[', '\\']);
        for (part, name) in self.text.split('/').zip(directory.split('/')) {
            if part.contains("**") {
                return true;
            }
            if is_literal(part) && part != name {
                return false;
            }
        }
        true
    }
}

/// The shortest path that means the same (Go's `path.Clean`).
#[must_use]
pub fn clean(path: &str) -> String {
    let is_rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if is_rooted => {}
            part => parts.push(part),
        }
    }
    match (is_rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

fn compile(text: &str) -> Result<Matcher, ExpandError> {
    let special = |text: &str| text.contains(['*', '?', '[', ']', '\\']);
    if !special(text) {
        return Ok(Matcher::Exact);
    }
    if let Some(prefix) = text.strip_suffix("**").filter(|prefix| !prefix.is_empty() && !special(prefix)) {
        return Ok(Matcher::Prefix(prefix.to_owned()));
    }
    if let Some(suffix) = text.strip_prefix("**").filter(|suffix| !special(suffix)) {
        return Ok(Matcher::Suffix(suffix.to_owned()));
    }
    let expression = expression(text)?;
    let regex = Regex::new(&expression).map_err(|_| ExpandError(format!("syntax error in pattern: {text:?}")))?;
    Ok(Matcher::Expression(regex))
}

fn expression(text: &str) -> Result<String, ExpandError> {
    let mut out = String::from("(?s)^");
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '*' if letters.next_if_eq(&'*').is_some() => {
                letters.next_if_eq(&'/');
                out.push_str(if letters.peek().is_none() { ".*" } else { "(.*/)?" });
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => out.push_str(&class(&mut letters, text)?),
            '\\' => {
                let escaped =
                    letters.next().ok_or_else(|| ExpandError(format!("syntax error in pattern: {text:?}")))?;
                out.push_str(&regex::escape(&escaped.to_string()));
            }
            other => out.push_str(&regex::escape(&other.to_string())),
        }
    }
    out.push('$');
    Ok(out)
}

/// `[a-z^]` behind its bracket.
fn class(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, text: &str) -> Result<String, ExpandError> {
    let wrong = || ExpandError(format!("syntax error in pattern: {text:?}"));
    let mut out = String::from("[");
    out.extend(letters.next_if_eq(&'^'));
    let mut is_empty = true;
    while is_empty || letters.peek() != Some(&']') {
        let low = bound(letters).ok_or_else(wrong)?;
        let high = match letters.next_if_eq(&'-') {
            Some(_) => bound(letters).ok_or_else(wrong)?,
            None => low,
        };
        if low > high {
            return Err(wrong());
        }
        // Code points, so that no letter means anything to the expression.
        out.push_str(&format!("\\u{{{:x}}}-\\u{{{:x}}}", u32::from(low), u32::from(high)));
        is_empty = false;
    }
    letters.next();
    out.push(']');
    Ok(out)
}

/// One end of a range.
fn bound(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match letters.next()? {
        '\\' => letters.next(),
        '-' | ']' => None,
        other => Some(other),
    }
}

#[cfg(test)]
#[path = "ignore_tests.rs"]
mod tests;
