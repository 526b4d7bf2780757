//! What a build tells while it goes on.

use bytes::Bytes;

use crate::container::Stream;
use crate::id::{Digest, ImageId};

/// Where a step stands in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepAt {
    /// Its number, from 1, over all stages that are built.
    pub number: usize,
    /// How many there are.
    pub total: usize,
    /// As it is written, continuation lines joined.
    pub source: String,
}

/// One thing that happened. A vertex is one step, by its digest.
#[derive(Debug, Clone, PartialEq)]
pub enum BuildEvent {
    /// A step begins. A step that is announced twice is the same one.
    Started {
        /// The step.
        vertex: Digest,
        /// `[stage 2/5] RUN make`.
        name: String,
        /// The steps that it needed.
        inputs: Vec<Digest>,
        /// Its instruction; `None` for what the Dockerfile does not say (loading the context).
        step: Option<StepAt>,
    },
    /// Its command runs in a container.
    Running {
        /// The step.
        vertex: Digest,
        /// The container's id; it is gone when the step is over, and no door lists it.
        container: String,
        /// The words of the command, joined.
        command: String,
    },
    /// It printed something.
    Log {
        /// The step.
        vertex: Digest,
        /// Where to.
        stream: Stream,
        /// What.
        data: Bytes,
    },
    /// A part of it moves on: a layer that is pulled, a context that is sent.
    Status {
        /// The step.
        vertex: Digest,
        /// The part.
        id: String,
        /// Bytes or pieces done.
        current: u64,
        /// Of how many; 0 when that is not known.
        total: u64,
        /// It is over.
        done: bool,
    },
    /// It is over.
    Completed {
        /// The step.
        vertex: Digest,
        /// It was not done again: the cache had its result.
        cached: bool,
        /// Why it failed.
        error: Option<String>,
        /// The id that an image of all steps so far has.
        image: Option<ImageId>,
    },
    /// Something that should be written otherwise.
    Warning {
        /// The step that it is about.
        vertex: Digest,
        /// The rule and the sentence.
        text: String,
        /// Line in the Dockerfile, from 1; 0 = none.
        line: u32,
    },
}
