//! What was added to which network: one file for each sandbox, written before ADD runs and removed after DEL succeeded.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::id::{EndpointId, NetworkId, SandboxId};
use crate::network::cni::list::{NetworkList, Version};
use crate::network::cni::request::PORT_MAPPINGS;
use crate::network::cni::result;
use crate::network::networks::blocking;
use crate::network::spec::Protocol;
use crate::network::view::{Attachment, DnsView, EndpointView, PublishedPort};

/// The file's form. A change of meaning takes the next number and a reader of the old one.
pub(super) const FORM: u32 = 1;

/// What one ADD was given, and what it answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Added {
    /// [`FORM`].
    pub(super) form: u32,
    pub(super) sandbox: SandboxId,
    /// Path of the network namespace.
    pub(super) netns: String,
    /// Device and inode of that namespace: the path may be another's by the time of DEL.
    pub(super) netns_is: (u64, u64),
    /// Interface in the sandbox.
    pub(super) interface: String,
    /// CNI_ARGS.
    pub(super) args: String,
    /// Values of capabilities.
    pub(super) values: Map<String, Value>,
    /// The configuration in force at the time.
    pub(super) list: NetworkList,
    /// The version that was spoken.
    pub(super) version: Version,
    /// The last plugin's answer; absent when ADD did not come to its end.
    pub(super) result: Option<Value>,
}

impl Added {
    /// The namespace's path, if what is there still is that namespace; else empty, which DEL allows.
    pub(super) fn live_netns(&self) -> &str {
        if identity(Path::new(&self.netns)).is_ok_and(|found| found == self.netns_is) { &self.netns } else { "" }
    }

    /// As sandboxes are shown their networks; nothing before ADD has ended.
    pub(super) fn view(&self) -> Attachment {
        let Some(answer) = self.result.as_ref().and_then(|r| result::parse(r, &self.interface).ok()) else {
            return Attachment::default();
        };
        let v4 = answer.addresses.iter().find_map(|(net, gateway)| match net {
            IpNet::V4(net) => Some((*net, *gateway)),
            IpNet::V6(_) => None,
        });
        let v6 = answer.addresses.iter().find_map(|(net, gateway)| match net {
            IpNet::V6(net) => Some((*net, *gateway)),
            IpNet::V4(_) => None,
        });
        // Networks of plugins have no record of ours: the same name gets the same id.
        let id = hex::encode(Sha256::digest(self.list.name.as_bytes()));
        let (Ok(network_id), Ok(endpoint_id)) = (id.parse::<NetworkId>(), self.sandbox.as_str().parse::<EndpointId>())
        else {
            return Attachment::default();
        };
        let endpoint = EndpointView {
            id: endpoint_id,
            network_id,
            network: self.list.name.clone(),
            sandbox: self.sandbox.clone(),
            ipv4: v4.map(|(net, _)| net),
            ipv6: v6.map(|(net, _)| net),
            gateway_v4: v4
                .and_then(|(_, gateway)| gateway)
                .and_then(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None }),
            gateway_v6: v6
                .and_then(|(_, gateway)| gateway)
                .and_then(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None }),
            default_route: true,
            default_route_v6: true,
            gateway_priority: 0,
            mac: hardware_address(&answer.mac),
            interface: self.interface.clone(),
            host_interface: String::new(),
            name: None,
            aliases: Vec::new(),
            links: Vec::new(),
        };
        let resolver = answer.nameservers.first().and_then(|text| text.parse().ok());
        let dns = DnsView { resolver, embedded: false };
        Attachment { endpoints: vec![Arc::new(endpoint)], ports: self.ports(), dns }
    }

    /// The host's ports that a plugin was told to publish.
    fn ports(&self) -> Vec<PublishedPort> {
        if !self.list.wants(PORT_MAPPINGS) {
            return Vec::new();
        }
        let mappings = self.values.get(PORT_MAPPINGS).and_then(Value::as_array);
        let port = |mapping: &Value| {
            let number = |key: &str| mapping.get(key)?.as_u64()?.try_into().ok();
            let text = |key: &str| mapping.get(key)?.as_str();
            Some(PublishedPort {
                container_port: number("containerPort")?,
                protocol: text("protocol")?.parse::<Protocol>().ok()?,
                host_ip: text("hostIP").and_then(|ip| ip.parse().ok()).unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
                host_port: number("hostPort")?,
            })
        };
        mappings.into_iter().flatten().filter_map(port).collect()
    }
}

/// Device and inode of a namespace's file.
pub(super) fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    let meta = std::fs::metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

fn hardware_address(text: &str) -> [u8; 6] {
    let mut address = [0; 6];
    for (byte, part) in address.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(part, 16).unwrap_or(0);
    }
    address
}

/// All of them, in memory and on disk.
#[derive(Debug)]
pub(super) struct Attachments {
    folder: PathBuf,
    known: Mutex<HashMap<SandboxId, Arc<Added>>>,
}

impl Attachments {
    /// Reads what earlier daemons left.
    ///
    /// # Errors
    /// When the directory cannot be made or read. A file that cannot be read hides no other.
    pub(super) fn open(folder: PathBuf) -> Result<Self> {
        let named = |e: std::io::Error| Error::from(e).context(folder.display());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(named)?;
        let mut known = HashMap::new();
        for entry in std::fs::read_dir(&folder).map_err(named)? {
            let path = entry.map_err(named)?.path();
            if path.extension().is_none_or(|end| end != "json") {
                // A file that was being written when the daemon ended.
                let _gone = std::fs::remove_file(&path);
                continue;
            }
            match read(&path) {
                Ok(added) => drop(known.insert(added.sandbox.clone(), Arc::new(added))),
                Err(reason) => tracing::error!(path = %path.display(), reason, "a CNI attachment cannot be read"),
            }
        }
        Ok(Self { folder, known: Mutex::new(known) })
    }

    pub(super) fn get(&self, sandbox: &SandboxId) -> Option<Arc<Added>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(sandbox).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Added>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Stores one so that it survives a power cut: what plugins lease may survive one too.
    pub(super) async fn put(&self, added: Added) -> Result<()> {
        let path = self.path(&added.sandbox);
        let text = serde_json::to_vec(&added).map_err(|e| Error::internal("write an attachment").with_source(e))?;
        let target = path.clone();
        let written = blocking(move || Ok(write(&target, &text)?)).await;
        written.map_err(|e| e.context(format!("write {}", path.display())))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(added.sandbox.clone(), Arc::new(added));
        Ok(())
    }

    pub(super) async fn remove(&self, sandbox: &SandboxId) -> Result<()> {
        let path = self.path(sandbox);
        let target = path.clone();
        let removed = blocking(move || match std::fs::remove_file(&target) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        });
        removed.await.map_err(|e| e.context(format!("remove {}", path.display())))?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(sandbox);
        Ok(())
    }

    fn path(&self, sandbox: &SandboxId) -> PathBuf {
        self.folder.join(format!("{sandbox}.json"))
    }
}

fn read(path: &Path) -> std::result::Result<Added, String> {
    let text = std::fs::read(path).map_err(|e| e.to_string())?;
    let added: Added = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    if added.form == FORM { Ok(added) } else { Err(format!("it has form {}", added.form)) }
}

fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn added(netns: &Path) -> Added {
        let list = r#"{"name": "pods", "cniVersion": "1.0.0", "plugins": [{"type": "portmap", "capabilities": {"portMappings": true}}]}"#;
        let list = NetworkList::parse(list).unwrap();
        let values =
            json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}]});
        let result = json!({
            "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:aa", "sandbox": "x"}],
            "ips": [{"interface": 0, "address": "10.1.0.5/24", "gateway": "10.1.0.1"}]
        });
        Added {
            form: FORM,
            sandbox: SandboxId::random(),
            netns: netns.to_string_lossy().into_owned(),
            netns_is: identity(netns).unwrap(),
            interface: "eth0".into(),
            args: String::new(),
            values: values.as_object().unwrap().clone(),
            version: list.versions[0],
            list,
            result: Some(result),
        }
    }

    #[tokio::test]
    async fn they_survive_the_daemon_and_go_when_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cni");
        let one = added(Path::new("/proc/self/ns/net"));
        Attachments::open(folder.clone()).unwrap().put(one.clone()).await.unwrap();
        std::fs::write(folder.join("cut.new"), "half").unwrap();
        std::fs::write(folder.join("broken.json"), "half").unwrap();
        let again = Attachments::open(folder.clone()).unwrap();
        assert_eq!(*again.get(&one.sandbox).unwrap(), one);
        again.remove(&one.sandbox).await.unwrap();
        again.remove(&one.sandbox).await.unwrap();
        assert!(Attachments::open(folder.clone()).unwrap().all().is_empty());
        assert!(!folder.join("cut.new").exists());
    }

    #[test]
    fn a_path_that_is_another_namespace_by_now_is_not_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ns");
        std::fs::write(&path, "").unwrap();
        let one = added(&path);
        assert_eq!(one.live_netns(), path.to_str().unwrap());
        std::fs::write(dir.path().join("other"), "").unwrap();
        std::fs::rename(dir.path().join("other"), &path).unwrap();
        assert_eq!(one.live_netns(), "");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(one.live_netns(), "");
    }

    #[test]
    fn the_view_has_address_ports_and_a_steady_id() {
        let one = added(Path::new("/proc/self/ns/net"));
        let view = one.view();
        assert_eq!(view.endpoints[0].ipv4.unwrap().to_string(), "10.1.0.5/24");
        assert_eq!(view.endpoints[0].mac, [2, 0, 0, 0, 0, 0xaa]);
        assert_eq!((view.ports[0].host_port, view.ports[0].container_port), (8080, 80));
        assert_eq!(view, one.view());
        assert_eq!(Added { result: None, ..one }.view(), Attachment::default());
    }
}
