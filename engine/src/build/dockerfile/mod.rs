//! PURE. Dockerfiles: from text to stages, the expansion of variables, `.dockerignore` and the linter.
//!
//! The rules are BuildKit's (`docker/dockerfile:1`), and so are the words of errors and warnings: people look them up.
//! Nothing here knows of images, files or the store. A file goes through [`line`] (instructions as joined lines),
//! [`instruction`] (what each says) and [`parse()`] (stages); variables stay as they are written until the executor
//! knows them.

mod copy;
pub mod expand;
mod fault;
mod flags;
mod health;
pub(crate) mod hint;
pub mod ignore;
mod instruction;
mod line;
pub mod lint;
mod model;
pub mod mount;
mod parse;
mod substitution;
mod words;

pub use line::FILE_BYTES_MAX;
pub use model::{
    Add, ArgDecl, CommandLine, Copy, Directives, Dockerfile, Heredoc, Instruction, Kind, Pair, ParseError, Run, Span,
    Stage, Written,
};
pub use mount::{MountFlag, MountKind, RunMount, Sharing};
pub use parse::{parse, parse_trigger};
