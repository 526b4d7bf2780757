//! PURE. `RUN --mount`: read once for its shape, and resolved where its variables are known.

/// A `--mount` as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountFlag {
    /// The comma-separated fields.
    pub text: String,
    /// `from`, which takes no variables: the stages that this one needs are known from the file alone.
    pub from: Option<String>,
}

/// What kind of mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the values of type=")]
pub enum MountKind {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// How builds share a cache mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// All at once.
    #[default]
    Shared,
    /// Another one for each that is in use.
    Private,
    /// One after the other.
    Locked,
}

/// A mount with its variables expanded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunMount {
    /// `type`.
    pub kind: MountKind,
    /// `target`, `dst` or `destination`.
    pub target: Option<String>,
    /// `source` or `src`.
    pub source: Option<String>,
    /// `from`: a stage, a named context or an image.
    pub from: Option<String>,
    /// `id`.
    pub id: Option<String>,
    /// `required`.
    pub required: bool,
    /// `mode`, in octal.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
    /// `size` in bytes.
    pub size: Option<u64>,
    /// `sharing`.
    pub sharing: Sharing,
    /// `readonly`, with the default of its kind.
    pub read_only: bool,
    /// `env`: the variable that gets a secret; an empty one means the secret's id.
    pub env: Option<String>,
}
