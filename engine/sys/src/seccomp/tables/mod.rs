//! Names and numbers of system calls, by interface.

mod aarch64;
mod arm;
mod x32;
mod x86;
mod x86_64;

use super::Arch;

/// The table of an interface, sorted by name.
pub(super) fn of(arch: Arch) -> &'static [(&'static str, u32)] {
    match arch {
        Arch::X86_64 => x86_64::TABLE,
        Arch::X86 => x86::TABLE,
        Arch::X32 => x32::TABLE,
        Arch::Aarch64 => aarch64::TABLE,
        Arch::Arm => arm::TABLE,
    }
}

/// The number of a system call; on x32 without its bit 30.
pub(super) fn number(arch: Arch, name: &str) -> Option<u32> {
    let table = of(arch);
    table.binary_search_by_key(&name, |(known, _)| known).ok().map(|index| table[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_agree_with_what_everybody_knows() {
        for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm] {
            assert!(of(arch).is_sorted_by(|a, b| a.0 < b.0), "{arch:?}");
        }
        let all = |name| [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm].map(|arch| number(arch, name));
        assert_eq!(all("openat"), [Some(257), Some(295), Some(257), Some(56), Some(322)]);
        assert_eq!(all("execve"), [Some(59), Some(11), Some(520), Some(221), Some(11)]);
        assert_eq!(all("fork"), [Some(57), Some(2), Some(57), None, Some(2)]);
        assert_eq!(all("clone3"), [Some(435); 5]);
        assert_eq!(all("set_tls"), [None, None, None, None, Some(983_045)]);
        assert_eq!(all("no_such_call"), [None; 5]);
    }
}
