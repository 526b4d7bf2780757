//! The files that a sandbox's containers have mounted over /etc: written when it comes up, and changed in place when its
//! networks change. What a user of the container has changed in them stays.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::error::{Error, Result};
use crate::network::DnsView;
use crate::sandbox::driver::SandboxDriver;
use crate::sandbox::{EndpointInfo, etc_files, facts};
use crate::spec::NetworkMode;

/// The resolv.conf that was given last, to tell whether a user has changed it since.
const GIVEN: &str = "resolv.conf.given";
/// Bytes up to which such a file is changed: the container may have made it as large as it likes.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl SandboxDriver {
    /// Writes all of them.
    pub(crate) fn write_etc(&self, hostname: &str, endpoints: &[EndpointInfo], dns: &DnsView) -> Result<()> {
        let spec = &self.record.spec;
        let dir = self.core.sandbox_dir(&self.record.id);
        let named = |e: std::io::Error| Error::from(e).context(format!("write into {}", dir.display()));
        fs::create_dir_all(&dir).map_err(named)?;
        let gateway = self.host_gateway(endpoints);
        let extra =
            spec.extra_hosts.iter().map(|text| etc_files::extra_host(text, gateway)).collect::<Result<Vec<_>>>()?;
        let mut hosts = etc_files::hosts(hostname, &spec.domainname, &addresses(endpoints), &extra);
        hosts.push_str(&self.link_lines()?);
        let resolv = self.resolv_conf(dns);
        fs::write(dir.join("resolv.conf"), &resolv).map_err(named)?;
        fs::write(dir.join(GIVEN), &resolv).map_err(named)?;
        fs::write(dir.join("hosts"), hosts).map_err(named)?;
        fs::write(dir.join("hostname"), format!("{hostname}\n")).map_err(named)
    }

    /// Makes hosts and resolv.conf follow a change of the endpoints while containers run.
    pub(crate) fn refresh_etc(&self, before: &[EndpointInfo], after: &[EndpointInfo]) -> Result<()> {
        let dir = self.core.sandbox_dir(&self.record.id);
        let named = |e: std::io::Error| Error::from(e).context(format!("write into {}", dir.display()));
        let hosts_path = dir.join("hosts");
        if let Some(hosts) = read(&hosts_path).map_err(named)? {
            let hostname = facts::hostname(&self.record);
            let lines =
                |of: &[EndpointInfo]| etc_files::own_lines(&hostname, &self.record.spec.domainname, &addresses(of));
            let changed = etc_files::replace_lines(&hosts, &lines(before), &lines(after));
            if changed != hosts {
                fs::write(&hosts_path, changed).map_err(named)?;
            }
        }
        let resolv_path = dir.join("resolv.conf");
        let wanted = self.resolv_conf(&self.core.networks.attachment(&self.record.id).dns);
        let (now, given) = (read(&resolv_path).map_err(named)?, read(&dir.join(GIVEN)).map_err(named)?);
        if now.is_some() && now == given && now.as_deref() != Some(wanted.as_str()) {
            fs::write(&resolv_path, &wanted).map_err(named)?;
            fs::write(dir.join(GIVEN), &wanted).map_err(named)?;
        }
        Ok(())
    }

    fn resolv_conf(&self, dns: &DnsView) -> String {
        let spec = &self.record.spec;
        let mut asked = spec.dns.clone();
        let host = fs::read_to_string(etc_files::HOST_RESOLV_CONF).unwrap_or_default();
        match dns.resolver {
            Some(resolver) if dns.embedded => return etc_files::resolv_conf_embedded(&asked, &host, resolver),
            Some(resolver) if asked.servers.is_empty() => asked.servers = vec![resolver.to_string()],
            _ => {}
        }
        etc_files::resolv_conf(&asked, &host, spec.network != NetworkMode::Host)
    }

    /// The host's address as a sandbox reaches it: its own gateway's, else the default bridge's.
    fn host_gateway(&self, endpoints: &[EndpointInfo]) -> Option<IpAddr> {
        let own = endpoints.iter().find_map(|e| e.gateway_ipv4.map(IpAddr::V4).or(e.gateway_ipv6.map(IpAddr::V6)));
        own.or_else(|| self.core.networks.get("bridge").ok()?.ipam.iter().find_map(|pool| pool.gateway))
    }

    /// hosts lines of the containers that it is linked to in a network without names.
    fn link_lines(&self) -> Result<String> {
        let NetworkMode::Networks(asked) = &self.record.spec.network else { return Ok(String::new()) };
        let mut text = String::new();
        for endpoint in asked {
            let network = self.core.networks.get(&endpoint.network)?;
            if !network.predefined {
                continue;
            }
            for (name, alias) in &endpoint.links {
                let missing = |e: Error| e.context(format!("link {alias}"));
                let id = self.core.container_names.resolve(name).map_err(missing)?;
                let linked = self.core.containers.get(&id).map(|cell| cell.view());
                let place = linked.as_ref().and_then(|view| view.endpoints.iter().find(|e| e.network_id == network.id));
                let not_running =
                    || Error::conflict(format!("Cannot link to a non running container: /{name} AS {alias}"));
                let (view, place) = linked.as_ref().zip(place).ok_or_else(not_running)?;
                for ip in addresses(std::slice::from_ref(place)) {
                    text.push_str(&etc_files::link_line(ip, alias, view.id.short(), &view.name));
                }
            }
        }
        Ok(text)
    }
}

fn addresses(endpoints: &[EndpointInfo]) -> Vec<IpAddr> {
    let both = |e: &EndpointInfo| [e.ipv4.map(|(ip, _)| IpAddr::V4(ip)), e.ipv6.map(|(ip, _)| IpAddr::V6(ip))];
    endpoints.iter().flat_map(|e| both(e).into_iter().flatten()).collect()
}

/// A file's text, unless it is missing, too large or no text.
fn read(path: &Path) -> std::io::Result<Option<String>> {
    match fs::metadata(path) {
        Ok(found) if found.len() <= FILE_BYTES_MAX => Ok(String::from_utf8(fs::read(path)?).ok()),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
