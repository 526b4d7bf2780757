//! PURE. Which stages a build needs, what each stands on, and the variables of `FROM` lines.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::error::{Error, Result};
use crate::image::Platform;

use super::dockerfile::{Dockerfile, Instruction, Kind, Stage};
use super::spec::{BuildSpec, NamedContext};
use super::state;

/// What a stage begins with, or a `--from` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image.
    Image(String),
    /// A directory of the client.
    Local(String),
}

/// One stage with its `FROM` worked out.
#[derive(Debug, Clone)]
pub(super) struct PlannedStage {
    pub(super) base: Base,
    pub(super) platform: Option<Platform>,
    /// Stages that must be there before it, by the file alone.
    pub(super) needs: BTreeSet<usize>,
    /// The number of its `FROM` among all steps that are done, from 1.
    pub(super) first_step: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) file: Dockerfile,
    pub(super) stages: Vec<PlannedStage>,
    pub(super) target: usize,
    /// Stages that are done, in order.
    pub(super) wanted: Vec<usize>,
    /// Steps of all of them.
    pub(super) steps: usize,
    /// Arguments before the first `FROM`, and those that every build has.
    pub(super) globals: BTreeMap<String, String>,
    contexts: BTreeMap<String, NamedContext>,
}

impl Plan {
    /// Works out what is to be done.
    ///
    /// # Errors
    /// `InvalidArgument` for a target that there is not, and for names that lead nowhere.
    pub(super) fn new(file: Dockerfile, spec: &BuildSpec) -> Result<Self> {
        if file.stages.is_empty() {
            return Err(Error::invalid("file with no instructions"));
        }
        let globals = globals(&file, spec)?;
        let mut plan = Self {
            target: target(&file, spec.target.as_deref())?,
            stages: Vec::with_capacity(file.stages.len()),
            wanted: Vec::new(),
            steps: 0,
            globals,
            contexts: spec.contexts.clone(),
            file,
        };
        for number in 0..plan.file.stages.len() {
            let planned = plan.stage(number)?;
            plan.stages.push(planned);
        }
        plan.wanted = if spec.classic { (0..=plan.target).collect() } else { plan.reachable() };
        for number in plan.wanted.clone() {
            plan.stages[number].first_step = plan.steps + 1;
            plan.steps += 1 + plan.file.stages[number].instructions.len();
        }
        Ok(plan)
    }

    fn stage(&self, number: usize) -> Result<PlannedStage> {
        let stage = &self.file.stages[number];
        let lookup = |name: &str| self.globals.get(name).cloned();
        let expand = |text: &str| state::word(text, self.file.directives.escape, &lookup);
        let base = expand(&stage.base)?;
        if base.is_empty() {
            return Err(Error::invalid(format!(
                "dockerfile parse error on line {}: base name ({}) should not be blank",
                stage.span.start_line, stage.base
            )));
        }
        let platform = match &stage.platform {
            None => None,
            Some(text) => match expand(text)?.as_str() {
                "" => None,
                platform => Some(platform.parse()?),
            },
        };
        let base = self.find(&base, number, false)?;
        let mut needs: BTreeSet<usize> = if let Base::Stage(other) = base { [other].into() } else { BTreeSet::new() };
        for from in stage.instructions.iter().flat_map(froms) {
            if let Base::Stage(other) = self.find(from, number, true)? {
                needs.insert(other);
            }
        }
        Ok(PlannedStage { base, platform, needs, first_step: 0 })
    }

    /// What a name means in stage `here`; `numbers`: stages can be named by their number.
    pub(super) fn find(&self, name: &str, here: usize, numbers: bool) -> Result<Base> {
        let folded = name.to_ascii_lowercase();
        if let Some(context) = self.contexts.get(&folded).or_else(|| self.contexts.get(name)) {
            return Ok(match context {
                NamedContext::Local(source) => Base::Local(source.clone()),
                NamedContext::Image(image) => Base::Image(image.clone()),
                NamedContext::Build(image) => Base::Image(image.to_string()),
            });
        }
        let named = |stage: &Stage| stage.name.as_deref() == Some(folded.as_str());
        if let Some(other) = self.file.stages[..here].iter().rposition(named) {
            return Ok(Base::Stage(other));
        }
        if self.file.stages.get(here).is_some_and(named) && numbers {
            return Err(Error::invalid(format!("circular dependency detected on stage: {folded}")));
        }
        if numbers && let Ok(number) = name.parse::<usize>() {
            return match number {
                number if number < here => Ok(Base::Stage(number)),
                _ => Err(Error::invalid(format!(
                    "invalid from flag value {name}: it refers to no stage before this one"
                ))),
            };
        }
        Ok(if name == "scratch" && !numbers { Base::Scratch } else { Base::Image(name.to_owned()) })
    }

    fn reachable(&self) -> Vec<usize> {
        let kept = crate::gc::reachable([self.target], |number| self.stages[*number].needs.clone());
        let mut kept: Vec<usize> = kept.into_iter().collect();
        kept.sort_unstable();
        kept
    }

    /// The name of a stage as it is shown.
    pub(super) fn stage_name(&self, number: usize) -> String {
        match &self.file.stages[number].name {
            Some(name) => name.clone(),
            None if self.file.stages.len() == 1 => String::new(),
            None => format!("stage-{number}"),
        }
    }
}

/// The names in `--from` of an instruction.
fn froms(instruction: &Instruction) -> Vec<&str> {
    match &instruction.kind {
        Kind::Copy(copy) => copy.from.as_deref().into_iter().collect(),
        Kind::Add(add) => add.copy.from.as_deref().into_iter().collect(),
        Kind::Run(run) => run.mounts.iter().filter_map(|mount| mount.from.as_deref()).collect(),
        _ => Vec::new(),
    }
}

fn target(file: &Dockerfile, wanted: Option<&str>) -> Result<usize> {
    let Some(wanted) = wanted.filter(|name| !name.is_empty()) else { return Ok(file.stages.len() - 1) };
    let folded = wanted.to_ascii_lowercase();
    let by_name = file.stages.iter().rposition(|stage| stage.name.as_deref() == Some(folded.as_str()));
    let by_number = || wanted.parse::<usize>().ok().filter(|number| *number < file.stages.len());
    by_name.or_else(by_number).ok_or_else(|| Error::invalid(format!("target stage {wanted:?} could not be found")))
}

/// What `FROM` lines can use, and what `ARG NAME` in a stage takes over.
fn globals(file: &Dockerfile, spec: &BuildSpec) -> Result<BTreeMap<String, String>> {
    let build = Platform::host();
    let target = spec.platform.clone().unwrap_or_else(Platform::host);
    let mut all = BTreeMap::new();
    for (prefix, platform) in [("BUILD", &build), ("TARGET", &target)] {
        all.insert(format!("{prefix}PLATFORM"), platform.to_string());
        all.insert(format!("{prefix}OS"), platform.os.clone());
        all.insert(format!("{prefix}ARCH"), platform.architecture.clone());
        all.insert(format!("{prefix}VARIANT"), platform.variant.clone().unwrap_or_default());
    }
    all.insert("TARGETSTAGE".to_owned(), spec.target.clone().unwrap_or_else(|| "default".to_owned()));
    let given: HashMap<&String, &String> =
        spec.args.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
    for name in all.clone().keys() {
        if let Some(value) = given.get(name) {
            all.insert(name.clone(), (*value).clone());
        }
    }
    for instruction in &file.meta_args {
        let Kind::Arg(declared) = &instruction.kind else { continue };
        for arg in declared {
            let value = match (given.get(&arg.name), &arg.value) {
                (Some(value), _) => Some((*value).clone()),
                (None, Some(default)) => {
                    let lookup = |name: &str| all.get(name).cloned();
                    Some(state::word(default, file.directives.escape, &lookup)?)
                }
                (None, None) => None,
            };
            if let Some(value) = value {
                all.insert(arg.name.clone(), value);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::dockerfile::parse;
    use super::*;

    fn plan(text: &str, change: impl FnOnce(&mut BuildSpec)) -> Result<Plan> {
        let mut spec = BuildSpec::default();
        change(&mut spec);
        Plan::new(parse(text).unwrap(), &spec)
    }

    const FILE: &str = "ARG tag=1\nFROM base:$tag AS one\nRUN a\nFROM scratch AS unused\nRUN b\n\
        FROM one AS two\nRUN --mount=from=one,target=/x c\nFROM scratch\nCOPY --from=two /a /b\nCOPY --from=tool:1 /a /b";

    #[test]
    fn only_what_the_target_needs_is_done() {
        let whole = plan(FILE, |_| {}).unwrap();
        assert_eq!((whole.target, whole.wanted.as_slice(), whole.steps), (3, [0, 2, 3].as_slice(), 7));
        assert_eq!(whole.stages[0].base, Base::Image("base:1".into()));
        assert_eq!((&whole.stages[2].base, whole.stages[2].first_step), (&Base::Stage(0), 3));
        let part = plan(FILE, |spec| spec.target = Some("TWO".into())).unwrap();
        assert_eq!(part.wanted, [0, 2]);
        let classic = plan(FILE, |spec| spec.classic = true).unwrap();
        assert_eq!(classic.wanted, [0, 1, 2, 3]);
        assert!(plan(FILE, |spec| spec.target = Some("nosuch".into())).unwrap_err().message().contains("nosuch"));
    }

    #[test]
    fn arguments_and_contexts_change_what_a_stage_stands_on() {
        let given = plan(FILE, |spec| drop(spec.args.insert("tag".into(), Some("2".into())))).unwrap();
        assert_eq!(given.stages[0].base, Base::Image("base:2".into()));
        let local =
            plan(FILE, |spec| drop(spec.contexts.insert("one".into(), NamedContext::Local("dir".into())))).unwrap();
        assert_eq!((&local.stages[2].base, local.wanted.as_slice()), (&Base::Local("dir".into()), [2, 3].as_slice()));
        let platform = plan("FROM --platform=$BUILDPLATFORM x", |_| {}).unwrap();
        assert_eq!(platform.stages[0].platform, Some(Platform::host()));
    }

    #[test]
    fn a_base_that_is_empty_and_a_stage_of_itself_are_refused() {
        assert!(plan("ARG x\nFROM $x", |_| {}).unwrap_err().message().contains("should not be blank"));
        let own = plan("FROM scratch AS a\nCOPY --from=a /x /y", |_| {}).unwrap_err();
        assert!(own.message().contains("circular"), "{own}");
        assert!(plan("FROM scratch\nCOPY --from=3 /x /y", |_| {}).is_err());
    }
}
