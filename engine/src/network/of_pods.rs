//! What the built-in bridge does for pods that it does not do for docker's containers: the node's own subnets, and
//! traffic held to a rate.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd};

use ipnet::IpNet;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{Owner, SandboxId};
use crate::network::bandwidth::{self, Rates};
use crate::network::networks::{Networks, blocking};
use crate::network::spec::{IpamPool, NetworkSpec};

/// The network that a sandbox without another wish is in.
pub(crate) const DEFAULT_NETWORK: &str = "bridge";
/// The network of pods once the kubelet has told their subnets.
const POD_NETWORK: &str = "gantry-pods";

impl Networks {
    /// Holds a sandbox's traffic through its bridges to rates.
    ///
    /// # Errors
    /// When the kernel has no token buckets, or the link is gone.
    pub(crate) async fn hold_rates(&self, sandbox: &SandboxId, netns: BorrowedFd<'_>, rates: Rates) -> Result<()> {
        if rates == Rates::default() {
            return Ok(());
        }
        let links: Vec<(String, String)> = {
            let state = self.shared.read();
            let connected = state.sandboxes.get(sandbox).into_iter().flatten();
            connected.map(|one| (one.record.host_interface.clone(), one.record.interface.clone())).collect()
        };
        let netns = netns.try_clone_to_owned()?;
        blocking(move || {
            let held = links.iter().try_for_each(|(host, inside)| bandwidth::hold(netns.as_fd(), host, inside, rates));
            held.map_err(|e| Error::new(ErrorKind::Unavailable, "hold the pod's traffic to its rate").with_source(e))
        })
        .await
    }

    /// The network of pods that no plugin connects: the default bridge, or where the kubelet told subnets, a bridge of
    /// these.
    ///
    /// # Errors
    /// `Conflict` while pods are in the network of other subnets; `InvalidArgument` and `AlreadyExists` as for any network.
    pub(crate) async fn of_pods(&self, subnets: &[IpNet]) -> Result<&'static str> {
        if subnets.is_empty() {
            return Ok(DEFAULT_NETWORK);
        }
        let wanted: BTreeSet<IpNet> = subnets.iter().map(IpNet::trunc).collect();
        let _turn = self.shared.pod_network_turn.lock().await;
        if let Ok(view) = self.get(POD_NETWORK) {
            let there: BTreeSet<IpNet> = view.ipam.iter().filter_map(|pool| pool.subnet).collect();
            if there == wanted {
                return Ok(POD_NETWORK);
            }
            let pods = view.endpoints.len();
            if pods > 0 {
                return Err(Error::conflict(format!("pod_cidr: {pods} pods are still in {}", words(&there))));
            }
            self.remove(POD_NETWORK).await.map_err(|e| e.context("pod_cidr"))?;
        }
        let pool = |subnet: &IpNet| IpamPool { subnet: Some(*subnet), ..IpamPool::default() };
        self.create(NetworkSpec {
            enable_ipv4: wanted.iter().any(|subnet| matches!(subnet, IpNet::V4(_))),
            enable_ipv6: wanted.iter().any(|subnet| matches!(subnet, IpNet::V6(_))),
            ipam: wanted.iter().map(pool).collect(),
            ..NetworkSpec::bridge(POD_NETWORK, Owner::Cri)
        })
        .await
        .map_err(|e| e.context("pod_cidr"))?;
        Ok(POD_NETWORK)
    }
}

fn words(subnets: &BTreeSet<IpNet>) -> String {
    subnets.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" and ")
}
