//! Which capabilities a container gets: docker's default set, with what was added and dropped.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::host::CAPABILITIES as ALL;
use crate::spec::SecuritySpec;

/// docker's default set.
pub const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The set of a container, as names without `CAP_`; `available` are the bits that the engine itself has.
///
/// # Errors
/// `InvalidArgument` for an unknown name.
pub fn wanted(security: &SecuritySpec, available: u64) -> Result<BTreeSet<&'static str>> {
    let add = parse("capability to add", &security.cap_add)?;
    let drop = parse("capability to drop", &security.cap_drop)?;
    let mut set: BTreeSet<&'static str> = if security.privileged || add.all {
        // Adding ALL means all that there are to give; a privileged container gets them whatever is dropped.
        ALL.iter().enumerate().filter(|(bit, _)| available & (1 << bit) != 0).map(|(_, name)| *name).collect()
    } else if drop.all {
        BTreeSet::new()
    } else {
        DEFAULT.into_iter().collect()
    };
    if security.privileged {
        return Ok(set);
    }
    for name in &drop.names {
        set.remove(name);
    }
    for name in &add.names {
        set.insert(name);
    }
    Ok(set)
}

/// The ambient set asked for.
///
/// # Errors
/// `InvalidArgument` for an unknown name.
pub fn ambient(security: &SecuritySpec) -> Result<BTreeSet<&'static str>> {
    Ok(parse("ambient capability", &security.cap_ambient)?.names.into_iter().collect())
}

struct Named {
    all: bool,
    names: Vec<&'static str>,
}

fn parse(what: &str, names: &[String]) -> Result<Named> {
    let mut named = Named { all: false, names: Vec::new() };
    for name in names {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if bare == "ALL" {
            named.all = true;
        } else if let Some(known) = ALL.iter().find(|known| **known == bare) {
            named.names.push(known);
        } else {
            return Err(Error::invalid(format!("invalid {what}: unknown capability: {name:?}")));
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: u64 = (1 << ALL.len()) - 1;

    fn set(add: &[&str], drop: &[&str], privileged: bool) -> Vec<&'static str> {
        let strings = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let security =
            SecuritySpec { cap_add: strings(add), cap_drop: strings(drop), privileged, ..Default::default() };
        wanted(&security, EVERYTHING).unwrap().into_iter().collect()
    }

    #[test]
    fn follows_dockers_rules() {
        assert_eq!(set(&[], &[], false).len(), DEFAULT.len());
        assert_eq!(set(&[], &["ALL"], false), Vec::<&str>::new());
        assert_eq!(set(&["net_admin"], &["all"], false), ["NET_ADMIN"]);
        assert!(!set(&["ALL"], &["CAP_SYS_ADMIN"], false).contains(&"SYS_ADMIN"));
        assert_eq!(set(&[], &["ALL"], true).len(), ALL.len());
    }

    #[test]
    fn what_the_engine_lacks_is_not_given_by_all() {
        let security = SecuritySpec { privileged: true, ..Default::default() };
        let without_resource = EVERYTHING & !(1 << 24);
        assert!(!wanted(&security, without_resource).unwrap().contains("SYS_RESOURCE"));
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let security = SecuritySpec { cap_add: vec!["CAP_FLY".into()], ..Default::default() };
        assert!(wanted(&security, EVERYTHING).unwrap_err().message().contains("CAP_FLY"));
    }
}
