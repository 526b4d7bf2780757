//! PURE. What a plugin answers to ADD, in the forms of 0.1 to 1.1.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

/// What is known of a pod's interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Addresses on the pod's own interface, with the gateway of each.
    pub(super) addresses: Vec<(IpNet, Option<IpAddr>)>,
    /// Hardware address; empty when it was not told.
    pub(super) mac: String,
    /// Servers of names.
    pub(super) nameservers: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document {
    interfaces: Vec<Interface>,
    ips: Vec<Address>,
    ip4: Option<OldAddress>,
    ip6: Option<OldAddress>,
    dns: Option<Dns>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Interface {
    name: String,
    mac: String,
    sandbox: String,
}

#[derive(Debug, Deserialize)]
struct Address {
    address: String,
    #[serde(default)]
    gateway: Option<String>,
    #[serde(default)]
    interface: Option<i64>,
}

/// 0.1 and 0.2 knew one address of each family.
#[derive(Debug, Deserialize)]
struct OldAddress {
    ip: String,
    #[serde(default)]
    gateway: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Dns {
    nameservers: Option<Vec<String>>,
}

/// Reads the result of the last plugin of a list.
pub(super) fn parse(result: &Value, interface: &str) -> Result<Answer, String> {
    let document: Document = serde_json::from_value(result.clone()).map_err(|e| format!("not a CNI result: {e}"))?;
    let own = |at: &Interface| at.name == interface && !at.sandbox.is_empty();
    let mut answer = Answer {
        mac: document.interfaces.iter().find(|at| own(at)).map(|at| at.mac.clone()).unwrap_or_default(),
        nameservers: document.dns.and_then(|dns| dns.nameservers).unwrap_or_default(),
        ..Answer::default()
    };
    for ip in &document.ips {
        let on = ip.interface.and_then(|index| document.interfaces.get(usize::try_from(index).ok()?));
        // One that is on no interface in particular is the pod's.
        if on.is_none_or(own) {
            answer.addresses.push(address(&ip.address, ip.gateway.as_deref())?);
        }
    }
    for ip in [document.ip4, document.ip6].into_iter().flatten() {
        answer.addresses.push(address(&ip.ip, ip.gateway.as_deref())?);
    }
    Ok(answer)
}

fn address(text: &str, gateway: Option<&str>) -> Result<(IpNet, Option<IpAddr>), String> {
    let net = text.parse().map_err(|_| format!("{text:?} is not an address with its prefix"))?;
    let gateway = gateway.filter(|text| !text.is_empty()).map(|text| text.parse::<IpAddr>());
    let gateway = gateway.transpose().map_err(|_| format!("gateway of {text:?} is not an address"))?;
    Ok((net, gateway))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pods_addresses_are_taken_and_no_others() {
        let result = json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": "cni0", "mac": "aa:aa:aa:aa:aa:aa"},
                {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/proc/1/fd/4"},
                {"name": "net1", "mac": "02:00:00:00:00:02", "sandbox": "/proc/1/fd/4"}
            ],
            "ips": [
                {"interface": 1, "address": "10.1.0.5/24", "gateway": "10.1.0.1"},
                {"interface": 2, "address": "10.9.0.5/24"},
                {"address": "fd00::5/64"}
            ],
            "dns": {"nameservers": ["10.0.0.10"]}
        });
        let answer = parse(&result, "eth0").unwrap();
        let wanted = [
            ("10.1.0.5/24".parse().unwrap(), Some("10.1.0.1".parse().unwrap())),
            ("fd00::5/64".parse().unwrap(), None),
        ];
        assert_eq!(answer.addresses, wanted);
        assert_eq!(
            (answer.mac.as_str(), answer.nameservers.as_slice()),
            ("02:00:00:00:00:01", &["10.0.0.10".to_owned()][..])
        );
    }

    #[test]
    fn the_oldest_form_is_read() {
        let result = json!({"ip4": {"ip": "10.1.0.5/24", "gateway": "10.1.0.1"}, "dns": {}});
        assert_eq!(parse(&result, "eth0").unwrap().addresses.len(), 1);
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [json!([1]), json!({"ips": "x"}), json!({"ips": [{"address": "10.1.0.5"}]}), json!("text")] {
            parse(&wrong, "eth0").unwrap_err();
        }
        assert_eq!(parse(&json!({}), "eth0").unwrap(), Answer::default());
    }
}
