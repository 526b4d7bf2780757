//! The system call interfaces that a program can tell apart.

use serde::{Deserialize, Serialize};

/// A system call interface, by its OCI name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Arch {
    /// amd64
    #[serde(rename = "SCMP_ARCH_X86_64")]
    X86_64,
    /// i386
    #[serde(rename = "SCMP_ARCH_X86")]
    X86,
    /// amd64 with 32-bit pointers
    #[serde(rename = "SCMP_ARCH_X32")]
    X32,
    /// arm64
    #[serde(rename = "SCMP_ARCH_AARCH64")]
    Aarch64,
    /// 32-bit ARM, EABI
    #[serde(rename = "SCMP_ARCH_ARM")]
    Arm,
}

impl Arch {
    /// What this program was built for.
    #[must_use]
    pub fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "x86" => Some(Self::X86),
            "aarch64" => Some(Self::Aarch64),
            "arm" => Some(Self::Arm),
            _ => None,
        }
    }

    /// The interface of an OCI name such as `SCMP_ARCH_X86_64`.
    #[must_use]
    pub fn from_oci_name(name: &str) -> Option<Self> {
        match name {
            "SCMP_ARCH_X86_64" => Some(Self::X86_64),
            "SCMP_ARCH_X86" => Some(Self::X86),
            "SCMP_ARCH_X32" => Some(Self::X32),
            "SCMP_ARCH_AARCH64" => Some(Self::Aarch64),
            "SCMP_ARCH_ARM" => Some(Self::Arm),
            _ => None,
        }
    }

    /// As conditions of a docker profile name it.
    #[must_use]
    pub fn go_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }
}
