//! PURE. Platforms and the choice of one manifest out of an index, as containerd chooses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// `os/architecture[/variant]` in Go's names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// GOOS.
    pub os: String,
    /// GOARCH.
    pub architecture: String,
    /// `v7`, `v8`; `None` where it is the plain one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// A platform with its names normalised (`x86_64` is `amd64`, `arm64/v8` is `arm64`).
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let variant = variant.unwrap_or("").to_ascii_lowercase();
        let (architecture, variant) = normalise(&architecture.to_ascii_lowercase(), &variant);
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        Self { os, architecture, variant }
    }

    /// The platform of this machine.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// How well a manifest for `offered` serves this platform: lower is better, `None` not at all.
    pub fn rank(&self, offered: &Self) -> Option<usize> {
        self.acceptable().iter().position(|p| p == offered)
    }

    /// What this machine can run when asked for `self`, best first (containerd's `platforms.Only`).
    fn acceptable(&self) -> Vec<Self> {
        let with = |architecture: &str, variant: Option<String>| Self {
            os: self.os.clone(),
            architecture: architecture.to_owned(),
            variant,
        };
        let mut list = vec![self.clone()];
        match self.architecture.as_str() {
            "amd64" => {
                for lower in (1..self.variant_number().unwrap_or(1)).rev() {
                    list.push(with("amd64", (lower > 1).then(|| format!("v{lower}"))));
                }
                list.push(with("386", None));
            }
            "arm" => {
                for lower in (5..self.variant_number().unwrap_or(7)).rev() {
                    list.push(with("arm", Some(format!("v{lower}"))));
                }
            }
            "arm64" => {
                if self.variant.is_some() {
                    list.push(with("arm64", None));
                }
                for lower in (5..=8).rev() {
                    list.push(with("arm", Some(format!("v{lower}"))));
                }
            }
            _ => {}
        }
        list
    }

    fn variant_number(&self) -> Option<u32> {
        self.variant.as_deref()?.strip_prefix('v')?.parse().ok().filter(|n| *n <= 9)
    }
}

/// Architecture and variant in the one spelling that is compared.
fn normalise(architecture: &str, variant: &str) -> (String, Option<String>) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "i686" | "x86", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", other) => ("amd64", other),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0" | "") => ("arm64", ""),
        ("aarch64" | "arm64", other) => ("arm64", other),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (other, variant) => (other, variant),
    };
    (architecture.to_owned(), (!variant.is_empty()).then(|| variant.to_owned()))
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `linux/arm64/v8`, `linux/amd64`, or an architecture alone.
    fn from_str(text: &str) -> Result<Self> {
        let word =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|p| word(p)) {
            return Err(Error::invalid(format!("{text:?} is not a platform (os/architecture[/variant])")));
        }
        match parts[..] {
            ["linux"] => Ok(Self { os: "linux".into(), ..Self::host() }),
            [architecture] => Ok(Self::new("linux", architecture, None)),
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(Error::invalid(format!("{text:?} is not a platform (os/architecture[/variant])"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn spellings_of_one_platform_are_equal() {
        assert_eq!(platform("linux/x86_64"), platform("linux/amd64"));
        assert_eq!(platform("linux/arm64/v8"), platform("linux/aarch64"));
        assert_eq!(platform("linux/arm"), platform("linux/armhf"));
        assert_eq!(platform("linux/arm/7").to_string(), "linux/arm/v7");
    }

    #[test]
    fn the_nearest_variant_wins_and_a_newer_one_does_not_serve() {
        let arm64 = platform("linux/arm64");
        assert!(arm64.rank(&platform("linux/arm64/v8")) < arm64.rank(&platform("linux/arm/v7")));
        let v6 = platform("linux/arm/v6");
        assert_eq!(v6.rank(&platform("linux/arm/v7")), None);
        assert!(v6.rank(&platform("linux/arm/v5")).is_some());
        let amd64 = platform("linux/amd64");
        assert_eq!(amd64.rank(&platform("linux/amd64/v3")), None);
        assert_eq!(amd64.rank(&platform("windows/amd64")), None);
        assert!(amd64.rank(&platform("linux/386")).is_some());
        assert!(platform("linux/amd64/v3").rank(&platform("linux/amd64")).is_some());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "/", "linux/", "linux/amd64/v8/x", "linux/am d"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
