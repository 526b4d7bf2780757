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

/// Whether a `# syntax=` names the front-end that is built in: docker's own, in any version of its first line.
#[must_use]
pub fn is_own_frontend(syntax: &str) -> bool {
    let name = syntax.split(' ').next().unwrap_or_default();
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let (name, digest) = name.split_once('@').map_or((name, None), |(name, digest)| (name, Some(digest)));
    let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
    let known = matches!(repository, "docker/dockerfile" | "docker/dockerfile-upstream");
    let version = tag.split(['.', '-']).next().unwrap_or_default();
    known && (digest.is_some() || matches!(version, "1" | "latest" | "labs" | "master" | "experimental"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn dockers_frontend_is_the_own_one() {
        for own in [
            "docker/dockerfile:1",
            "docker/dockerfile",
            "docker.io/docker/dockerfile:1.7-labs",
            "docker/dockerfile:1.4.0 x",
            "docker/dockerfile:experimental",
            "docker/dockerfile:1@sha256:00",
        ] {
            assert!(super::is_own_frontend(own), "{own}");
        }
        for other in [
            "",
            "docker/dockerfile:2",
            "evil/dockerfile:1",
            "localhost:5000/docker/dockerfile:1",
            "docker/dockerfilex:1",
        ] {
            assert!(!super::is_own_frontend(other), "{other}");
        }
    }
}
