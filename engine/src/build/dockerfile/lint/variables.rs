//! PURE. Variables: what a stage knows at each instruction, and what is used without being known.

use std::collections::{BTreeMap, BTreeSet};

use crate::build::dockerfile::expand;
use crate::build::dockerfile::hint;
use crate::build::dockerfile::model::{ArgDecl, Copy, Dockerfile, Instruction, Kind, Run, Stage};

use super::{Findings, Surroundings, rules};

/// The arguments that `FROM` lines may use.
pub(super) struct MetaArgs {
    values: BTreeMap<String, String>,
    declared: BTreeSet<String>,
}

impl MetaArgs {
    /// With what the client gave.
    pub(super) fn of(file: &Dockerfile, surroundings: &Surroundings<'_>) -> Self {
        Self::with(file, &surroundings.platform_args, &surroundings.args)
    }

    /// As if the client gave nothing.
    pub(super) fn of_defaults(file: &Dockerfile, surroundings: &Surroundings<'_>) -> Self {
        Self::with(file, &surroundings.platform_args, &BTreeMap::new())
    }

    fn with(file: &Dockerfile, platform: &BTreeMap<String, String>, given: &BTreeMap<String, String>) -> Self {
        let mut args = Self { values: platform.clone(), declared: platform.keys().cloned().collect() };
        for ArgDecl { name, value, .. } in file.meta_args.iter().flat_map(declared) {
            args.declared.insert(name.clone());
            let default = value.as_ref().and_then(|text| {
                expand::word(text, file.directives.escape, &|name| args.get(name)).ok().map(|found| found.text)
            });
            if let Some(value) = given.get(name).cloned().or(default) {
                args.values.insert(name.clone(), value);
            }
        }
        args
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned()
    }

    pub(super) fn is_declared(&self, name: &str) -> bool {
        self.declared.contains(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.declared.iter().map(String::as_str)
    }
}

fn declared(instruction: &Instruction) -> &[ArgDecl] {
    match &instruction.kind {
        Kind::Arg(arguments) => arguments,
        _ => &[],
    }
}

pub(super) fn check(file: &Dockerfile, surroundings: &Surroundings<'_>, found: &mut Findings) {
    let meta = MetaArgs::of(file, surroundings);
    let mut of_stages: BTreeMap<&str, Option<BTreeSet<String>>> = BTreeMap::new();
    for stage in &file.stages {
        let escape = file.directives.escape;
        let base = expand::word(&stage.base, escape, &|name| meta.get(name)).map(|found| found.text);
        let base = base.unwrap_or_default();
        let known = match of_stages.get(base.as_str()) {
            Some(known) => known.clone(),
            None if base == "scratch" => Some(BTreeSet::from(["PATH".to_owned()])),
            None => surroundings
                .base_env
                .get(&base)
                .map(|names| names.iter().cloned().chain(["PATH".to_owned()]).collect::<BTreeSet<_>>()),
        };
        let known = known.map(|known| stage_variables(stage, known, escape, found));
        if let Some(name) = &stage.name {
            of_stages.insert(name, known);
        }
    }
}

/// Reports what a stage uses without knowing it; gives the environment that it ends with.
fn stage_variables(stage: &Stage, mut env: BTreeSet<String>, escape: char, found: &mut Findings) -> BTreeSet<String> {
    let mut args: BTreeSet<String> = BTreeSet::new();
    for instruction in &stage.instructions {
        let mut unset = BTreeSet::new();
        for text in used(&instruction.kind) {
            let known = |name: &str| (env.contains(name) || args.contains(name)).then(String::new);
            // What cannot be expanded fails the build with its own error.
            if let Ok(expanded) = expand::word(text, escape, &known) {
                unset.extend(expanded.unset);
            }
        }
        for name in unset {
            let meant = hint::nearest(&name, env.iter().chain(&args).map(String::as_str), true);
            let meant = meant.map(|meant| format!(" ({})", hint::did_you_mean(&format!("${meant}"))));
            let message = format!("Usage of undefined variable '${name}'{}", meant.unwrap_or_default());
            found.at(&rules::UNDEFINED_VAR, instruction, message);
        }
        match &instruction.kind {
            Kind::Arg(arguments) => args.extend(arguments.iter().map(|argument| argument.name.clone())),
            Kind::Env(pairs) => env.extend(pairs.iter().map(|pair| pair.key.clone())),
            _ => {}
        }
    }
    env
}

/// The texts of an instruction whose variables the build expands.
fn used(kind: &Kind) -> Vec<&str> {
    match kind {
        Kind::Env(pairs) | Kind::Label(pairs) => {
            pairs.iter().flat_map(|pair| [pair.key.as_str(), pair.value.as_str()]).collect()
        }
        Kind::Arg(arguments) => arguments.iter().filter_map(|argument| argument.value.as_deref()).collect(),
        Kind::Copy(copy) => copied(copy),
        Kind::Add(add) => copied(&add.copy).into_iter().chain(add.checksum.as_deref()).collect(),
        Kind::Run(Run { mounts, .. }) => mounts.iter().map(|mount| mount.text.as_str()).collect(),
        Kind::Workdir(text) | Kind::User(text) | Kind::Stopsignal(text) => vec![text],
        Kind::Volume(texts) | Kind::Expose(texts) => texts.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

fn copied(copy: &Copy) -> Vec<&str> {
    let flags = [copy.chown.as_deref(), copy.chmod.as_deref()];
    let paths = copy.sources.iter().map(String::as_str).chain([copy.destination.as_str()]);
    paths.chain(flags.into_iter().flatten()).collect()
}
