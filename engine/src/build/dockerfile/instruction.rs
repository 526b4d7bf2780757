//! PURE. From a line to an instruction: the arguments that each takes.

use super::copy;
use super::fault::Fault;
use super::flags::{Flags, Takes};
use super::health;
use super::line::Line;
use super::model::{ArgDecl, CommandLine, Instruction, Kind, Run, Stage};
use super::mount::MountFlag;
use super::words::{self, Array};

/// All instructions.
pub(super) const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a line says.
pub(super) enum Said {
    /// `FROM`: the stage, without instructions.
    Stage(Stage),
    /// Anything else.
    Instruction(Instruction),
}

/// Reads a line.
///
/// # Errors
/// Unknown instructions and flags, arguments that are missing or too many.
pub(super) fn read(line: &Line, escape: char) -> Result<Said, Fault> {
    if line.written.keyword.eq_ignore_ascii_case("FROM") {
        return stage(line).map(Said::Stage);
    }
    let kind = kind(line, escape)?;
    let (span, source, written) = (line.span, line.source.clone(), line.written.clone());
    Ok(Said::Instruction(Instruction { span, source, written, kind }))
}

fn kind(line: &Line, escape: char) -> Result<Kind, Fault> {
    let name = line.written.keyword.to_uppercase();
    let none = || Flags::read(&line.flags, &[]).map(drop);
    Ok(match name.as_str() {
        "ADD" => Kind::Add(copy::add(line)?),
        "ARG" => Kind::Arg(arguments(line, escape)?),
        "CMD" => Kind::Cmd(none().and_then(|()| command(&line.rest))?),
        "COPY" => Kind::Copy(copy::copy(line)?),
        "ENTRYPOINT" => Kind::Entrypoint(none().and_then(|()| command(&line.rest))?),
        "ENV" => Kind::Env(none().and_then(|()| words::pairs(&line.rest, "ENV", escape))?),
        "EXPOSE" => Kind::Expose(none().and_then(|()| at_least_one(words::plain(&line.rest), "EXPOSE"))?),
        "HEALTHCHECK" => Kind::Healthcheck(health::check(line)?),
        "LABEL" => Kind::Label(none().and_then(|()| words::pairs(&line.rest, "LABEL", escape))?),
        "MAINTAINER" => Kind::Maintainer(none().and_then(|()| exactly_one(line, "MAINTAINER"))?),
        "ONBUILD" => onbuild(line, escape)?,
        "RUN" => Kind::Run(run(line)?),
        "SHELL" => Kind::Shell(none().and_then(|()| shell(line))?),
        "STOPSIGNAL" => Kind::Stopsignal(exactly_one(line, "STOPSIGNAL")?),
        "USER" => Kind::User(none().and_then(|()| exactly_one(line, "USER"))?),
        "VOLUME" => Kind::Volume(none().and_then(|()| volumes(line))?),
        "WORKDIR" => Kind::Workdir(none().and_then(|()| exactly_one(line, "WORKDIR"))?),
        _ => {
            let keyword = &line.written.keyword;
            let fault = Fault::new(format!("unknown instruction: {keyword}")).at(keyword);
            return Err(fault.meant(keyword, NAMES, false));
        }
    })
}

fn at_least_one(words: Vec<String>, name: &str) -> Result<Vec<String>, Fault> {
    if words.is_empty() { Err(Fault::new(format!("{name} requires at least one argument"))) } else { Ok(words) }
}

fn exactly_one(line: &Line, name: &str) -> Result<String, Fault> {
    if line.rest.is_empty() {
        return Err(Fault::new(format!("{name} requires exactly one argument")));
    }
    Ok(line.rest.clone())
}

/// A JSON array, else a line for the shell.
pub(super) fn command(text: &str) -> Result<CommandLine, Fault> {
    Ok(match words::array(text)? {
        Array::Strings(words) => CommandLine::Exec(words),
        Array::No => CommandLine::Shell(text.to_owned()),
    })
}

fn stage(line: &Line) -> Result<Stage, Fault> {
    let words = words::plain(&line.rest);
    let alias = match words.as_slice() {
        [_] => None,
        [_, keyword, name] if keyword.eq_ignore_ascii_case("as") => Some((keyword.clone(), name.clone())),
        _ => return Err(Fault::new("FROM requires either one or three arguments")),
    };
    let name = alias.as_ref().map(|(_, name)| name.to_lowercase());
    if let Some(name) = name.as_deref().filter(|name| !is_stage_name(name)) {
        return Err(Fault::new(format!(
            "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
        ))
        .at(&words[2]));
    }
    let flags = Flags::read(&line.flags, &[("platform", Takes::Text)])?;
    let mut written = line.written.clone();
    written.alias = alias;
    Ok(Stage {
        doc: name.as_deref().and_then(|name| doc(&written.comments, name)),
        name,
        base: words[0].clone(),
        platform: flags.filled("platform"),
        span: line.span,
        source: line.source.clone(),
        written,
        instructions: Vec::new(),
    })
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
}

/// What a comment says of a name: `NAME text`.
fn doc(comments: &[String], name: &str) -> Option<String> {
    let of = |line: &String| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    comments.iter().find_map(of)
}

fn arguments(line: &Line, escape: char) -> Result<Vec<ArgDecl>, Fault> {
    let words = at_least_one(words::quoted(&line.rest, escape), "ARG")?;
    let declared = |word: String| {
        let (name, value) = match word.split_once('=') {
            Some(("", _)) => return Err(Fault::new("ARG names can not be blank").at(&word)),
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        Ok(ArgDecl { doc: doc(&line.written.comments, &name), name, value })
    };
    words.into_iter().map(declared).collect()
}

fn run(line: &Line) -> Result<Run, Fault> {
    let known =
        [("mount", Takes::Texts), ("network", Takes::Text), ("security", Takes::Text), ("device", Takes::Texts)];
    let flags = Flags::read(&line.flags, &known)?;
    let network = flags.text("network").map(str::to_owned);
    if let Some(other) = network.as_deref().filter(|mode| !matches!(*mode, "default" | "none" | "host")) {
        return Err(Fault::new(format!("invalid network mode {other:?}")).at(other));
    }
    let security = flags.text("security").map(str::to_owned);
    if let Some(other) = security.as_deref().filter(|mode| !matches!(*mode, "insecure" | "sandbox")) {
        return Err(Fault::new(format!("security {other:?} is not valid")).at(other));
    }
    let mounts = flags.texts("mount").iter().map(|text| MountFlag::read(text)).collect::<Result<_, _>>()?;
    let devices = flags.texts("device");
    let command = command(&line.rest)?;
    Ok(Run { command, heredocs: line.heredocs.clone(), mounts, network, security, devices })
}

fn shell(line: &Line) -> Result<Vec<String>, Fault> {
    match words::array(&line.rest)? {
        Array::Strings(words) => at_least_one(words, "SHELL"),
        Array::No if line.rest.is_empty() => Err(Fault::new("SHELL requires at least one argument")),
        Array::No => Err(Fault::new("SHELL requires the arguments to be in JSON form").at(&line.rest)),
    }
}

fn volumes(line: &Line) -> Result<Vec<String>, Fault> {
    let paths = at_least_one(words::list(&line.rest)?, "VOLUME")?;
    let paths: Vec<String> = paths.iter().map(|path| path.trim().to_owned()).collect();
    if paths.iter().any(String::is_empty) {
        return Err(Fault::new("VOLUME specified can not be an empty string"));
    }
    Ok(paths)
}

fn onbuild(line: &Line, escape: char) -> Result<Kind, Fault> {
    Flags::read(&line.flags, &[])?;
    if line.rest.is_empty() {
        return Err(Fault::new("ONBUILD requires at least one argument"));
    }
    let mut inner = Line::of(&line.rest, escape);
    match inner.written.keyword.to_uppercase().as_str() {
        "ONBUILD" => return Err(Fault::new("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        name @ ("MAINTAINER" | "FROM") => {
            return Err(Fault::new(format!("{name} isn't allowed as an ONBUILD trigger")).at(&inner.written.keyword));
        }
        _ => {}
    }
    inner.heredocs.clone_from(&line.heredocs);
    inner.span = line.span;
    let mut trigger = inner.source.clone();
    for heredoc in &line.heredocs {
        trigger.extend(["\n", &heredoc.content, &heredoc.name]);
    }
    match read(&inner, escape)? {
        Said::Instruction(instruction) => Ok(Kind::Onbuild { trigger, instruction: Box::new(instruction) }),
        Said::Stage(_) => Err(Fault::new("FROM isn't allowed as an ONBUILD trigger")),
    }
}
