//! Device rules, and writing them to the v1 `devices` controller.
//!
//! The rules of one list are a whole: what no rule mentions is denied, on both versions, as runc has it.

use std::path::Path;

use super::{DeviceKind, DeviceRule, Error, Result, control_file};

/// More rules than this make no sense, and would not fit a v2 program.
const RULES_MAX: usize = 1024;

impl DeviceRule {
    /// The major number, `None` for all.
    pub(super) fn major_number(&self) -> Option<u32> {
        self.major.and_then(|number| u32::try_from(number).ok())
    }

    /// The minor number, `None` for all.
    pub(super) fn minor_number(&self) -> Option<u32> {
        self.minor.and_then(|number| u32::try_from(number).ok())
    }

    fn has(&self, access: char) -> bool {
        self.access.is_empty() || self.access.contains(access)
    }

    /// Mknod, read and write as the kernel's bits 1, 2 and 4.
    pub(super) fn access_bits(&self) -> u8 {
        u8::from(self.has('m')) | u8::from(self.has('r')) << 1 | u8::from(self.has('w')) << 2
    }

    /// Whether it decides every access to every device.
    pub(super) fn is_everything(&self) -> bool {
        self.kind == DeviceKind::All
            && self.major_number().is_none()
            && self.minor_number().is_none()
            && self.access_bits() == 7
    }

    /// The rule in the words of `devices.allow` and `devices.deny`. The kernel takes `a` for everything whatever
    /// follows it, so a narrower rule about both kinds becomes two.
    fn v1_lines(&self) -> Vec<String> {
        if self.is_everything() {
            return vec!["a".to_owned()];
        }
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let access: String = ['r', 'w', 'm'].into_iter().filter(|access| self.has(*access)).collect();
        let line =
            |kind: char| format!("{kind} {}:{} {access}", number(self.major_number()), number(self.minor_number()));
        match self.kind {
            DeviceKind::Char => vec![line('c')],
            DeviceKind::Block => vec![line('b')],
            DeviceKind::All => vec![line('c'), line('b')],
        }
    }
}

/// What is wrong with a list of rules on any host.
pub(super) fn check(rules: &[DeviceRule]) -> Result<()> {
    if rules.len() > RULES_MAX {
        return Err(Error::invalid("devices", format!("{} rules, of at most {RULES_MAX}", rules.len())));
    }
    for (index, rule) in rules.iter().enumerate() {
        if let Some(other) = rule.access.chars().find(|access| !"rwm".contains(*access)) {
            return Err(Error::invalid(format!("devices[{index}].access"), format!("{other:?} is none of r, w and m")));
        }
        for (name, number) in [("major", rule.major), ("minor", rule.minor)] {
            if let Some(number) = number.filter(|number| *number > i64::from(u32::MAX >> 1)) {
                return Err(Error::invalid(format!("devices[{index}].{name}"), format!("{number} is too large")));
            }
        }
    }
    Ok(())
}

/// Writes the rules in their order, after a denial of everything unless the first rule is about everything itself.
pub(super) fn write_v1(directory: &Path, rules: &[DeviceRule]) -> Result<()> {
    if !rules.first().is_some_and(DeviceRule::is_everything) {
        control_file::write(directory, "devices.deny", "a", "devices")?;
    }
    for (index, rule) in rules.iter().enumerate() {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        if rule.allow && rule.is_everything() && allows_everything(directory)? {
            continue;
        }
        for line in rule.v1_lines() {
            control_file::write(directory, file, &line, &format!("devices[{index}]"))?;
        }
    }
    Ok(())
}

/// A nested engine may not write `a` to `devices.allow` although the cgroup allows everything already.
fn allows_everything(directory: &Path) -> Result<bool> {
    Ok(control_file::read(directory, "devices.list")?.is_some_and(|list| list.trim() == "a *:* rwm"))
}
