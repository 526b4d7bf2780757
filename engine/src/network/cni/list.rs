//! PURE. A CNI configuration list: parsed, checked, and turned into what each plugin reads.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Versions of the specification that are spoken, oldest first.
const VERSIONS: [Version; 7] = [
    Version(0, 1, 0),
    Version(0, 2, 0),
    Version(0, 3, 0),
    Version(0, 3, 1),
    Version(0, 4, 0),
    Version(1, 0, 0),
    Version(1, 1, 0),
];
/// Plugins that one list may have.
const PLUGINS_MAX: usize = 32;

/// A version of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Version(u32, u32, u32);

impl Version {
    /// What a configuration without a version means.
    const OLDEST: Self = VERSIONS[0];
    /// DEL gets the result of ADD, and CHECK exists.
    pub(super) const CHECK: Self = Self(0, 4, 0);
    /// GC and STATUS exist.
    pub(super) const STATUS: Self = Self(1, 1, 0);

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|part| part.parse().ok());
        let version = Self(numbers.next()??, numbers.next()??, numbers.next()??);
        numbers.next().is_none().then_some(version)
    }
    fn is_spoken(self) -> bool {
        VERSIONS.contains(&self)
    }
    /// The newest that is spoken, in words.
    pub(super) fn newest() -> Self {
        VERSIONS[VERSIONS.len() - 1]
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// One plugin of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Plugin {
    /// `type`: the name of its program.
    pub(super) program: String,
    /// What it wants to be told at run time.
    pub(super) capabilities: BTreeSet<String>,
    /// Its part of the configuration, untouched.
    config: Map<String, Value>,
}

/// A network configuration list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct NetworkList {
    /// Name of the network.
    pub(super) name: String,
    /// Versions that the list can be used with, oldest first; never empty.
    pub(super) versions: Vec<Version>,
    /// CHECK is not to be used.
    pub(super) disable_check: bool,
    /// GC is not to be used.
    pub(super) disable_gc: bool,
    /// Plugins in the order of ADD; never empty once the directory has completed it.
    pub(super) plugins: Vec<Plugin>,
    /// Plugins in files beside the list are not read.
    pub(super) inlined_only: bool,
}

impl NetworkList {
    /// Reads a file: a list (`.conflist`, or `.json` with `plugins`), or one plugin's configuration, which is a list of one.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Value::Object(document) = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))? else {
            return Err("not a JSON object".to_owned());
        };
        let name = network_name(&document)?;
        let versions = versions(&document)?;
        let flag = |key: &str| match document.get(key) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            // The reference library takes the words too.
            Some(Value::String(text)) => text.parse().map_err(|_| format!("{key}: {text:?} is no truth value")),
            Some(other) => Err(format!("{key}: {other} is no truth value")),
        };
        let mut list = Self {
            name,
            versions,
            disable_check: flag("disableCheck")?,
            disable_gc: flag("disableGC")?,
            inlined_only: flag("loadOnlyInlinedPlugins")?,
            plugins: Vec::new(),
        };
        match document.get("plugins") {
            Some(Value::Array(plugins)) => {
                for (index, plugin) in plugins.iter().enumerate() {
                    list.push(plugin).map_err(|e| format!("plugins[{index}]: {e}"))?;
                }
            }
            Some(_) => return Err("plugins: not a list".to_owned()),
            None if document.contains_key("type") => {
                list.inlined_only = true;
                list.push(&Value::Object(document))?;
            }
            // Its plugins may stand in files of their own.
            None => {}
        }
        Ok(list)
    }

    /// Adds a plugin's configuration at the end.
    pub(super) fn push(&mut self, plugin: &Value) -> Result<(), String> {
        let Value::Object(config) = plugin else { return Err("not a JSON object".to_owned()) };
        let program = match config.get("type") {
            Some(Value::String(program)) => program.clone(),
            _ => return Err("type: missing".to_owned()),
        };
        if program.is_empty() || program.contains(['/', '\0']) || program.starts_with('.') {
            return Err(format!("type: {program:?} is not the name of a program"));
        }
        if self.plugins.len() == PLUGINS_MAX {
            return Err(format!("more than {PLUGINS_MAX} plugins"));
        }
        let declared = config.get("capabilities").and_then(Value::as_object);
        let capabilities = declared.into_iter().flatten().filter(|(_, wanted)| **wanted == Value::Bool(true));
        let capabilities = capabilities.map(|(name, _)| name.clone()).collect();
        self.plugins.push(Plugin { program, capabilities, config: config.clone() });
        Ok(())
    }

    /// The newest version that the list allows and `supported` accepts.
    pub(super) fn newest_version(&self, supported: impl Fn(Version) -> bool) -> Option<Version> {
        self.versions.iter().rev().copied().find(|version| supported(*version))
    }

    /// Whether any plugin wants to be told of `capability`.
    pub(super) fn wants(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.capabilities.contains(capability))
    }
}

impl Plugin {
    /// What the plugin reads: its configuration with the list's name and version, the values of the capabilities that it
    /// declares, and `further` members (`prevResult`, the attachments that are valid).
    pub(super) fn document(
        &self,
        name: &str,
        version: Version,
        values: &Map<String, Value>,
        further: Map<String, Value>,
    ) -> Vec<u8> {
        let mut document = self.config.clone();
        document.insert("name".to_owned(), json!(name));
        document.insert("cniVersion".to_owned(), json!(version.to_string()));
        let told = values.iter().filter(|(capability, _)| self.capabilities.contains(capability.as_str()));
        let told: Map<String, Value> = told.map(|(capability, value)| (capability.clone(), value.clone())).collect();
        if !told.is_empty() {
            document.insert("runtimeConfig".to_owned(), Value::Object(told));
        }
        document.extend(further);
        Value::Object(document).to_string().into_bytes()
    }
}

fn network_name(document: &Map<String, Value>) -> Result<String, String> {
    let name = match document.get("name") {
        Some(Value::String(name)) => name.clone(),
        _ => return Err("name: missing".to_owned()),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let fits = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && name.bytes().all(plain);
    if fits && name.len() <= 255 { Ok(name) } else { Err(format!("name: {name:?} is not a plain name")) }
}

fn versions(document: &Map<String, Value>) -> Result<Vec<Version>, String> {
    let mut named = Vec::new();
    match document.get("cniVersion") {
        None => {}
        Some(Value::String(text)) if text.is_empty() => {}
        Some(Value::String(text)) => named.push(text.as_str()),
        Some(other) => return Err(format!("cniVersion: {other} is not a version")),
    }
    match document.get("cniVersions") {
        None => {}
        Some(Value::Array(texts)) => {
            for text in texts {
                named.push(text.as_str().ok_or_else(|| format!("cniVersions: {text} is not a version"))?);
            }
        }
        Some(other) => return Err(format!("cniVersions: {other} is not a list")),
    }
    if named.is_empty() {
        return Ok(vec![Version::OLDEST]);
    }
    let mut versions = Vec::new();
    for text in &named {
        let version = Version::parse(text).ok_or_else(|| format!("cniVersion: {text:?} is not a version"))?;
        versions.extend(Some(version).filter(|version| version.is_spoken()));
    }
    if versions.is_empty() {
        let newest = Version::newest();
        return Err(format!("cniVersion: {} is not spoken here; the newest that is: {newest}", named.join(", ")));
    }
    versions.sort_unstable();
    versions.dedup();
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"cniVersion": "1.0.0", "cniVersions": ["0.4.0", "1.1.0", "9.9.9"], "name": "pods", "disableGC": true,
        "plugins": [
            {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local"}},
            {"type": "portmap", "capabilities": {"portMappings": true, "bandwidth": false}}
        ]}"#;

    #[test]
    fn a_list_is_read_with_its_versions_and_capabilities() {
        let list = NetworkList::parse(LIST).unwrap();
        assert_eq!((list.name.as_str(), list.plugins.len()), ("pods", 2));
        assert!(list.disable_gc && !list.disable_check && list.wants("portMappings") && !list.wants("bandwidth"));
        assert_eq!(list.newest_version(|_| true), Some(Version(1, 1, 0)));
        assert_eq!(list.newest_version(|version| version < Version(1, 0, 0)), Some(Version(0, 4, 0)));
        assert_eq!(list.newest_version(|_| false), None);
    }

    #[test]
    fn one_plugin_is_a_list_of_one() {
        let list = NetworkList::parse(r#"{"name": "n", "type": "ptp"}"#).unwrap();
        assert_eq!((list.plugins[0].program.as_str(), list.versions.as_slice()), ("ptp", &[Version(0, 1, 0)][..]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("[]", "object"),
            ("{", "JSON"),
            ("{}", "name"),
            (r#"{"name": "../x", "type": "a"}"#, "name"),
            (r#"{"name": "n", "type": "../../bin/sh"}"#, "type"),
            (r#"{"name": "n", "plugins": [{"type": "a"}, {}]}"#, "plugins[1]: type"),
            (r#"{"name": "n", "plugins": {}}"#, "plugins"),
            (r#"{"name": "n", "type": "a", "cniVersion": "one"}"#, "cniVersion"),
            (r#"{"name": "n", "type": "a", "cniVersion": "7.0.0"}"#, "1.1.0"),
            (r#"{"name": "n", "type": "a", "disableCheck": 7}"#, "disableCheck"),
        ] {
            let error = NetworkList::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_plugin_reads_what_it_declares_and_no_more() {
        let list = NetworkList::parse(LIST).unwrap();
        let values = json!({"portMappings": [1], "bandwidth": {"ingressRate": 1}});
        let values = values.as_object().unwrap();
        let version = Version(1, 0, 0);
        let read = |index: usize, further: Map<String, Value>| -> Value {
            let bytes = list.plugins[index].document(&list.name, version, values, further);
            serde_json::from_slice(&bytes).unwrap()
        };
        let bridge = read(0, Map::new());
        assert_eq!((&bridge["name"], &bridge["cniVersion"]), (&json!("pods"), &json!("1.0.0")));
        assert!(bridge.get("runtimeConfig").is_none() && bridge.get("prevResult").is_none());
        let portmap = read(1, [("prevResult".to_owned(), json!({"ips": []}))].into_iter().collect());
        assert_eq!(portmap["runtimeConfig"], json!({"portMappings": [1]}));
        assert_eq!(portmap["prevResult"], json!({"ips": []}));
    }
}
