//! Security modules of the kernel (AppArmor, SELinux, Landlock, …): which are there, and labels for the next exec.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// The security modules that the running kernel has in force, in the kernel's words and order, such as
/// `["capability", "landlock", "apparmor"]`.
#[must_use]
pub fn active() -> Vec<String> {
    let listed = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if listed.trim().is_empty() { detect_without_securityfs() } else { parse(&listed) }
}

fn parse(listed: &str) -> Vec<String> {
    listed.trim().split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Where securityfs is not mounted, by traces of the two that matter to containers.
fn detect_without_securityfs() -> Vec<String> {
    let mut found = Vec::new();
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if enabled.trim() == "Y" {
        found.push("apparmor".to_owned());
    }
    if Path::new("/sys/fs/selinux/enforce").exists() {
        found.push("selinux".to_owned());
    }
    found
}

/// Whether AppArmor is in force. Reading its profiles too needs securityfs.
#[must_use]
pub fn has_apparmor() -> bool {
    active().iter().any(|name| name == "apparmor")
}

/// Whether SELinux is in force and its file system is mounted.
#[must_use]
pub fn has_selinux() -> bool {
    active().iter().any(|name| name == "selinux") && Path::new("/sys/fs/selinux").is_dir()
}

/// The AppArmor profiles that are loaded, by name and mode (`enforce`, `complain`). Needs root.
pub fn apparmor_profiles() -> io::Result<Vec<(String, String)>> {
    Ok(parse_profiles(&fs::read_to_string("/sys/kernel/security/apparmor/profiles")?))
}

fn parse_profiles(text: &str) -> Vec<(String, String)> {
    let profile = |line: &str| {
        let (name, mode) = line.trim_end().strip_suffix(')')?.rsplit_once(" (")?;
        Some((name.to_owned(), mode.to_owned()))
    };
    text.lines().filter_map(profile).collect()
}

/// Sets the AppArmor profile that the calling thread's next exec changes to.
///
/// # Errors
/// InvalidInput for a name with a NUL or a line break; Unsupported without AppArmor; what the kernel says otherwise
/// (ENOENT: no such profile).
pub fn set_apparmor_exec_profile(profile: &str) -> io::Result<()> {
    // Linux 5.8 has a file of AppArmor's own, which other modules cannot take.
    write_attribute(&["apparmor/exec", "exec"], &format!("exec {profile}"), "AppArmor")
}

/// Sets the SELinux label of the calling thread's next exec, such as `system_u:system_r:container_t:s0:c1,c2`.
///
/// # Errors
/// As [`set_apparmor_exec_profile`].
pub fn set_selinux_exec_label(label: &str) -> io::Result<()> {
    write_attribute(&["exec"], label, "SELinux")
}

/// Sets the SELinux label of keyrings that the calling thread makes.
///
/// # Errors
/// As [`set_apparmor_exec_profile`].
pub fn set_selinux_key_label(label: &str) -> io::Result<()> {
    write_attribute(&["keycreate"], label, "SELinux")
}

fn write_attribute(files: &[&str], value: &str, module: &str) -> io::Result<()> {
    if value.contains(['\0', '\n']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("not a label of {module}: {value:?}")));
    }
    for file in files {
        let path = Path::new("/proc/thread-self/attr").join(file);
        match fs::OpenOptions::new().write(true).open(&path) {
            // EINVAL from the write: the file belongs to no module, or to another one.
            Ok(mut attribute) => {
                return attribute.write_all(value.as_bytes()).map_err(|error| match error.raw_os_error() {
                    Some(libc::EINVAL | libc::EOPNOTSUPP) => unsupported(module, &error),
                    _ => error,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(unsupported(module, &"no attribute file"))
}

fn unsupported(module: &str, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("the kernel takes no label of {module}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_modules_and_profiles_are_read() {
        assert_eq!(parse("lockdown,capability,apparmor\n"), ["lockdown", "capability", "apparmor"]);
        let profiles = parse_profiles("docker-default (enforce)\n/usr/bin/a (b) (complain)\nnonsense\n");
        let expected = [("docker-default", "enforce"), ("/usr/bin/a (b)", "complain")];
        assert_eq!(profiles, expected.map(|(name, mode)| (name.to_owned(), mode.to_owned())));
    }

    #[test]
    fn a_label_cannot_smuggle_a_line() {
        let error = set_apparmor_exec_profile("a\nb").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_label_for_a_module_that_is_not_there_is_unsupported() {
        if !has_selinux() {
            let error = set_selinux_exec_label("system_u:system_r:container_t:s0").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
        }
    }
}
