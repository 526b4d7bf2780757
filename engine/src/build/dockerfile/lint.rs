//! PURE. Rules of style and of likely mistakes, by the names that BuildKit gives them.

use super::model::Span;

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The rule's name, such as `StageNameCasing`.
    pub rule: &'static str,
    /// What the rule is about.
    pub description: &'static str,
    /// Where the rule is explained.
    pub url: &'static str,
    /// What was found here.
    pub message: String,
    /// Where.
    pub span: Span,
}
