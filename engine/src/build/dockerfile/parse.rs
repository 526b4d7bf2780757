//! PURE. From a file to its stages.

use super::fault::Fault;
use super::instruction::{self, Said};
use super::line::{self, Line};
use super::model::{Dockerfile, Instruction, Kind, ParseError, Span};

/// The most instructions that a Dockerfile may have.
const INSTRUCTIONS_MAX: usize = 20_000;

/// Reads a Dockerfile.
///
/// # Errors
/// The first thing that is wrong, with its line, its column where one word is to blame, and what was probably meant.
pub fn parse(text: &str) -> Result<Dockerfile, ParseError> {
    let read = line::read(text)?;
    let mut file = Dockerfile { directives: read.directives, warnings: read.warnings, ..Dockerfile::default() };
    if read.lines.len() > INSTRUCTIONS_MAX {
        return Err(Fault::new(format!("more than {INSTRUCTIONS_MAX} instructions")).on(Span::default(), ""));
    }
    for line in &read.lines {
        let fail = |fault: Fault| fault.on(line.span, &line.first);
        match instruction::read(line, file.directives.escape).map_err(fail)? {
            Said::Stage(stage) => file.stages.push(stage),
            Said::Instruction(instruction) => match file.stages.last_mut() {
                Some(stage) => stage.instructions.push(instruction),
                None if matches!(instruction.kind, Kind::Arg(_)) => file.meta_args.push(instruction),
                None => return Err(fail(Fault::new("no build stage in current context").at(&line.written.keyword))),
            },
        }
    }
    if file.stages.is_empty() {
        let span = read.lines.last().map_or_else(Span::default, |line| line.span);
        return Err(Fault::new("dockerfile contains no stages to build").on(span, ""));
    }
    Ok(file)
}

/// Reads one instruction by itself: a trigger of `ONBUILD`, or one of `commit --change`.
///
/// # Errors
/// As [`parse`]; `FROM` is none.
pub fn parse_trigger(text: &str) -> Result<Instruction, ParseError> {
    let read = line::read(text)?;
    let [line] = read.lines.as_slice() else {
        return Err(Fault::new("more than one instruction").on(Span { start_line: 1, end_line: 1 }, text));
    };
    trigger(line, read.directives.escape).map_err(|fault| fault.on(line.span, &line.first))
}

fn trigger(line: &Line, escape: char) -> Result<Instruction, Fault> {
    match instruction::read(line, escape)? {
        Said::Instruction(instruction) => Ok(instruction),
        Said::Stage(_) => Err(Fault::new("FROM isn't allowed as an ONBUILD trigger")),
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
