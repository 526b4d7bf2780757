//! Networks on one of the host's own interfaces (drivers `macvlan` and `ipvlan`): each endpoint is an interface of its
//! own beside the parent, and the LAN sees it. There is no bridge, no translation and no published port; the host itself
//! does not reach its own such containers, which is how these drivers are.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use sys::netlink::{self, ChildKind, ChildSpec, Protocol, Socket, netlink_errno, netns};

use crate::error::{Error, Result};
use crate::network::bridge::{Plug, failed, find, route_socket};
use crate::network::networks::blocking;
use crate::network::record::EndpointRecord;

/// Option: the host's interface.
const OPTION_PARENT: &str = "parent";
/// Name of an interface that is made to see whether it can be.
const PROBE: &str = "probe0";

/// PURE. What such a network is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) parent: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Macvlan(u32),
    Ipvlan(u16),
}

impl Settings {
    /// Reads the driver's options.
    ///
    /// # Errors
    /// `InvalidArgument` naming the option.
    pub(super) fn read(driver: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        let option = |key: &str| options.get(key).map_or("", String::as_str);
        let mode_key = format!("{driver}_mode");
        let mode = option(&mode_key);
        let wrong = |known: &str| Error::invalid(format!("invalid value {mode:?} of option {mode_key}: it is {known}"));
        let kind = match driver {
            "macvlan" => Kind::Macvlan(match mode {
                "private" => 1,
                "vepa" => 2,
                "" | "bridge" => 4,
                "passthru" => 8,
                _ => return Err(wrong("bridge, vepa, private or passthru")),
            }),
            "ipvlan" => Kind::Ipvlan(match mode {
                "" | "l2" => 0,
                "l3" => 1,
                "l3s" => 2,
                _ => return Err(wrong("l2, l3 or l3s")),
            }),
            other => return Err(Error::invalid(format!("network driver {other:?} has no parent"))),
        };
        let parent = option(OPTION_PARENT).to_owned();
        if parent.is_empty() {
            let why = "it names the interface of the host that the network is on";
            return Err(Error::invalid(format!("option {OPTION_PARENT} is missing: {why}")));
        }
        Ok(Self { parent, kind })
    }

    fn child(&self, mac: [u8; 6]) -> ChildKind {
        match self.kind {
            Kind::Macvlan(mode) => ChildKind::Macvlan { mac, mode },
            Kind::Ipvlan(mode) => ChildKind::Ipvlan { mode },
        }
    }

    fn word(&self) -> &'static str {
        match self.kind {
            Kind::Macvlan(_) => "macvlan",
            Kind::Ipvlan(_) => "ipvlan",
        }
    }
}

/// Makes an interface and lets it go again, to say at the creation of a network what would else fail each container.
///
/// # Errors
/// `NotFound` for the parent, `NotImplemented` when the kernel has no such interfaces.
pub(super) fn probe(settings: &Settings) -> Result<()> {
    let mut socket = route_socket()?;
    let netns = netns::create().map_err(|e| failed("make a network namespace", e))?;
    make(&mut socket, netns.as_fd(), settings, PROBE, [0x02, 0x42, 0, 0, 0, 1], None)
}

/// Makes the interface of an endpoint in `netns`, down.
///
/// # Errors
/// As [`probe`].
pub(super) fn plug(socket: &mut Socket, netns: BorrowedFd<'_>, plug: &Plug) -> Result<()> {
    let settings = Settings::read(&plug.network.driver, &plug.network.options)?;
    make(socket, netns, &settings, &plug.endpoint.interface, plug.endpoint.mac, plug.mtu)
}

fn make(
    socket: &mut Socket,
    netns: BorrowedFd<'_>,
    settings: &Settings,
    name: &str,
    mac: [u8; 6],
    mtu: Option<u32>,
) -> Result<()> {
    let (parent, kind) = (&settings.parent, settings.word());
    let missing = || Error::not_found(format!("parent interface {parent} not found"));
    let link = find(socket, parent)?.ok_or_else(missing)?;
    let spec = ChildSpec { parent: link.index, netns, name, kind: settings.child(mac), mtu };
    netlink::create_child(socket, &spec).map_err(|error| match netlink_errno(&error) {
        Some(libc::EOPNOTSUPP) => {
            Error::not_implemented(format!("this kernel has no {kind} interfaces")).with_source(error)
        }
        _ => failed(format!("make {kind} interface {name} on {parent}"), error),
    })
}

/// Takes the interfaces of endpoints out of a sandbox that lives on. In one that ends they go with its namespace.
pub(super) async fn unplug(netns: OwnedFd, endpoints: Vec<EndpointRecord>) {
    let on_parents: Vec<_> = endpoints.into_iter().filter(|record| record.host_interface.is_empty()).collect();
    if on_parents.is_empty() {
        return;
    }
    let removed = blocking(move || {
        let all = netns::within(netns.as_fd(), || {
            let mut socket = Socket::open(Protocol::Route, 0)?;
            on_parents.iter().try_for_each(|record| netlink::remove_link(&mut socket, &record.interface).map(drop))
        });
        all.map_err(|e| failed("remove an interface of the sandbox", e))
    });
    if let Err(error) = removed.await {
        tracing::error!(%error, "an interface is left in a sandbox");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_named() {
        let read = |driver: &str, options: &[(&str, &str)]| {
            let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            Settings::read(driver, &options).map(|settings| settings.kind).map_err(|e| e.to_string())
        };
        assert_eq!(read("macvlan", &[("parent", "eth0")]), Ok(Kind::Macvlan(4)));
        assert_eq!(read("ipvlan", &[("parent", "eth0"), ("ipvlan_mode", "l3")]), Ok(Kind::Ipvlan(1)));
        assert!(read("macvlan", &[]).unwrap_err().contains("option parent is missing"));
        let wrong = read("ipvlan", &[("parent", "eth0"), ("ipvlan_mode", "l9")]).unwrap_err();
        assert!(wrong.contains("ipvlan_mode"), "{wrong}");
    }
}
