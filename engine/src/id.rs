//! The engine's names for its objects: distinct types, so that one cannot be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Characters of the short form of an id.
const SHORT_LEN: usize = 12;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A new random id: 64 lower-case hexadecimal characters.
            ///
            /// # Panics
            /// When the kernel has no randomness to give.
            pub fn random() -> Self {
                let mut bytes = [0_u8; 32];
                getrandom::fill(&mut bytes).expect("getrandom");
                Self(hex::encode(bytes))
            }
            /// The whole id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
            /// The first 12 characters, as people see it.
            pub fn short(&self) -> &str {
                self.0.get(..SHORT_LEN).unwrap_or(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if text.len() == 64 && text.bytes().all(hex) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Error::invalid(format!("{text:?} is not an id of 64 hexadecimal characters")))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

hex_id! {
    /// A container.
    ContainerId
}
hex_id! {
    /// A sandbox: the namespaces and the network that containers share.
    SandboxId
}
hex_id! {
    /// A process run in a container beside its first.
    ExecId
}
hex_id! {
    /// A network.
    NetworkId
}
hex_id! {
    /// A sandbox's place in a network.
    EndpointId
}

/// A sha256 digest, held as its 32 bytes so that no unchecked text reaches a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// From the 32 bytes of a finished hash.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    /// The digest of `data`.
    pub fn of(data: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(data).into())
    }
    /// The 64 hexadecimal characters, without `sha256:`.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
    /// The 12 characters that people see.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl FromStr for Digest {
    type Err = Error;
    /// Accepts `sha256:` and 64 lower-case hexadecimal characters only.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid(format!("{text:?} is not a sha256 digest"));
        let hex_part = text.strip_prefix("sha256:").ok_or_else(wrong)?;
        if hex_part.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(wrong());
        }
        let mut bytes = [0_u8; 32];
        hex::decode_to_slice(hex_part, &mut bytes).map_err(|_| wrong())?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An image's id: the digest of its configuration.
pub type ImageId = Digest;

/// A layer's id: the digest of its uncompressed tar (the `diff_id` of the OCI image-spec).
pub type LayerId = Digest;

/// Which door made an object. One door cannot remove what the other owns unless forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The Docker door.
    Docker,
    /// The Kubernetes CRI door.
    Cri,
}

impl Owner {
    /// `docker` or `cri`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Cri => "cri",
        }
    }
}
