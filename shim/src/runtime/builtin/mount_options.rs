//! Mount options of the OCI runtime spec (config-linux.md, "Linux mount options") as the kernel's calls take them.
//! Pure.

use sys::mount::{MountAttributes, Propagation};

/// Options, taken apart.
#[derive(Debug, Default, PartialEq)]
pub(super) struct MountOptions {
    /// Of the mount alone.
    pub(super) attributes: MountAttributes,
    /// Of the mount and all below it.
    pub(super) recursive: MountAttributes,
    /// In order; `true` is recursive.
    pub(super) propagation: Vec<(Propagation, bool)>,
    /// A bind mount; `Some(true)` is recursive.
    pub(super) bind: Option<bool>,
    /// Copy what the target holds into the new tmpfs.
    pub(super) copy_up: bool,
    /// Id-mapped; `Some(true)` is recursive.
    pub(super) id_map: Option<bool>,
    /// For the file system itself.
    pub(super) data: Vec<(String, Option<String>)>,
}

impl MountOptions {
    pub(super) fn parse(options: &[String]) -> Self {
        let mut out = Self::default();
        for option in options.iter().flat_map(|o| o.split(',')).filter(|o| !o.is_empty()) {
            if !(out.is_attribute(option) || out.is_propagation(option) || out.is_kind(option)) {
                match option.split_once('=') {
                    Some((key, value)) => out.data.push((key.to_owned(), Some(value.to_owned()))),
                    None => out.data.push((option.to_owned(), None)),
                }
            }
        }
        out
    }

    fn is_attribute(&mut self, option: &str) -> bool {
        if attribute(&mut self.attributes, option) {
            return true;
        }
        // `rro`, `rnosuid` and so on. `relatime` has been seen above.
        option.strip_prefix('r').is_some_and(|rest| attribute(&mut self.recursive, rest))
    }

    fn is_propagation(&mut self, option: &str) -> bool {
        let (propagation, recursive) = match option {
            "private" => (Propagation::Private, false),
            "rprivate" => (Propagation::Private, true),
            "shared" => (Propagation::Shared, false),
            "rshared" => (Propagation::Shared, true),
            "slave" => (Propagation::Slave, false),
            "rslave" => (Propagation::Slave, true),
            "unbindable" => (Propagation::Unbindable, false),
            "runbindable" => (Propagation::Unbindable, true),
            _ => return false,
        };
        self.propagation.push((propagation, recursive));
        true
    }

    fn is_kind(&mut self, option: &str) -> bool {
        match option {
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.id_map = Some(false),
            "ridmap" => self.id_map = Some(true),
            // The defaults, and mount(8)'s own words.
            "defaults" | "async" | "nomand" | "loud" | "silent" | "nolazytime" | "user" | "nouser" | "auto"
            | "noauto" => {}
            _ => return false,
        }
        true
    }

    /// Whether `key` is among the file system's own options.
    pub(super) fn has_data(&self, key: &str) -> bool {
        self.data.iter().any(|(name, _)| name == key)
    }
}

fn attribute(attributes: &mut MountAttributes, option: &str) -> bool {
    type A = MountAttributes;
    match option {
        "ro" => attributes.add(A::RDONLY),
        "rw" => attributes.remove(A::RDONLY),
        "nosuid" => attributes.add(A::NOSUID),
        "suid" => attributes.remove(A::NOSUID),
        "nodev" => attributes.add(A::NODEV),
        "dev" => attributes.remove(A::NODEV),
        "noexec" => attributes.add(A::NOEXEC),
        "exec" => attributes.remove(A::NOEXEC),
        "nodiratime" => attributes.add(A::NODIRATIME),
        "diratime" => attributes.remove(A::NODIRATIME),
        "nosymfollow" => attributes.add(A::NOSYMFOLLOW),
        "symfollow" => attributes.remove(A::NOSYMFOLLOW),
        "relatime" | "nostrictatime" | "atime" => attributes.atime(A::RELATIME),
        "noatime" => attributes.atime(A::NOATIME),
        "strictatime" | "norelatime" => attributes.atime(A::STRICTATIME),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &str) -> MountOptions {
        MountOptions::parse(&options.split(',').map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn dockers_defaults_are_understood() {
        let dev = parse("nosuid,strictatime,mode=755,size=65536k");
        assert_eq!(dev.attributes.set, MountAttributes::NOSUID | MountAttributes::STRICTATIME);
        assert!(dev.has_data("mode") && dev.has_data("size") && dev.data.len() == 2);
    }

    #[test]
    fn recursive_forms_are_told_from_relatime_and_rbind() {
        let options = parse("rbind,rro,relatime,rprivate");
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.recursive.set, MountAttributes::RDONLY);
        assert_eq!(options.attributes.set, 0);
        assert_eq!(options.propagation, [(Propagation::Private, true)]);
        assert!(options.data.is_empty());
    }

    #[test]
    fn the_last_word_wins() {
        let options = parse("ro,rw,suid,nosuid");
        assert_eq!(options.attributes.set, MountAttributes::NOSUID);
        assert_eq!(options.attributes.clear, MountAttributes::RDONLY);
    }
}
