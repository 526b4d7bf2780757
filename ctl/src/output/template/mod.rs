//! Go's `text/template` language with docker's functions, for `--format`.
//!
//! [`Template::parse`] reads the text once; [`Template::render`] runs it on a [`Value`]. The engine knows
//! pipelines, variables, `if`/`else if`, `range`/`else`/`break`/`continue`, `with`, `define`, `template`,
//! `block`, and the functions listed in `functions.rs`. Messages have the form of Go's.

mod eval;
mod format;
mod functions;
mod lexer;
mod parser;
mod value;

pub(crate) use value::{Object, Value, quote_json};

use eval::{Evaluator, Mode};
use parser::Tree;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    tree: Tree,
}

impl Template {
    /// Parses; the message is Go's, e.g. `template: :1: unclosed action`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(Template { tree: parser::parse(text)? })
    }

    /// Runs the template on `dot`. A missing key of a map prints `<no value>`.
    pub(crate) fn render(&self, dot: &Value) -> Result<String, String> {
        Evaluator::new(&self.tree, Mode::Normal).run(dot)
    }

    /// Runs the template; a missing key of a map is an error.
    pub(crate) fn render_strict(&self, dot: &Value) -> Result<String, String> {
        Evaluator::new(&self.tree, Mode::Strict).run(dot)
    }

    /// Runs the template on the names of a table's columns.
    pub(crate) fn render_header(&self, names: &Value) -> Result<String, String> {
        Evaluator::new(&self.tree, Mode::Header).run(names)
    }
}

#[cfg(test)]
mod tests;
