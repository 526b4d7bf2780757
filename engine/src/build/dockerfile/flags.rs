//! PURE. Flags of instructions: `--from=…`, `--link`, `--mount=…`.

use super::fault::Fault;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, or `true` or `false`.
    Bool,
    /// One value.
    Text,
    /// A value each time.
    Texts,
}

/// The flags of one instruction.
#[derive(Debug, Default)]
pub(super) struct Flags {
    given: Vec<(String, String)>,
}

impl Flags {
    /// Reads `words` against what the instruction knows.
    ///
    /// # Errors
    /// Unknown flags (with the nearest one), flags given twice, values that are missing or no booleans.
    pub(super) fn read(words: &[String], known: &[(&'static str, Takes)]) -> Result<Self, Fault> {
        let mut flags = Self::default();
        for word in words.iter().take_while(|word| *word != "--") {
            let wrong = |message: String| Fault::new(message).at(word);
            let (flag, value) = word.split_once('=').map_or((word.as_str(), None), |(flag, value)| (flag, Some(value)));
            let Some(name) = flag.strip_prefix("--") else {
                return Err(wrong(format!("arg should start with -- : {word}")));
            };
            let Some((name, takes)) = known.iter().find(|(known, _)| *known == name) else {
                let names = known.iter().map(|(name, _)| *name);
                return Err(wrong(format!("unknown flag: {flag}")).meant(name, names, true));
            };
            if *takes != Takes::Texts && flags.text(name).is_some() {
                return Err(wrong(format!("duplicate flag specified: {flag}")));
            }
            let value = match (takes, value) {
                (Takes::Bool, None) => "true".to_owned(),
                (_, None) => return Err(wrong(format!("missing a value on flag: {flag}"))),
                (Takes::Bool, Some("")) => return Err(wrong(format!("missing a value on flag: {flag}"))),
                (Takes::Bool, Some(value)) => match value.to_lowercase().as_str() {
                    boolean @ ("true" | "false") => boolean.to_owned(),
                    _ => return Err(wrong(format!("expecting boolean value for flag {flag}, not: {value}"))),
                },
                (_, Some(value)) => value.to_owned(),
            };
            flags.given.push(((*name).to_owned(), value));
        }
        Ok(flags)
    }

    /// The value of a flag, if it was given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// As [`Self::text`], with an empty value as none.
    pub(super) fn filled(&self, name: &str) -> Option<String> {
        self.text(name).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// All values of a flag.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.given.iter().filter(|(given, _)| given == name).map(|(_, value)| value.clone()).collect()
    }

    /// Whether a boolean flag is true.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }
}

/// Takes the flags off the beginning of an instruction's arguments; gives them and the rest.
pub(super) fn split(text: &str, escape: char) -> (Vec<String>, &str) {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let (word, behind) = word(rest, escape);
        rest = behind;
        if word == "--" {
            break;
        }
        words.push(word);
        rest = rest.trim_start();
    }
    (words, rest)
}

/// The first word, its quotes and escapes taken away, and what follows it.
fn word(text: &str, escape: char) -> (String, &str) {
    let (mut word, mut quote) = (String::new(), None);
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match quote {
            None if letter.is_whitespace() => return (word, &text[at..]),
            None if matches!(letter, '\'' | '"') => quote = Some(letter),
            Some(open) if open == letter => quote = None,
            _ if letter == escape => word.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => word.push(letter),
        }
    }
    (word, "")
}
