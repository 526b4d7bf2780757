//! PURE. Rules that need nothing but the text.

use crate::build::dockerfile::model::{CommandLine, Dockerfile, Instruction, Kind, Pair, Span, Stage};

use super::{Findings, rules};

pub(super) fn check(file: &Dockerfile, found: &mut Findings) {
    casing(file, found);
    for stage in &file.stages {
        once(stage, found);
        let mut shell_set = false;
        for instruction in &stage.instructions {
            shell_set |= matches!(instruction.kind, Kind::Shell(_));
            one(instruction, shell_set, found);
        }
    }
    for instruction in &file.meta_args {
        one(instruction, false, found);
    }
}

fn one(instruction: &Instruction, shell_set: bool, found: &mut Findings) {
    let keyword = &instruction.written.keyword;
    match &instruction.kind {
        Kind::Maintainer(_) => {
            let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
            found.at(&rules::MAINTAINER_DEPRECATED, instruction, message);
        }
        Kind::Cmd(CommandLine::Shell(_)) | Kind::Entrypoint(CommandLine::Shell(_)) if !shell_set => {
            let message = format!(
                "JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals"
            );
            found.at(&rules::JSON_ARGS_RECOMMENDED, instruction, message);
        }
        Kind::Env(pairs) => {
            legacy(pairs, instruction, found);
            pairs.iter().for_each(|pair| secret("ENV", &pair.key, instruction, found));
        }
        Kind::Label(pairs) => legacy(pairs, instruction, found),
        Kind::Arg(arguments) => {
            arguments.iter().for_each(|argument| secret("ARG", &argument.name, instruction, found));
            let names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
            if let Some(message) = description("ARG", &names, &instruction.written.comments) {
                found.at(&rules::INVALID_DEFINITION_DESCRIPTION, instruction, message);
            }
        }
        Kind::Expose(ports) => ports.iter().for_each(|port| exposed(port, instruction, found)),
        _ => {}
    }
}

fn legacy(pairs: &[Pair], instruction: &Instruction, found: &mut Findings) {
    if pairs.iter().any(|pair| pair.legacy) {
        let keyword = &instruction.written.keyword;
        let message =
            format!("\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format");
        found.at(&rules::LEGACY_KEY_VALUE_FORMAT, instruction, message);
    }
}

/// A name that has `password` among its words, and nothing that makes it harmless.
fn secret(keyword: &str, name: &str, instruction: &Instruction, found: &mut Findings) {
    const SECRET: [&str; 10] =
        ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let lower = name.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    if has(&SECRET) && !has(&HARMLESS) {
        let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
        found.at(&rules::SECRETS_USED_IN_ARG_OR_ENV, instruction, message);
    }
}

fn exposed(port: &str, instruction: &Instruction, found: &mut Findings) {
    if port.contains('$') {
        return;
    }
    let (numbers, protocol) = port.rsplit_once('/').unwrap_or((port, ""));
    if protocol.to_lowercase() != protocol {
        let message = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
        found.at(&rules::EXPOSE_PROTO_CASING, instruction, message);
    }
    if numbers.contains(':') {
        let message =
            format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'");
        found.at(&rules::EXPOSE_INVALID_FORMAT, instruction, message);
    }
}

/// What is wrong with a comment that looks like a description.
pub(super) fn description(keyword: &str, names: &[&str], comments: &[String]) -> Option<String> {
    let first = comments.last()?.split(' ').next().unwrap_or_default();
    if names.is_empty() || names.contains(&first) {
        return None;
    }
    let example = if names.len() > 1 { "<arg_key>" } else { names[0] };
    Some(format!("Comment for {keyword} should follow the format: `# {example} <description>`"))
}

/// Instructions of which only the last one counts: the others are reported.
fn once(stage: &Stage, found: &mut Findings) {
    let named = |kind: &Kind| match kind {
        Kind::Cmd(_) => Some(0),
        Kind::Entrypoint(_) => Some(1),
        Kind::Healthcheck(_) => Some(2),
        _ => None,
    };
    let mut last: [Option<&Instruction>; 3] = [None; 3];
    for instruction in &stage.instructions {
        let Some(index) = named(&instruction.kind) else { continue };
        if let Some(before) = last[index].replace(instruction) {
            let keyword = &instruction.written.keyword;
            let message = format!(
                "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
            );
            found.at(&rules::MULTIPLE_INSTRUCTIONS_DISALLOWED, before, message);
        }
    }
}

/// All words in one case.
fn casing(file: &Dockerfile, found: &mut Findings) {
    let words: Vec<(&str, Span, &[String])> = file
        .stages
        .iter()
        .flat_map(|stage| {
            let from = (stage.written.keyword.as_str(), stage.span, stage.written.comments.as_slice());
            std::iter::once(from).chain(
                stage
                    .instructions
                    .iter()
                    .map(|one| (one.written.keyword.as_str(), one.span, one.written.comments.as_slice())),
            )
        })
        .collect();
    let is_lower = |word: &str| word.to_lowercase() == word;
    let is_upper = |word: &str| word.to_uppercase() == word;
    let lower = words.iter().filter(|(word, ..)| is_lower(word)).count();
    let upper = words.iter().filter(|(word, ..)| is_upper(word)).count();
    for (word, span, comments) in words {
        let (is_right, casing) =
            if lower > upper { (is_lower(word), "lowercase") } else { (is_upper(word), "uppercase") };
        if !is_right {
            let message = format!("Command '{word}' should match the case of the command majority ({casing})");
            found.add(rules::CONSISTENT_INSTRUCTION_CASING.found(message, span), comments);
        }
    }
}
