//! PURE. Rules about `FROM` lines, `WORKDIR` and what `COPY` finds.

use std::collections::BTreeSet;

use crate::build::dockerfile::expand::{self, Expanded};
use crate::build::dockerfile::hint;
use crate::build::dockerfile::ignore;
use crate::build::dockerfile::model::{Copy, Dockerfile, Instruction, Kind, Stage};
use crate::image::Reference;

use super::variables::MetaArgs;
use super::{Findings, Surroundings, rules, style};

pub(super) fn check(file: &Dockerfile, surroundings: &Surroundings<'_>, found: &mut Findings) {
    names(file, found);
    bases(file, surroundings, found);
    for stage in &file.stages {
        workdir(stage, found);
        for instruction in &stage.instructions {
            match &instruction.kind {
                Kind::Copy(copy) if copy.from.is_none() => ignored(copy, "Copy", instruction, surroundings, found),
                Kind::Add(add) => ignored(&add.copy, "Add", instruction, surroundings, found),
                _ => {}
            }
        }
    }
}

fn names(file: &Dockerfile, found: &mut Findings) {
    let mut seen = BTreeSet::new();
    for stage in &file.stages {
        let (Some(name), Some((keyword, written))) = (&stage.name, &stage.written.alias) else { continue };
        if written != name {
            let message = format!("Stage name '{written}' should be lowercase");
            found.at_stage(&rules::STAGE_NAME_CASING, stage, message);
        }
        let from = &stage.written.keyword;
        let matches = match (from.to_lowercase() == *from, from.to_uppercase() == *from) {
            (true, _) => keyword.to_lowercase() == *keyword,
            (_, true) => keyword.to_uppercase() == *keyword,
            _ => true,
        };
        if !matches {
            let message = format!("'{keyword}' and '{from}' keywords' casing do not match");
            found.at_stage(&rules::FROM_AS_CASING, stage, message);
        }
        if matches!(name.as_str(), "context" | "scratch") {
            let message = format!("Stage name should not use the same name as reserved stage {name:?}");
            found.at_stage(&rules::RESERVED_STAGE_NAME, stage, message);
        }
        if !seen.insert(name) {
            let message = format!("Duplicate stage name {name:?}, stage names should be unique");
            found.at_stage(&rules::DUPLICATE_STAGE_NAME, stage, message);
        }
        if let Some(message) = style::description("FROM", &[name], &stage.written.comments) {
            found.at_stage(&rules::INVALID_DEFINITION_DESCRIPTION, stage, message);
        }
    }
}

fn bases(file: &Dockerfile, surroundings: &Surroundings<'_>, found: &mut Findings) {
    let escape = file.directives.escape;
    let given = MetaArgs::of(file, surroundings);
    let defaults = MetaArgs::of_defaults(file, surroundings);
    for stage in &file.stages {
        if let Ok(base) = expand::word(&stage.base, escape, &|name| given.get(name)) {
            undeclared(&base, &given, stage, found);
        }
        if let Ok(base) = expand::word(&stage.base, escape, &|name| defaults.get(name))
            && base.text != "scratch"
            && base.text.parse::<Reference>().is_err()
        {
            let message = format!("Default value for ARG {} results in empty or invalid base image name", stage.base);
            found.at_stage(&rules::INVALID_DEFAULT_ARG_IN_FROM, stage, message);
        }
        let Some(platform) = &stage.platform else { continue };
        let Ok(expanded) = expand::word(platform, escape, &|name| given.get(name)) else { continue };
        undeclared(&expanded, &given, stage, found);
        self::platform(platform, &expanded, &given, stage, found);
    }
}

/// Variables of a `FROM` that no `ARG` declares.
fn undeclared(expanded: &Expanded, given: &MetaArgs, stage: &Stage, found: &mut Findings) {
    for name in expanded.unset.iter().filter(|name| !given.is_declared(name)) {
        let meant = hint::nearest(name, given.names(), true);
        let meant = meant.map(|meant| format!(" ({})", hint::did_you_mean(&meant))).unwrap_or_default();
        let message = format!("FROM argument '{name}' is not declared{meant}");
        found.at_stage(&rules::UNDEFINED_ARG_IN_FROM, stage, message);
    }
}

fn platform(written: &str, expanded: &Expanded, given: &MetaArgs, stage: &Stage, found: &mut Findings) {
    let only: Vec<&String> = expanded.matched.iter().chain(&expanded.unset).collect();
    if only == ["TARGETPLATFORM"] && given.get("TARGETPLATFORM").as_ref() == Some(&expanded.text) {
        let message =
            format!("Setting platform to predefined {written} in FROM is redundant as this is the default behavior");
        found.at_stage(&rules::REDUNDANT_TARGET_PLATFORM, stage, message);
    }
    let name = stage.name.as_deref().unwrap_or_default();
    let mut parts = expanded.text.split('/').filter(|part| !part.is_empty());
    if only.is_empty() && !expanded.text.is_empty() && !parts.any(|part| name.contains(part)) {
        let message = format!("FROM --platform flag should not use constant value {:?}", expanded.text);
        found.at_stage(&rules::FROM_PLATFORM_FLAG_CONST_DISALLOWED, stage, message);
    }
}

/// The first `WORKDIR` of a stage, when it is relative.
fn workdir(stage: &Stage, found: &mut Findings) {
    for instruction in &stage.instructions {
        let Kind::Workdir(path) = &instruction.kind else { continue };
        if !path.starts_with(['/', '$', '"', '\'']) {
            let message = format!("Relative workdir {path:?} can have unexpected results if the base image changes");
            found.at(&rules::WORKDIR_RELATIVE_PATH, instruction, message);
        }
        return;
    }
}

fn ignored(copy: &Copy, verb: &str, instruction: &Instruction, surroundings: &Surroundings<'_>, found: &mut Findings) {
    // Whether a file below an excluded directory is taken back cannot be told from the text.
    let Some(patterns) = surroundings.ignore.filter(|patterns| !patterns.has_exceptions()) else { return };
    for source in &copy.sources {
        if source.contains('$') || source.contains("://") {
            continue;
        }
        let path = ignore::clean(source);
        let is_root = path == "." || path == "/";
        if (is_root && patterns.covers_all()) || (!is_root && patterns.excludes(&path)) {
            let message = format!("Attempting to {verb} file {path:?} that is excluded by .dockerignore");
            found.at(&rules::COPY_IGNORED_FILE, instruction, message);
        }
    }
}
