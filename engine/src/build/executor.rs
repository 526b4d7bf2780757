//! Carrying a build out: stages along their dependencies, steps in order, all of it ended and taken down together.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use crate::engine::Core;
use crate::error::{Error, Result};
use crate::id::{Digest, ImageId};

use super::base;
use super::client::{BuildClient, LocalSource, SourceFilter};
use super::dockerfile::ignore::Patterns;
use super::dockerfile::{ArgDecl, Instruction, Kind, parse_trigger};
use super::event::{BuildEvent, StepAt};
use super::layers::Layers;
use super::plan::{Base, Plan};
use super::process::cancelled;
use super::sandbox::Sandboxes;
use super::source::Source;
use super::spec::{BuildSpec, CacheUse};
use super::state::State;
use super::step::{Outcome, Step};
use super::teller::Vertex;
use super::{step_copy, step_run};

/// Commands and copies of one build that go on at once.
const STEPS_MAX: usize = 4;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One build that goes on.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) core: Arc<Core>,
    pub(super) spec: BuildSpec,
    pub(super) client: Arc<dyn BuildClient>,
    pub(super) events: mpsc::Sender<BuildEvent>,
    /// Of this build alone: also cancelled when a step fails.
    pub(super) cancel: CancellationToken,
    pub(super) layers: Layers,
    pub(super) sandboxes: Sandboxes,
    pub(super) plan: Plan,
    /// What the main context leaves out.
    pub(super) ignore: Option<Arc<Patterns>>,
    stages: Vec<OnceCell<Arc<State>>>,
    /// The digest of each stage's last step, for those that come after it.
    ends: Mutex<HashMap<usize, Digest>>,
    sources: Mutex<HashMap<String, Arc<OnceCell<Arc<Source>>>>>,
    turns: Semaphore,
}

impl Execution {
    #[expect(clippy::too_many_arguments, reason = "the parts of a build, each made once and put together here")]
    pub(super) fn new(
        core: &Arc<Core>,
        spec: BuildSpec,
        plan: Plan,
        ignore: Option<Patterns>,
        client: Arc<dyn BuildClient>,
        events: mpsc::Sender<BuildEvent>,
        cancel: CancellationToken,
        layers: Layers,
    ) -> Self {
        let count = plan.file.stages.len();
        let steps = if spec.classic { 1 } else { STEPS_MAX };
        Self {
            core: Arc::clone(core),
            client,
            events,
            cancel,
            layers,
            sandboxes: Sandboxes::new(core),
            ignore: ignore.filter(|patterns| !patterns.is_empty()).map(Arc::new),
            stages: (0..count).map(|_| OnceCell::new()).collect(),
            ends: Mutex::default(),
            sources: Mutex::default(),
            turns: Semaphore::new(steps),
            plan,
            spec,
        }
    }

    /// Does what the target needs; answers what its last stage has come to.
    pub(super) async fn run(&self) -> Result<Arc<State>> {
        if self.spec.classic {
            for number in self.plan.wanted.clone() {
                self.stage(number).await?;
            }
        }
        let result = self.stage(self.plan.target).await;
        if result.is_err() {
            // Whatever else goes on has no use any more.
            self.cancel.cancel();
        }
        result
    }

    /// A step may begin when this is there: only so many go on at once.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        tokio::select! {
            permit = self.turns.acquire() => permit.map_err(|_| cancelled()),
            () = self.cancel.cancelled() => Err(cancelled()),
        }
    }

    /// A stage, done once for all who need it.
    pub(super) fn stage(&self, number: usize) -> Boxed<'_, Result<Arc<State>>> {
        Box::pin(async move {
            let make = || async {
                let done = self.do_stage(number).await;
                if done.is_err() {
                    self.cancel.cancel();
                }
                done.map(Arc::new)
            };
            self.stages[number].get_or_try_init(make).await.cloned()
        })
    }

    async fn do_stage(&self, number: usize) -> Result<State> {
        // All of them end before this does: nothing goes on behind its back.
        let needs = self.plan.stages[number].needs.iter().map(|other| self.stage(*other));
        for needed in join_all(needs).await {
            needed?;
        }
        if self.cancel.is_cancelled() {
            return Err(cancelled());
        }
        let names = Names::new(self, number);
        let (mut state, triggers) = self.begin(number, &names).await?;
        let instructions = self.plan.file.stages[number].instructions.clone();
        let mut place = names;
        for instruction in triggers.iter().chain(&instructions) {
            place.next(instruction);
            if self.cancel.is_cancelled() {
                return Err(cancelled());
            }
            self.instruction(number, &mut state, instruction, &mut place).await?;
        }
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).insert(number, place.last);
        Ok(state)
    }

    /// `FROM`: what the stage begins with, and what its base wants done first.
    async fn begin(&self, number: usize, names: &Names) -> Result<(State, Vec<Instruction>)> {
        let stage = &self.plan.file.stages[number];
        let planned = &self.plan.stages[number];
        let escape = self.plan.file.directives.escape;
        let shown = match &planned.base {
            Base::Scratch => "scratch".to_owned(),
            Base::Stage(other) => self.plan.stage_name(*other),
            Base::Image(name) => name.clone(),
            Base::Local(name) => name.clone(),
        };
        let step = StepAt { number: planned.first_step, total: self.plan.steps, source: stage.source.clone() };
        let name = format!("[{}] FROM {shown}", names.shown(1));
        let inputs = self.ends_of(planned.needs.iter());
        let vertex = Vertex::begin(&self.events, &format!("from {number} {shown}"), name, inputs, Some(step)).await?;
        let begun = async {
            let mut state = match &planned.base {
                Base::Scratch => {
                    State::empty(self.spec.platform.clone().unwrap_or_else(crate::image::Platform::host), escape)
                }
                Base::Stage(other) => State::of_stage(&*self.stage(*other).await?),
                Base::Image(name) => base::of_image(self, name, planned.platform.as_ref(), &vertex).await?,
                Base::Local(name) => {
                    return Err(Error::not_implemented(format!(
                        "FROM {name}: a directory as the base of a stage: COPY from it instead"
                    )));
                }
            };
            let triggers = std::mem::take(&mut state.config.on_build);
            let triggers = triggers
                .iter()
                .map(|text| parse_trigger(text).map_err(|e| Error::invalid(format!("ONBUILD {text}: {e}"))));
            Ok((state, triggers.collect::<Result<Vec<_>>>()?))
        };
        match begun.await {
            Ok((state, triggers)) => {
                vertex.done(true, self.image_so_far(&state)).await?;
                Ok((state, triggers))
            }
            Err(error) => {
                vertex.failed(&error).await;
                Err(error)
            }
        }
    }

    async fn instruction(
        &self,
        number: usize,
        state: &mut State,
        instruction: &Instruction,
        place: &mut Names,
    ) -> Result<()> {
        let quiet = !place.changes_files && !self.spec.classic;
        if quiet {
            self.carry_out(number, state, instruction, None).await.map_err(|e| at(instruction, e))?;
            return Ok(());
        }
        let name = format!("[{}] {}", place.shown(place.at), instruction.source);
        let what = format!("step {number} {} {}", place.step, instruction.source);
        let step = StepAt { number: place.step, total: self.plan.steps, source: instruction.source.clone() };
        let vertex = Vertex::begin(&self.events, &what, name, vec![place.last], Some(step)).await?;
        place.last = vertex.digest;
        match self.carry_out(number, state, instruction, Some(&vertex)).await {
            Ok(outcome) => vertex.done(outcome == Some(Outcome::Cached), self.image_so_far(state)).await,
            Err(error) => {
                vertex.failed(&error).await;
                Err(error)
            }
        }
    }

    async fn carry_out(
        &self,
        number: usize,
        state: &mut State,
        instruction: &Instruction,
        vertex: Option<&Vertex>,
    ) -> Result<Option<Outcome>> {
        if let Kind::Arg(declared) = &instruction.kind {
            self.declare(state, declared)?;
            return Ok(None);
        }
        if state.apply(instruction)? {
            return Ok(None);
        }
        let Some(vertex) = vertex else { return Err(Error::internal("a step that nobody was told of")) };
        let step = Step { stage: number, vertex: vertex.clone(), source: &instruction.source, anew: self.anew(number) };
        match &instruction.kind {
            Kind::Run(run) => step_run::run(self, state, &step, run).await.map(Some),
            Kind::Copy(copy) => step_copy::copy(self, state, &step, copy).await.map(Some),
            Kind::Add(add) => step_copy::add(self, state, &step, add).await.map(Some),
            Kind::Workdir(path) => step_copy::workdir(self, state, &step, path).await,
            _ => Err(Error::internal(format!("nobody carries out {:?}", instruction.source))),
        }
    }

    /// `ARG`: what was given, else its default, else what is declared before the first `FROM`.
    fn declare(&self, state: &mut State, declared: &[ArgDecl]) -> Result<()> {
        let mut words = Vec::new();
        for arg in declared {
            let given = self.spec.args.get(&arg.name).cloned().flatten();
            let value = match (given, &arg.value) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(state.word(default)?),
                (None, None) => self.plan.globals.get(&arg.name).cloned(),
            };
            words.push(match &value {
                Some(value) => format!("{}={value}", arg.name),
                None => arg.name.clone(),
            });
            state.declare(&arg.name, value);
        }
        state.note(format!("ARG {}", words.join(" ")), None);
        Ok(())
    }

    fn anew(&self, number: usize) -> bool {
        match &self.spec.cache {
            CacheUse::All => false,
            CacheUse::Nothing => true,
            CacheUse::NotFor(stages) => stages.contains(&self.plan.stage_name(number)),
        }
    }

    fn ends_of<'n>(&self, stages: impl Iterator<Item = &'n usize>) -> Vec<Digest> {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        stages.filter_map(|number| ends.get(number).copied()).collect()
    }

    /// The id of an image of the steps so far: the classic builder names each.
    fn image_so_far(&self, state: &State) -> Option<ImageId> {
        let document = serde_json::to_vec(&state.to_document(None)).ok();
        document.filter(|_| self.spec.classic).map(|bytes| Digest::of(&bytes))
    }

    /// Where `--from` leads from stage `here`; without it, the main context.
    pub(super) async fn source(&self, here: usize, from: Option<&str>) -> Result<Arc<Source>> {
        let base = match from {
            None => Base::Local("context".to_owned()),
            Some(name) => self.plan.find(name, here, true)?,
        };
        let key = format!("{base:?}");
        let cell = {
            let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(sources.entry(key).or_default())
        };
        cell.get_or_try_init(|| self.open_source(&base)).await.cloned()
    }

    async fn open_source(&self, base: &Base) -> Result<Arc<Source>> {
        let opened = match base {
            Base::Scratch => Source::layers(&self.core, &[])?,
            Base::Stage(other) => Source::layers(&self.core, &self.stage(*other).await?.layers)?,
            Base::Image(name) => {
                let what = format!("image {name}");
                let shown = format!("FROM {name}");
                let vertex = Vertex::begin(&self.events, &what, shown, Vec::new(), None).await?;
                let state = base::of_image(self, name, None, &vertex).await;
                match &state {
                    Ok(_) => vertex.done(false, None).await?,
                    Err(error) => vertex.failed(error).await,
                }
                Source::layers(&self.core, &state?.layers)?
            }
            Base::Local(name) => {
                let (source, ignore) = self.local(name).await?;
                Source::local(source, ignore)?
            }
        };
        Ok(Arc::new(opened))
    }

    /// A directory of the client. What the main one leaves out is in the Dockerfile's own ignore file; another one has
    /// its own, which its client heeds.
    async fn local(&self, name: &str) -> Result<(Arc<LocalSource>, Option<Arc<Patterns>>)> {
        let ignore = self.ignore.clone().filter(|_| name == "context");
        let exclude = ignore.as_ref().map(|patterns| patterns.texts()).unwrap_or_default();
        let wanted = SourceFilter { exclude, follow_paths: Vec::new() };
        let shown = if name == "context" {
            "[internal] load build context".to_owned()
        } else {
            format!("[context {name}] load from client")
        };
        let vertex = Vertex::begin(&self.events, &format!("source {name}"), shown, Vec::new(), None).await?;
        let source = tokio::select! {
            source = self.client.source(name, &wanted) => source,
            () = self.cancel.cancelled() => Err(cancelled()),
        };
        match &source {
            Ok(_) => vertex.done(false, None).await?,
            Err(error) => vertex.failed(error).await,
        }
        Ok((source?, ignore))
    }
}

/// Which line an instruction that could not be carried out stands on.
fn at(instruction: &Instruction, error: Error) -> Error {
    error.context(format!("dockerfile line {}", instruction.span.start_line))
}

/// Numbers of steps, as they are shown.
#[derive(Debug)]
struct Names {
    stage: String,
    /// Steps of the stage that change files, `FROM` included.
    total: usize,
    /// Of them, the one at hand.
    at: usize,
    /// Among all steps of the build.
    step: usize,
    changes_files: bool,
    last: Digest,
}

impl Names {
    fn new(execution: &Execution, number: usize) -> Self {
        let stage = &execution.plan.file.stages[number];
        let total = 1 + stage.instructions.iter().filter(|one| changes_files(one)).count();
        let step = execution.plan.stages[number].first_step;
        let last = Digest::of(format!("from {number}").as_bytes());
        Self { stage: execution.plan.stage_name(number), total, at: 1, step, changes_files: false, last }
    }

    fn next(&mut self, instruction: &Instruction) {
        self.step += 1;
        self.changes_files = changes_files(instruction);
        self.at += usize::from(self.changes_files);
    }

    /// `stage 2/5`.
    fn shown(&self, at: usize) -> String {
        let width = self.total.to_string().len();
        let space = if self.stage.is_empty() { "" } else { " " };
        format!("{}{space}{at:>width$}/{}", self.stage, self.total)
    }
}

fn changes_files(instruction: &Instruction) -> bool {
    matches!(instruction.kind, Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_))
}
