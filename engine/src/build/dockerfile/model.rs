//! PURE. What a Dockerfile says: stages of instructions, with nothing expanded yet.

use std::fmt;

use crate::image::Healthcheck;

use super::lint::Warning;
use super::mount::MountFlag;

/// Lines of the file, counted from 1, both inclusive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Where it begins.
    pub start_line: u32,
    /// Where it ends, heredocs included.
    pub end_line: u32,
}

/// A whole file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dockerfile {
    /// The comments at its top that change how it is read.
    pub directives: Directives,
    /// `ARG` before the first `FROM`: for `FROM` lines, and defaults of the stages' own `ARG NAME`.
    pub meta_args: Vec<Instruction>,
    /// In the order of the file.
    pub stages: Vec<Stage>,
    /// What reading it found; [`super::lint::check`] finds the rest.
    pub warnings: Vec<Warning>,
}

/// Parser directives: `# name=value` before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// The front-end asked for, such as `docker/dockerfile:1`; also its line.
    pub syntax: Option<(String, Span)>,
    /// What escapes and continues lines: `\` or a backtick.
    pub escape: char,
    /// Where `escape` was given.
    pub escape_line: Option<Span>,
    /// Options of the linter: `skip=RULE,…;error=true`.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', escape_line: None, check: None }
    }
}

/// `FROM` and what follows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stage {
    /// After `AS`, in lower case.
    pub name: Option<String>,
    /// The image, an earlier stage or `scratch`, unexpanded.
    pub base: String,
    /// `--platform`, unexpanded.
    pub platform: Option<String>,
    /// Lines of the `FROM`.
    pub span: Span,
    /// The `FROM` line, as written.
    pub source: String,
    /// What the comment above says of it: `# NAME text`.
    pub doc: Option<String>,
    /// How `FROM`, `AS` and the name were written, for the linter.
    pub written: Written,
    /// In the order of the file.
    pub instructions: Vec<Instruction>,
}

/// How something was written, for rules of style.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The instruction's word: `FROM`, `run`.
    pub keyword: String,
    /// `AS` of a `FROM`, and the name.
    pub alias: Option<(String, String)>,
    /// The comment lines directly above, without `#`.
    pub comments: Vec<String>,
}

/// One instruction of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    /// Its lines.
    pub span: Span,
    /// As written, continuation lines joined, heredocs left out.
    pub source: String,
    /// Its word and the comments above it.
    pub written: Written,
    /// What it does.
    pub kind: Kind,
}

/// What an instruction does. Strings are unexpanded.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are the instructions")]
pub enum Kind {
    Arg(Vec<ArgDecl>),
    Env(Vec<Pair>),
    Label(Vec<Pair>),
    Maintainer(String),
    Copy(Copy),
    Add(Add),
    Run(Run),
    Cmd(CommandLine),
    Entrypoint(CommandLine),
    Workdir(String),
    User(String),
    Volume(Vec<String>),
    Expose(Vec<String>),
    Shell(Vec<String>),
    Healthcheck(Healthcheck),
    /// Kept in the image for the builds that start from it.
    Onbuild {
        /// The text to keep, heredocs included.
        trigger: String,
        /// The same, parsed.
        instruction: Box<Instruction>,
    },
    Stopsignal(String),
}

/// One name of an `ARG`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArgDecl {
    /// Its name.
    pub name: String,
    /// The default, unexpanded.
    pub value: Option<String>,
    /// What the comment above says of it: `# NAME text`.
    pub doc: Option<String>,
}

/// A name and its value, of `ENV` and `LABEL`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pair {
    /// Its name.
    pub key: String,
    /// Its value, with its quotes.
    pub value: String,
    /// Written in the old way, `NAME value` without `=`.
    pub legacy: bool,
}

/// A command: for the shell, or as the vector to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// One line for the shell.
    Shell(String),
    /// Written as a JSON array.
    Exec(Vec<String>),
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What to run; with heredocs, the line that names them.
    pub command: CommandLine,
    /// The documents that follow the line, in order.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, each to be resolved with the variables of its place.
    pub mounts: Vec<MountFlag>,
    /// `--network`: `default`, `none` or `host`.
    pub network: Option<String>,
    /// `--security`: `sandbox` or `insecure`.
    pub security: Option<String>,
    /// `--device`, as written.
    pub devices: Vec<String>,
}

/// `COPY`, and what `ADD` has in common with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copy {
    /// Paths or patterns.
    pub sources: Vec<String>,
    /// Files written in the Dockerfile itself.
    pub heredocs: Vec<Heredoc>,
    /// Where to.
    pub destination: String,
    /// `--from`: a stage, a named context or an image.
    pub from: Option<String>,
    /// `--chown`, unexpanded.
    pub chown: Option<String>,
    /// `--chmod`, unexpanded.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude` patterns.
    pub exclude: Vec<String>,
}

/// `ADD`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Add {
    /// What it shares with `COPY`.
    pub copy: Copy,
    /// `--checksum`, unexpanded.
    pub checksum: Option<String>,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// `--unpack`, if written.
    pub unpack: Option<bool>,
}

/// A document in the Dockerfile: `<<NAME … NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heredoc {
    /// What ends it, and the file's name in `COPY`.
    pub name: String,
    /// Its lines as they stand in the file; [`Heredoc::text`] is what they mean.
    pub content: String,
    /// Whether variables are expanded (the name is not quoted).
    pub expand: bool,
    /// `<<-`: leading tabs are no part of it.
    pub chomp: bool,
}

impl Heredoc {
    /// The document, without leading tabs if `<<-` was written.
    #[must_use]
    pub fn text(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// Why a Dockerfile cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The instruction's lines.
    pub span: Span,
    /// The column on the first line, from 1; 0 if it is about the whole line.
    pub column: u32,
    /// What is wrong, as BuildKit words it.
    pub message: String,
    /// What was probably meant: `did you mean FROM?`
    pub hint: Option<String>,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dockerfile parse error on line {}: {}", self.span.start_line, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl std::error::Error for ParseError {}
