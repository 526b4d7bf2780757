//! PURE. What plugins are told of a pod: CNI_ARGS and the values of capabilities.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::id::SandboxId;
use crate::network::bandwidth::Rates;
use crate::spec::{DnsSpec, PodIdentity, PortSpec, Protocol};

/// Bits that may go through at once where only a rate is asked for: as containerd has it.
const BURST_BITS: u64 = i32::MAX as u64;
/// The capability under which containerd passes a pod's annotations on.
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";
/// Capability: ports of the host.
pub(super) const PORT_MAPPINGS: &str = "portMappings";

/// What of a pod concerns its network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PodFacts<'a> {
    pub(crate) pod: Option<&'a PodIdentity>,
    pub(crate) ports: &'a [PortSpec],
    pub(crate) dns: &'a DnsSpec,
    pub(crate) annotations: &'a BTreeMap<String, String>,
    /// Its parent cgroup.
    pub(crate) cgroup: &'a str,
}

/// What is asked for a pod.
#[derive(Debug, Clone)]
pub(super) struct PodRequest {
    pub(super) id: SandboxId,
    /// The value of CNI_ARGS.
    pub(super) args: String,
    /// Capabilities by name.
    pub(super) values: Map<String, Value>,
}

impl PodRequest {
    /// Says it as plugins understand it. `pod_subnets` are those that the kubelet told.
    ///
    /// # Errors
    /// `InvalidArgument` for a limit of traffic, and for a name that would not stay one argument.
    pub(super) fn new(id: &SandboxId, pod: PodFacts<'_>, pod_subnets: &[IpNet]) -> Result<Self> {
        let mut values = Map::new();
        if !pod.ports.is_empty() {
            values.insert(PORT_MAPPINGS.to_owned(), port_mappings(pod.ports));
        }
        let bandwidth = bandwidth(pod.annotations)?;
        if !bandwidth.is_empty() {
            values.insert("bandwidth".to_owned(), Value::Object(bandwidth));
        }
        let dns = pod.dns;
        if !(dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty()) {
            let dns = json!({"servers": dns.servers, "searches": dns.searches, "options": dns.options});
            values.insert("dns".to_owned(), dns);
        }
        if !pod_subnets.is_empty() {
            let ranges: Vec<Value> = pod_subnets.iter().map(|net| json!([{"subnet": net.to_string()}])).collect();
            values.insert("ipRanges".to_owned(), Value::Array(ranges));
        }
        if !pod.annotations.is_empty() {
            values.insert(ANNOTATIONS.to_owned(), json!(pod.annotations));
        }
        if !pod.cgroup.is_empty() {
            values.insert("cgroupPath".to_owned(), json!(pod.cgroup));
        }
        Ok(Self { id: id.clone(), args: args(id, pod.pod)?, values })
    }
}

/// The arguments that Kubernetes' plugins look for.
fn args(id: &SandboxId, pod: Option<&PodIdentity>) -> Result<String> {
    let mut text = String::from("IgnoreUnknown=1");
    let Some(pod) = pod else { return Ok(text) };
    let values = [
        ("K8S_POD_NAMESPACE", pod.namespace.as_str()),
        ("K8S_POD_NAME", pod.name.as_str()),
        ("K8S_POD_INFRA_CONTAINER_ID", id.as_str()),
        ("K8S_POD_UID", pod.uid.as_str()),
    ];
    for (key, value) in values {
        // The list has no way to quote: such a value would be read as further arguments.
        if value.contains([';', '=', '\0', '\n']) {
            return Err(Error::invalid(format!("pod {key}: {value:?} cannot be given to a CNI plugin")));
        }
        text.push_str(&format!(";{key}={value}"));
    }
    Ok(text)
}

fn port_mappings(ports: &[PortSpec]) -> Value {
    let mapping = |port: &PortSpec| {
        let protocol = match port.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        let host_ip = port.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        json!({
            "hostPort": port.host_port,
            "containerPort": port.container_port,
            "protocol": protocol,
            "hostIP": host_ip,
        })
    };
    ports.iter().map(mapping).collect()
}

fn bandwidth(annotations: &BTreeMap<String, String>) -> Result<Map<String, Value>> {
    let Rates { ingress, egress } = Rates::of(annotations)?;
    let mut limits = Map::new();
    for (bits, rate, burst) in [(ingress, "ingressRate", "ingressBurst"), (egress, "egressRate", "egressBurst")] {
        if let Some(bits) = bits {
            limits.insert(rate.to_owned(), json!(bits));
            limits.insert(burst.to_owned(), json!(BURST_BITS));
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> PodIdentity {
        PodIdentity { name: name.into(), uid: "u-1".into(), namespace: "default".into(), attempt: 0 }
    }

    fn request(
        id: &SandboxId,
        name: &str,
        ports: &[PortSpec],
        annotations: &[(&str, &str)],
        subnets: &[IpNet],
    ) -> Result<PodRequest> {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let dns = DnsSpec { servers: ports.iter().map(|_| "10.0.0.10".to_owned()).collect(), ..DnsSpec::default() };
        let cgroup = if ports.is_empty() { "" } else { "/kubepods/x" };
        let pod = identity(name);
        let facts = PodFacts { pod: Some(&pod), ports, dns: &dns, annotations: &annotations, cgroup };
        PodRequest::new(id, facts, subnets)
    }

    #[test]
    fn arguments_name_the_pod() {
        let id = SandboxId::random();
        let asked = request(&id, "web", &[], &[], &[]).unwrap();
        let wanted = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID={id};K8S_POD_UID=u-1"
        );
        assert_eq!(asked.args, wanted);
        assert!(asked.values.is_empty());
        let error = request(&id, "a;IgnoreUnknown=0", &[], &[], &[]).unwrap_err();
        assert!(error.message().contains("K8S_POD_NAME"), "{error}");
    }

    #[test]
    fn capabilities_have_the_forms_of_the_conventions() {
        let port = PortSpec {
            host_ip: Some([127, 0, 0, 1].into()),
            host_port: 8080,
            host_port_end: 8080,
            container_port: 80,
            protocol: Protocol::Udp,
        };
        let subnets = ["10.1.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
        let rate = [("kubernetes.io/ingress-bandwidth", "10M")];
        let asked = request(&SandboxId::random(), "web", &[port], &rate, &subnets).unwrap();
        let wanted = json!({
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "127.0.0.1"}],
            "bandwidth": {"ingressRate": 10_000_000, "ingressBurst": 2_147_483_647},
            "dns": {"servers": ["10.0.0.10"], "searches": [], "options": []},
            "ipRanges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
            "io.kubernetes.cri.pod-annotations": {"kubernetes.io/ingress-bandwidth": "10M"},
            "cgroupPath": "/kubepods/x",
        });
        assert_eq!(Value::Object(asked.values), wanted);
    }
}
