//! PURE. Rules of style and of likely mistakes, by the names that BuildKit gives them.

mod options;
mod rules;
mod stages;
mod style;
mod variables;

use std::collections::BTreeMap;

use super::ignore::Patterns;
use super::model::{Dockerfile, Instruction, Span, Stage};

pub use options::Options;
pub(super) use rules::NO_EMPTY_CONTINUATION;

/// A rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    name: &'static str,
    url: &'static str,
    description: &'static str,
}

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

impl Warning {
    /// As it is shown in a build's progress: `Rule: message (line 3)`.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{}: {} (line {})", self.rule, self.message, self.span.start_line)
    }
}

/// What the linter knows besides the file.
#[derive(Debug, Default)]
pub struct Surroundings<'a> {
    /// Build arguments that the client gave.
    pub args: BTreeMap<String, String>,
    /// Predefined arguments of `FROM` lines: `TARGETPLATFORM` and its kin.
    pub platform_args: BTreeMap<String, String>,
    /// The patterns of `.dockerignore`.
    pub ignore: Option<&'a Patterns>,
    /// The environments of base images that are known, by the expanded name. A stage on another one is not searched for
    /// undefined variables.
    pub base_env: BTreeMap<String, Vec<String>>,
}

/// What all rules find, in the order of the lines, as far as the file's own options and `options` let them.
#[must_use]
pub fn check(file: &Dockerfile, surroundings: &Surroundings<'_>, options: &Options) -> Vec<Warning> {
    let own = file.directives.check.as_deref().and_then(|text| Options::read(text).ok()).unwrap_or_default();
    let options = own.merged(options);
    let mut found = Findings { options, warnings: Vec::new() };
    for warning in &file.warnings {
        found.add(warning.clone(), &[]);
    }
    style::check(file, &mut found);
    stages::check(file, surroundings, &mut found);
    variables::check(file, surroundings, &mut found);
    found.warnings.sort_by_key(|warning| warning.span.start_line);
    found.warnings
}

/// What was found so far.
struct Findings {
    options: Options,
    warnings: Vec<Warning>,
}

impl Findings {
    /// Adds a warning, unless options or a comment above the instruction (`# check=skip=Rule`) silence it.
    fn add(&mut self, warning: Warning, comments: &[String]) {
        let above = comments.iter().filter_map(|comment| {
            let (name, value) = comment.split_once('=')?;
            let value = value.trim().split(' ').next().unwrap_or_default();
            (name.trim().eq_ignore_ascii_case("check")).then(|| Options::read(value).ok()).flatten()
        });
        let options = above.fold(self.options.clone(), |options, more| options.merged(&more));
        if options.reports(warning.rule) && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn at(&mut self, rule: &Rule, instruction: &Instruction, message: String) {
        self.add(rule.found(message, instruction.span), &instruction.written.comments);
    }

    fn at_stage(&mut self, rule: &Rule, stage: &Stage, message: String) {
        self.add(rule.found(message, stage.span), &stage.written.comments);
    }
}

#[cfg(test)]
mod tests;
