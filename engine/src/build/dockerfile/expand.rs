//! PURE. Words as BuildKit's shell lexer takes them apart: quotes, escapes, and variables in all their forms.

use std::collections::BTreeSet;
use std::fmt;

use super::substitution;

/// The most substitutions that may stand inside of each other.
const DEPTH_MAX: usize = 64;
/// The most bytes that a text may have once its variables are in: a pattern can multiply a value.
const RESULT_BYTES_MAX: usize = 16 << 20;

/// A text whose variables have been put in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// The same, split at spaces that are not quoted.
    pub words: Vec<String>,
    /// Variables that were asked for and are set.
    pub matched: BTreeSet<String>,
    /// Variables that were asked for and are not.
    pub unset: BTreeSet<String>,
}

/// Why a text cannot be expanded, in the words of a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpandError(pub String);

impl fmt::Display for ExpandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ExpandError {}

type Result<T> = std::result::Result<T, ExpandError>;

/// Where variables come from.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Expands one word: an argument of an instruction, its quotes taken away.
///
/// # Errors
/// Quotes or braces that are not closed, unknown modifiers, `${x:?}` of an unset variable.
pub fn word(text: &str, escape: char, variables: Variables<'_>) -> Result<Expanded> {
    Lexer::new(text, escape, Mode::default(), variables).run()
}

/// Expands a line and splits it where unquoted spaces stand afterwards.
///
/// # Errors
/// As [`word`].
pub fn words(text: &str, escape: char, variables: Variables<'_>) -> Result<Vec<String>> {
    Ok(word(text, escape, variables)?.words)
}

/// Expands a document: quotes are text there.
///
/// # Errors
/// As [`word`].
pub fn document(text: &str, variables: Variables<'_>) -> Result<Expanded> {
    Lexer::new(text, '\\', Mode { plain_quotes: true, ..Mode::default() }, variables).run()
}

/// What a lexer leaves as it stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mode {
    pub(super) raw_quotes: bool,
    pub(super) raw_escapes: bool,
    pub(super) plain_quotes: bool,
    pub(super) keep_unset: bool,
}

/// Splits a line without expanding anything.
pub(super) fn split(text: &str, mode: Mode) -> Result<Vec<String>> {
    Ok(Lexer::new(text, '\\', Mode { keep_unset: true, ..mode }, &|_| None).run()?.words)
}

struct Lexer<'a> {
    letters: std::iter::Peekable<std::str::Chars<'a>>,
    source: &'a str,
    escape: char,
    mode: Mode,
    variables: Variables<'a>,
    depth: usize,
    matched: BTreeSet<String>,
    unset: BTreeSet<String>,
}

/// Words in the making.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    now: String,
}

impl Words {
    fn push(&mut self, letter: char) {
        if letter.is_whitespace() {
            self.end();
        } else {
            self.now.push(letter);
        }
    }

    fn end(&mut self) {
        if !self.now.is_empty() {
            self.done.push(std::mem::take(&mut self.now));
        }
    }
}

fn fault<T>(message: impl Into<String>) -> Result<T> {
    Err(ExpandError(message.into()))
}

impl<'a> Lexer<'a> {
    fn new(source: &'a str, escape: char, mode: Mode, variables: Variables<'a>) -> Self {
        let letters = source.chars().peekable();
        Self { letters, source, escape, mode, variables, depth: 0, matched: BTreeSet::new(), unset: BTreeSet::new() }
    }

    fn run(mut self) -> Result<Expanded> {
        let (text, words) = self
            .until(None, self.mode.raw_escapes)
            .map_err(|error| ExpandError(format!("failed to process {:?}: {error}", self.source)))?;
        Ok(Expanded { text, words, matched: self.matched, unset: self.unset })
    }

    /// Everything up to `stop`, which is taken, or to the end.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Vec<String>)> {
        let outer = std::mem::replace(&mut self.mode.raw_escapes, raw_escapes);
        let found = self.scan(stop);
        self.mode.raw_escapes = outer;
        found
    }

    fn scan(&mut self, stop: Option<char>) -> Result<(String, Vec<String>)> {
        let (mut text, mut words) = (String::new(), Words::default());
        while let Some(&letter) = self.letters.peek() {
            if stop == Some(letter) {
                self.letters.next();
                words.end();
                return Ok((text, words.done));
            }
            if text.len() > RESULT_BYTES_MAX {
                return fault(format!("the result is longer than {RESULT_BYTES_MAX} bytes"));
            }
            match letter {
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|letter| words.push(letter));
                    text.push_str(&value);
                }
                '<' | '\'' | '"' if letter == '<' || !self.mode.plain_quotes => {
                    let raw = match letter {
                        '<' => self.possible_heredoc(),
                        '\'' => self.single_quoted()?,
                        _ => self.double_quoted()?,
                    };
                    words.now.push_str(&raw);
                    text.push_str(&raw);
                }
                _ => self.letter(&mut text, &mut words),
            }
        }
        words.end();
        match stop {
            Some(stop) => fault(format!("unexpected end of statement while looking for matching {stop}")),
            None => Ok((text, words.done)),
        }
    }

    /// A letter that means itself, or what follows an escape.
    fn letter(&mut self, text: &mut String, words: &mut Words) {
        let Some(letter) = self.letters.next() else { return };
        if letter != self.escape {
            words.push(letter);
            return text.push(letter);
        }
        if self.mode.raw_escapes {
            words.now.push(letter);
            text.push(letter);
        }
        // An escape at the very end stands for nothing.
        if let Some(escaped) = self.letters.next() {
            words.now.push(escaped);
            text.push(escaped);
        }
    }

    fn single_quoted(&mut self) -> Result<String> {
        let mut text = String::new();
        let raw = self.mode.raw_quotes;
        text.extend(self.letters.next().filter(|_| raw));
        loop {
            match self.letters.next() {
                None => return fault("unexpected end of statement while looking for matching single-quote"),
                Some('\'') => {
                    text.extend(raw.then_some('\''));
                    return Ok(text);
                }
                Some(letter) => text.push(letter),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String> {
        let mut text = String::new();
        let raw = self.mode.raw_quotes;
        text.extend(self.letters.next().filter(|_| raw));
        while let Some(&letter) = self.letters.peek() {
            if letter == '$' {
                text.push_str(&self.dollar()?);
                continue;
            }
            self.letters.next();
            if letter == '"' {
                text.extend(raw.then_some('"'));
                return Ok(text);
            }
            if letter != self.escape {
                text.push(letter);
                continue;
            }
            text.extend(self.mode.raw_escapes.then_some(letter));
            match self.letters.peek().copied() {
                None => {}
                Some(escaped) if matches!(escaped, '"' | '$') || escaped == self.escape => {
                    text.extend(self.letters.next());
                }
                Some(_) => text.push(letter),
            }
        }
        fault("unexpected end of statement while looking for matching double-quote")
    }

    /// `<<` takes the spaces behind it into its word: they belong to a heredoc's name.
    fn possible_heredoc(&mut self) -> String {
        self.letters.next();
        if self.letters.next_if_eq(&'<').is_none() {
            return "<".to_owned();
        }
        let mut text = "<<".to_owned();
        while let Some(space) = self.letters.next_if(|letter| matches!(letter, '\t' | '\r' | ' ')) {
            text.push(space);
        }
        text
    }

    fn dollar(&mut self) -> Result<String> {
        self.letters.next();
        if self.letters.next_if_eq(&'{').is_some() {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return fault(format!("more than {DEPTH_MAX} substitutions inside of each other"));
            }
            let value = self.braced();
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(match self.variable(&name) {
            None if self.mode.keep_unset => format!("${name}"),
            value => value.unwrap_or_default(),
        })
    }

    /// What stands between braces.
    fn braced(&mut self) -> Result<String> {
        match self.letters.peek() {
            None => return fault("syntax error: missing '}'"),
            Some('{' | '}' | ':') => return fault("syntax error: bad substitution"),
            Some(_) => {}
        }
        let name = self.name();
        let Some(modifier) = self.letters.next() else { return fault("syntax error: missing '}'") };
        match modifier {
            '}' => Ok(match self.variable(&name) {
                None if self.mode.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            ':' => match self.letters.next() {
                None => fault("syntax error: missing '}'"),
                Some(operator @ ('-' | '+' | '?')) => self.modified(&name, operator, true),
                Some(other) => fault(format!("unsupported modifier (:{other}) in substitution")),
            },
            '+' | '-' | '?' | '#' | '%' => self.modified(&name, modifier, false),
            '/' => self.replaced(&name),
            other => fault(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    /// The rest up to `stop`; a text that ends before it lacks what `missing` says.
    fn operand(&mut self, stop: char, raw_escapes: bool, missing: &str) -> Result<String> {
        match self.until(Some(stop), raw_escapes) {
            Ok((text, _)) => Ok(text),
            Err(_) if self.letters.peek().is_none() => fault(missing),
            Err(error) => Err(error),
        }
    }

    /// `${name-word}` and its kin.
    fn modified(&mut self, name: &str, operator: char, empty_is_unset: bool) -> Result<String> {
        let pattern = matches!(operator, '#' | '%');
        let word = self.operand('}', pattern, "syntax error: missing '}'")?;
        let value = self.variable(name);
        if value.is_none() && self.mode.keep_unset {
            let colon = if empty_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let full = value.clone().filter(|value| !(empty_is_unset && value.is_empty()));
        match operator {
            '-' => Ok(full.unwrap_or(word)),
            '+' => Ok(full.map(|_| word).unwrap_or_default()),
            '?' => full.ok_or_else(|| {
                let why = if value.is_none() { "unset" } else { "empty" };
                let why = format!("is not allowed to be {why}");
                ExpandError(format!("{name}: {}", if word.is_empty() { &why } else { &word }))
            }),
            _ => {
                let value = value.unwrap_or_default();
                let longest = word.starts_with(operator);
                let word = if longest { &word[1..] } else { &word };
                let cut = if operator == '#' { substitution::without_prefix } else { substitution::without_suffix };
                cut(word, &value, longest).map_err(ExpandError)
            }
        }
    }

    /// `${name/pattern/replacement}`, or `//` for all of them.
    fn replaced(&mut self, name: &str) -> Result<String> {
        let all = self.letters.next_if_eq(&'/').is_some();
        let pattern = self.operand('/', true, "syntax error: missing '/' in ${}")?;
        let replacement = self.operand('}', true, "syntax error: missing '}'")?;
        match self.variable(name) {
            None if self.mode.keep_unset => Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => {
                let value = value.unwrap_or_default();
                substitution::replaced(&pattern, &value, &replacement, all, RESULT_BYTES_MAX).map_err(ExpandError)
            }
        }
    }

    /// A name, digits, or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(&letter) = self.letters.peek() {
            if name.is_empty() && letter.is_numeric() {
                while let Some(digit) = self.letters.next_if(|letter| letter.is_numeric()) {
                    name.push(digit);
                }
                return name;
            }
            if name.is_empty() && matches!(letter, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
                self.letters.next();
                return letter.to_string();
            }
            if !(letter.is_alphanumeric() || letter == '_') {
                break;
            }
            name.push(letter);
            self.letters.next();
        }
        name
    }

    fn variable(&mut self, name: &str) -> Option<String> {
        let value = (self.variables)(name);
        let seen = if value.is_some() { &mut self.matched } else { &mut self.unset };
        seen.insert(name.to_owned());
        value
    }
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
