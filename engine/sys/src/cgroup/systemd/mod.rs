//! The systemd driver: a container's cgroup as a transient scope, so that systemd knows of it, leaves it alone
//! (`Delegate=yes`), and does not undo its limits at the next `daemon-reload`.
//!
//! systemd is told what it has properties for; what it has none for is written to the files afterwards, by the same
//! code as without systemd.

mod connection;
mod properties;
mod wire;

pub(super) use properties::{limit_properties, properties};
pub(super) use wire::Property;

use connection::Connection;
use wire::Writer;

use super::{Error, Result};

const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
/// systemd's own limit of a unit's name.
const NAME_BYTES_MAX: usize = 255;

/// A scope and the slice it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    slice: String,
    name: String,
}

impl Unit {
    /// The unit of `slice:prefix:name`, OCI `cgroupsPath` of the systemd driver. An empty slice is `system.slice`.
    pub(super) fn parse(path: &str) -> Result<Self> {
        let invalid = |reason: &str| Error::invalid("cgroupsPath", format!("{reason}: {path:?}"));
        let parts: Vec<&str> = path.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            return Err(invalid("not slice:prefix:name, as the systemd driver needs it"));
        };
        let is_clean = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.\\@".contains(&byte));
        if name.is_empty() || !is_clean(slice) || !is_clean(prefix) || !is_clean(name) {
            return Err(invalid("a name is empty or has characters that no unit has"));
        }
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        if unit.len() > NAME_BYTES_MAX {
            return Err(invalid("the unit's name is longer than 255 bytes"));
        }
        let unit = Self { slice: slice.to_owned(), name: unit };
        unit.cgroup_path()?;
        Ok(unit)
    }

    /// Where systemd puts it: `a-b.slice` is inside `a.slice`.
    pub(super) fn cgroup_path(&self) -> Result<String> {
        let invalid = || Error::invalid("cgroupsPath", format!("{:?} is not the name of a slice", self.slice));
        let mut path = String::new();
        if self.slice != "-.slice" {
            let stem = self.slice.strip_suffix(".slice").ok_or_else(invalid)?;
            let mut whole = String::new();
            for part in stem.split('-') {
                if part.is_empty() {
                    return Err(invalid());
                }
                whole.push_str(part);
                path.push_str(&format!("/{whole}.slice"));
                whole.push('-');
            }
        }
        path.push('/');
        path.push_str(&self.name);
        Ok(path)
    }

    pub(super) fn slice(&self) -> &str {
        &self.slice
    }

    /// Starts the scope and waits until it runs. One of this name that failed earlier and was kept for inspection is
    /// cleared away first.
    pub(super) fn start(&self, properties: &[Property]) -> Result<()> {
        let mut systemd = Connection::open()?;
        let mut body = Writer::default();
        body.text(&self.name);
        // A scope has no earlier state to replace.
        body.text("replace");
        body.properties(properties);
        body.no_auxiliary_units();
        let start = |systemd: &mut Connection| systemd.manager("StartTransientUnit", "ssa(sv)a(sa(sv))", &body);
        let reply = match start(&mut systemd) {
            Err(Error::Systemd { name, .. }) if name == UNIT_EXISTS => {
                self.reset_failed(&mut systemd)?;
                start(&mut systemd)?
            }
            other => other?,
        };
        let job = reply.reader().text().map_err(|malformed| Error::Systemd {
            name: "StartTransientUnit".to_owned(),
            message: malformed.to_string(),
        })?;
        self.finish(systemd.wait_for_job(&job)?, "start")
    }

    fn finish(&self, result: String, verb: &str) -> Result<()> {
        match result.as_str() {
            "done" => Ok(()),
            _ => Err(Error::Systemd { name: result, message: format!("could not {verb} {}", self.name) }),
        }
    }

    /// Changes properties until the scope ends.
    pub(super) fn set_properties(&self, properties: &[Property]) -> Result<()> {
        if properties.is_empty() {
            return Ok(());
        }
        let mut body = Writer::default();
        body.text(&self.name);
        body.bool(true);
        body.properties(properties);
        Connection::open()?.manager("SetUnitProperties", "sba(sv)", &body).map(drop)
    }

    /// Stops the scope and makes systemd forget it. One that is gone already is no error.
    pub(super) fn stop(&self) -> Result<()> {
        let mut systemd = Connection::open()?;
        let mut body = Writer::default();
        body.text(&self.name);
        body.text("replace");
        match systemd.manager("StopUnit", "ss", &body) {
            Ok(reply) => {
                if let Ok(job) = reply.reader().text() {
                    self.finish(systemd.wait_for_job(&job)?, "stop")?;
                }
            }
            Err(Error::Systemd { name, .. }) if name == NO_SUCH_UNIT => return Ok(()),
            Err(error) => return Err(error),
        }
        self.reset_failed(&mut systemd)
    }

    fn reset_failed(&self, systemd: &mut Connection) -> Result<()> {
        let mut body = Writer::default();
        body.text(&self.name);
        match systemd.manager("ResetFailedUnit", "s", &body) {
            // It had not failed, and went when it ended.
            Ok(_) | Err(Error::Systemd { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_nest_by_their_dashes() {
        let path = |text: &str| Unit::parse(text).and_then(|unit| unit.cgroup_path());
        assert_eq!(path("system.slice:gantry:4f5e").unwrap(), "/system.slice/gantry-4f5e.scope");
        assert_eq!(path(":gantry:4f5e").unwrap(), "/system.slice/gantry-4f5e.scope");
        assert_eq!(path("-.slice::x").unwrap(), "/x.scope");
        assert_eq!(
            path("kubepods-burstable-pod1_2.slice:cri:id").unwrap(),
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-id.scope"
        );
    }

    #[test]
    fn paths_that_are_no_units_are_refused() {
        let long = format!("a.slice:b:{}", "x".repeat(255));
        for path in ["/a/b", "a:b", "a.slice:b:", "a:b:c", "a--b.slice:c:d", "a.slice:../b:c", "a.slice:b:c d", &long] {
            let error = Unit::parse(path).unwrap_err();
            assert!(matches!(&error, Error::Invalid { field, .. } if field == "cgroupsPath"), "{path} {error}");
        }
    }
}
