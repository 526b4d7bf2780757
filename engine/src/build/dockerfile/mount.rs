//! PURE. `RUN --mount`: read once for its shape, and resolved where its variables are known.

use super::fault::Fault;
use super::words;

/// A `--mount` as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountFlag {
    /// The comma-separated fields.
    pub text: String,
    /// `from`, which takes no variables: the stages that this one needs are known from the file alone.
    pub from: Option<String>,
}

/// All keys, for hints.
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl MountFlag {
    /// Reads the shape of a mount.
    pub(super) fn read(text: &str) -> Result<Self, Fault> {
        let mut from = None;
        for field in words::csv(text)? {
            let (key, value) = field.split_once('=').unwrap_or((&field, ""));
            match key.to_lowercase().as_str() {
                "from" if value.find('$').is_some_and(|at| at + 1 != value.len()) => {
                    return Err(Fault::new(format!(
                        "'{key}' doesn't support variable expansion, define alias stage instead"
                    ))
                    .at(text));
                }
                "from" => from = Some(value.to_owned()).filter(|from| !from.is_empty()),
                known if KEYS.contains(&known) => {}
                "" => {}
                other => return Err(unexpected(other, &field)),
            }
        }
        let flag = Self { text: text.to_owned(), from };
        // What has no variables is judged now, with its line and column.
        if !text.contains('$') {
            flag.resolve(&mut |value| Ok(value.to_owned())).map_err(|fault| fault.at(text))?;
        }
        Ok(flag)
    }

    /// The mount, with `expand` putting in the variables of each value.
    ///
    /// # Errors
    /// Keys and values that a mount of its kind does not take.
    pub fn mount(&self, expand: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<RunMount, String> {
        self.resolve(expand).map_err(|fault| fault.to_string())
    }

    fn resolve(&self, expand: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<RunMount, Fault> {
        let mut draft = Draft::default();
        for field in words::csv(&self.text)? {
            match field.split_once('=') {
                Some((key, value)) => {
                    let value = expand(value).map_err(Fault::new)?;
                    draft.set(&key.to_lowercase(), &value, &field)?;
                }
                None => draft.set_bare(&field)?,
            }
        }
        draft.finish()
    }
}

fn unexpected(key: &str, field: &str) -> Fault {
    Fault::new(format!("unexpected key '{key}' in '{field}'")).at(field).meant(key, KEYS, true)
}

/// A mount of which not all fields are read.
#[derive(Default)]
struct Draft {
    mount: RunMount,
    read_only: Option<bool>,
    sharing: Option<Sharing>,
}

impl Draft {
    fn set_bare(&mut self, field: &str) -> Result<(), Fault> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" => self.read_only = Some(true),
            "readwrite" | "rw" => self.read_only = Some(false),
            "required" => self.required("required", true)?,
            _ => return Err(Fault::new(format!("invalid field '{field}' must be a key=value pair")).at(field)),
        }
        Ok(())
    }

    fn required(&mut self, key: &str, value: bool) -> Result<(), Fault> {
        if !matches!(self.mount.kind, MountKind::Secret | MountKind::Ssh) {
            return Err(Fault::new(format!("unexpected key '{key}' for mount type '{}'", self.mount.kind.name())));
        }
        self.mount.required = value;
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str, field: &str) -> Result<(), Fault> {
        let invalid = || Fault::new(format!("invalid value for {key}: {value}")).at(field);
        let number = || value.parse::<u32>().map_err(|_| Fault::new(format!("invalid value {value} for {key}")));
        let text = || Some(value.to_owned());
        match key {
            "type" => self.mount.kind = MountKind::of(value)?,
            "from" => self.mount.from = text().filter(|from| !from.is_empty()),
            "source" | "src" => self.mount.source = text(),
            "target" | "dst" | "destination" => self.mount.target = text(),
            "readonly" | "ro" => self.read_only = Some(boolean(value).ok_or_else(invalid)?),
            "readwrite" | "rw" => self.read_only = Some(!boolean(value).ok_or_else(invalid)?),
            "required" => self.required(key, boolean(value).ok_or_else(invalid)?)?,
            "size" if self.mount.kind == MountKind::Tmpfs => {
                self.mount.size = Some(bytes(value).ok_or_else(invalid)?);
            }
            "size" => {
                let kind = self.mount.kind.name();
                return Err(Fault::new(format!("unexpected key '{key}' for mount type '{kind}'")));
            }
            "id" => self.mount.id = text().filter(|id| !id.is_empty()),
            "sharing" => self.sharing = Some(Sharing::of(value)?),
            "mode" => {
                let mode = u32::from_str_radix(value, 8);
                self.mount.mode = Some(mode.map_err(|_| Fault::new(format!("invalid value {value} for mode")))?);
            }
            "uid" => self.mount.uid = Some(number()?),
            "gid" => self.mount.gid = Some(number()?),
            "env" => self.mount.env = text(),
            _ => return Err(unexpected(key, field)),
        }
        Ok(())
    }

    fn finish(self) -> Result<RunMount, Fault> {
        let Self { mut mount, read_only, sharing } = self;
        let name = mount.kind.name();
        if matches!(mount.kind, MountKind::Bind | MountKind::Tmpfs) {
            let given = [("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)];
            if let Some((key, _)) = given.iter().find(|(_, value)| value.is_some()) {
                return Err(Fault::new(format!("{key} not allowed for {name:?} type mounts")));
            }
        }
        if mount.kind == MountKind::Secret {
            secret(&mount, sharing)?;
        }
        if sharing.is_some() && mount.kind != MountKind::Cache {
            return Err(Fault::new(format!("invalid cache sharing set for {name} mount")));
        }
        mount.read_only = read_only.unwrap_or(!matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs));
        mount.sharing = sharing.unwrap_or_default();
        Ok(mount)
    }
}

/// What a secret has besides must make sense.
fn secret(mount: &RunMount, sharing: Option<Sharing>) -> Result<(), Fault> {
    let filled = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let why = if mount.from.is_some() {
        "secret mount should not have a from"
    } else if sharing.is_some() {
        "secret mount should not define sharing"
    } else if !filled(&mount.source) && !filled(&mount.target) && !filled(&mount.id) {
        "invalid secret mount. one of source, target required"
    } else if filled(&mount.source) && filled(&mount.id) {
        "both source and id can't be set"
    } else {
        return Ok(());
    };
    Err(Fault::new(why))
}

/// As Go reads booleans.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `512m`, `1.5GiB`, `100`: powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let number = number.parse::<f64>().ok().filter(|number| number.is_finite())?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative; a float cast saturates")]
    Some((number * 1024_f64.powi(power)) as u64)
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

impl MountKind {
    const NAMES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

    /// Its name as `type=` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    fn of(text: &str) -> Result<Self, Fault> {
        Ok(match text.to_lowercase().as_str() {
            "bind" => Self::Bind,
            "cache" => Self::Cache,
            "tmpfs" => Self::Tmpfs,
            "secret" => Self::Secret,
            "ssh" => Self::Ssh,
            other => {
                let fault = Fault::new(format!("unsupported mount type {other:?}")).at(text);
                return Err(fault.meant(text, Self::NAMES, true));
            }
        })
    }
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

impl Sharing {
    fn of(text: &str) -> Result<Self, Fault> {
        Ok(match text.to_lowercase().as_str() {
            "shared" => Self::Shared,
            "private" => Self::Private,
            "locked" => Self::Locked,
            other => {
                let fault = Fault::new(format!("unsupported sharing value {other:?}")).at(text);
                return Err(fault.meant(text, ["shared", "private", "locked"], true));
            }
        })
    }
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

#[cfg(test)]
#[path = "mount_tests.rs"]
mod tests;
