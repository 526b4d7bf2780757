//! PURE. The `-v` syntax: `[source:]destination[:options]`.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where the content of a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindSource {
    /// A path of the host, absolute.
    Path(String),
    /// A named volume.
    Volume(String),
    /// A volume without a name, made for this container.
    Anonymous,
}

/// Mount propagation of a bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// `private`.
    Private,
    /// `rprivate`, the default.
    RPrivate,
    /// `slave`.
    Slave,
    /// `rslave`.
    RSlave,
    /// `shared`.
    Shared,
    /// `rshared`.
    RShared,
}

/// SELinux relabelling asked for with `z` or `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relabel {
    /// `z`: one label for all containers.
    Shared,
    /// `Z`: this container's own label.
    Private,
}

/// One parsed `-v`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Where the content comes from.
    pub source: BindSource,
    /// Absolute path in the container, cleaned.
    pub destination: String,
    /// Mounted read-only.
    pub read_only: bool,
    /// Propagation, when asked for.
    pub propagation: Option<Propagation>,
    /// Relabelling, when asked for.
    pub relabel: Option<Relabel>,
    /// A new volume is not filled from the image (`nocopy`).
    pub no_copy: bool,
}

/// Parses one `-v` argument.
///
/// # Errors
/// `InvalidArgument` naming the argument and what is wrong in it.
pub fn parse(text: &str) -> Result<Bind> {
    Err(Error::not_implemented(format!("bind {text:?}")))
}
