//! Rates that a pod's traffic is held to: Kubernetes' annotations, and the kernel's side of them for the built-in bridge.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;

use sys::netlink::{self, Protocol, Shape, Socket, netns};

use crate::error::{Error, Result};

/// Into the pod (Kubernetes, "Network Plugins", traffic shaping).
const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
/// Out of the pod.
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
/// Bounds of Kubernetes for these rates, in bits a second: 1k and 1P.
const RATE_BITS: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;
/// Of a second: what may pass at once.
const BURST_PART: u64 = 50;
/// Bytes that may pass at once at least: two of the packets that veth links carry whole.
const BURST_BYTES_MIN: u64 = 128 << 10;

/// Rates in bits a second; `None` where there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rates {
    pub(crate) ingress: Option<u64>,
    pub(crate) egress: Option<u64>,
}

impl Rates {
    /// PURE. What a pod's annotations ask for.
    ///
    /// # Errors
    /// `InvalidArgument` with the annotation.
    pub(crate) fn of(annotations: &BTreeMap<String, String>) -> Result<Self> {
        Ok(Self { ingress: rate(annotations, INGRESS)?, egress: rate(annotations, EGRESS)? })
    }
}

fn rate(annotations: &BTreeMap<String, String>, name: &str) -> Result<Option<u64>> {
    let Some(text) = annotations.get(name) else { return Ok(None) };
    let bits = quantity(text).filter(|bits| RATE_BITS.contains(bits));
    bits.map(Some).ok_or_else(|| {
        Error::invalid(format!("annotation {name}: {text:?} is not a rate between 1k and 1P bits a second"))
    })
}

/// A whole number with one of Kubernetes' suffixes.
fn quantity(text: &str) -> Option<u64> {
    const SUFFIXES: [(&str, u64); 11] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("", 1),
    ];
    let (number, factor) = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// PURE. A rate in bits as the kernel is told it.
fn shape(bits: u64) -> Shape {
    let rate = (bits / 8).max(1);
    Shape { rate_bytes: rate, burst_bytes: u32::try_from((rate / BURST_PART).max(BURST_BYTES_MIN)).unwrap_or(u32::MAX) }
}

/// Holds both directions of a veth pair to their rates. Each end holds what leaves by it: the host's what goes into the
/// pod, the pod's what comes out. They go with the links.
///
/// # Errors
/// `ENOENT` where the kernel has no token buckets (`sch_tbf`), with the way that could not be limited.
pub(super) fn hold(netns: BorrowedFd<'_>, host: &str, inside: &str, rates: Rates) -> io::Result<()> {
    let set = |interface: &str, bits: u64, name: &str| {
        let mut socket = Socket::open(Protocol::Route, 0)?;
        let link = netlink::find_link(&mut socket, interface)?;
        let link = link.ok_or_else(|| io::Error::other(format!("interface {interface} is gone")))?;
        netlink::set_shape(&mut socket, link.index, shape(bits))
            .map_err(|e| io::Error::new(e.kind(), format!("annotation {name}: {e}")))
    };
    if let Some(bits) = rates.ingress {
        set(host, bits, INGRESS)?;
    }
    match rates.egress {
        Some(bits) => netns::within(netns, || set(inside, bits, EGRESS)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, text: &str) -> Result<Rates> {
        Rates::of(&[(name.to_owned(), text.to_owned())].into())
    }

    #[test]
    fn rates_are_read_as_kubernetes_writes_them() {
        assert_eq!(asked(INGRESS, "10M").unwrap(), Rates { ingress: Some(10_000_000), egress: None });
        assert_eq!(asked(EGRESS, "1Gi").unwrap(), Rates { ingress: None, egress: Some(1 << 30) });
        assert_eq!(asked("another", "x").unwrap(), Rates::default());
        for wrong in ["", "fast", "10m", "-1M", "1.5M", "999", "2P", "99999999999999999999"] {
            let error = asked(INGRESS, wrong).unwrap_err();
            assert!(error.message().contains(INGRESS), "{wrong}: {error}");
        }
    }

    #[test]
    fn quantities_have_kubernetes_suffixes() {
        for (text, bits) in [("1k", Some(1_000)), ("2Mi", Some(2 << 20)), ("12", Some(12)), ("x", None), ("-1", None)] {
            assert_eq!(quantity(text), bits, "{text}");
        }
    }

    #[test]
    fn slow_rates_let_whole_packets_through() {
        assert_eq!(shape(8_000), Shape { rate_bytes: 1_000, burst_bytes: 128 << 10 });
        assert_eq!(shape(8_000_000_000), Shape { rate_bytes: 1_000_000_000, burst_bytes: 20_000_000 });
    }
}
