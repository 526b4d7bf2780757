//! PURE. Dockerfiles: from text to stages, the expansion of variables, `.dockerignore` and the linter.
//!
//! The rules are BuildKit's (`docker/dockerfile:1`), and so are the words of errors and warnings: people look them up.
//! Nothing here knows of images, files or the store.

pub mod lint;
mod model;
pub mod mount;

pub use model::{
    Add, ArgDecl, CommandLine, Copy, Directives, Dockerfile, Heredoc, Instruction, Kind, Pair, ParseError, Run, Span,
    Stage, Written,
};
pub use mount::{MountFlag, MountKind, RunMount, Sharing};
