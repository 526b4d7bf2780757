//! PURE. What is wrong with an instruction, before it is known on which line it stands.

use super::hint;
use super::model::{ParseError, Span};

/// A mistake in an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    message: String,
    hint: Option<String>,
    /// The word that is wrong, to be found on the line.
    word: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, word: None }
    }

    /// Points to a word of the line.
    pub(super) fn at(mut self, word: &str) -> Self {
        self.word = Some(word.to_owned());
        self
    }

    /// Adds the option that is nearest to the word.
    pub(super) fn meant<'a>(
        mut self,
        word: &str,
        options: impl IntoIterator<Item = &'a str>,
        case_matters: bool,
    ) -> Self {
        self.hint = hint::nearest(word, options, case_matters).map(|found| hint::did_you_mean(&found));
        self
    }

    /// The error for an instruction at `span` whose first line is `line`.
    pub(super) fn on(self, span: Span, line: &str) -> ParseError {
        let found = self.word.as_deref().filter(|word| !word.is_empty()).and_then(|word| line.find(word));
        let column = found.map_or(0, |byte| line[..byte].chars().count() + 1);
        ParseError { span, column: u32::try_from(column).unwrap_or(u32::MAX), message: self.message, hint: self.hint }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}
