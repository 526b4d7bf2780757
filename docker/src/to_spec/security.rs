//! PURE. What a container may do: capabilities, SecurityOpt, masked paths.

use docker_api::container::HostConfig;
use engine::spec::{SeccompChoice, SecuritySpec};
use engine::{Error, Result};

/// Translates the security fields.
///
/// # Errors
/// `InvalidArgument` naming the option.
pub(super) fn security(host: &HostConfig) -> Result<SecuritySpec> {
    let list = |slice: &Option<docker_api::container::StrSlice>| slice.clone().unwrap_or_default().0;
    let mut spec = SecuritySpec {
        privileged: host.privileged,
        cap_add: list(&host.cap_add),
        cap_drop: list(&host.cap_drop),
        readonly_rootfs: host.readonly_rootfs,
        masked_paths: host.masked_paths.clone(),
        readonly_paths: host.readonly_paths.clone(),
        ..SecuritySpec::default()
    };
    let mut labels = Labels::default();
    for option in host.security_opt.iter().flatten() {
        apply(&mut spec, &mut labels, option)?;
    }
    spec.selinux = labels.text();
    Ok(spec)
}

fn apply(spec: &mut SecuritySpec, labels: &mut Labels, option: &str) -> Result<()> {
    let wrong = || Error::invalid(format!("invalid --security-opt 2: {option:?}"));
    if option == "no-new-privileges" {
        spec.no_new_privileges = true;
        return Ok(());
    }
    // Old clients write a colon where newer ones write an equals sign.
    let (key, value) = option.split_once('=').or_else(|| option.split_once(':')).ok_or_else(wrong)?;
    match key {
        "no-new-privileges" => {
            spec.no_new_privileges = super::parse_bool(value).ok_or_else(wrong)?;
        }
        "seccomp" => spec.seccomp = seccomp(value)?,
        "apparmor" => value.clone_into(&mut spec.apparmor),
        "label" => labels.apply(value).ok_or_else(wrong)?,
        "systempaths" if value == "unconfined" => {
            spec.masked_paths = Some(Vec::new());
            spec.readonly_paths = Some(Vec::new());
        }
        _ => return Err(wrong()),
    }
    Ok(())
}

fn seccomp(value: &str) -> Result<SeccompChoice> {
    match value {
        "unconfined" => Ok(SeccompChoice::Unconfined),
        "" | "builtin" => Ok(SeccompChoice::RuntimeDefault),
        profile => {
            let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(profile);
            parsed.map_err(|e| Error::invalid(format!("Decoding seccomp profile failed: {e}")))?;
            Ok(SeccompChoice::Profile(profile.to_owned()))
        }
    }
}

/// SELinux: `disable`, or parts given one by one.
#[derive(Default)]
struct Labels {
    user: String,
    role: String,
    kind: String,
    level: String,
    disabled: bool,
}

impl Labels {
    fn apply(&mut self, value: &str) -> Option<()> {
        match value.split_once(':') {
            Some(("user", text)) => text.clone_into(&mut self.user),
            Some(("role", text)) => text.clone_into(&mut self.role),
            Some(("type", text)) => text.clone_into(&mut self.kind),
            Some(("level", text)) => text.clone_into(&mut self.level),
            None if value == "disable" => self.disabled = true,
            _ => return None,
        }
        Some(())
    }
    fn text(&self) -> String {
        let parts = [&self.user, &self.role, &self.kind, &self.level];
        if self.disabled || parts.iter().all(|part| part.is_empty()) {
            return String::new();
        }
        parts.map(String::as_str).join(":")
    }
}
