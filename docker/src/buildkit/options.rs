//! PURE. From a front-end's options to a build.
//!
//! Options that only describe the build (`vcs:…`, `attest:…`) or speak to parts that this engine has no need of are
//! passed over; those that would change the result and are not built are refused by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard_buildkit_proto::pb::Definition;
use engine::build::{BuildSpec, CacheUse, DockerfileSource, Entitlement, NamedContext};
use engine::image::Platform;

use super::definition;

/// The names of the client's main directories, which options may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalNames {
    context: String,
    dockerfile: String,
}

impl LocalNames {
    /// The client's name for a directory of the build.
    pub(super) fn of<'n>(&'n self, name: &'n str) -> &'n str {
        match name {
            "context" => &self.context,
            "dockerfile" => &self.dockerfile,
            other => other,
        }
    }
}

/// A build as a front-end was asked for it.
#[derive(Debug)]
pub(super) struct Options {
    /// The build, without what an exporter adds.
    pub(super) spec: BuildSpec,
    /// How the client calls its directories.
    pub(super) names: LocalNames,
    /// Something else than a build: `frontend.lint` and its kin.
    pub(super) request: Option<String>,
    /// Options of the linter.
    pub(super) check: String,
    /// The address of the main context, when it is not the client's: a repository or an archive.
    pub(super) remote: Option<String>,
}

/// What stands behind a prefix, by the rest of the name.
fn with_prefix<'a>(attrs: &'a HashMap<String, String>, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    attrs.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_str())))
}

fn filled<'a>(attrs: &'a HashMap<String, String>, key: &str) -> Option<&'a str> {
    attrs.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

/// Checks that the front-end is the one that is built in.
///
/// # Errors
/// A sentence that names the other one.
pub(super) fn frontend(name: &str, attrs: &HashMap<String, String>) -> Result<(), String> {
    match name {
        "dockerfile.v0" => Ok(()),
        "gateway.v0" => {
            let source = filled(attrs, "source").unwrap_or_default();
            if engine::build::dockerfile::is_own_frontend(source) {
                return Ok(());
            }
            Err(format!(
                "the front-end {source:?} is not built in: this engine reads Dockerfiles as docker/dockerfile:1 does and runs no other front-ends"
            ))
        }
        "" => Err("graphs of the client's own (LLB) are not built: name a front-end".to_owned()),
        other => Err(format!("the front-end {other:?} is not built in")),
    }
}

/// Reads the options of a build.
///
/// # Errors
/// A sentence that names the option and the reason.
pub(super) fn read(
    attrs: &HashMap<String, String>,
    inputs: &HashMap<String, Definition>,
    entitlements: &[String],
) -> Result<Options, String> {
    let names = LocalNames {
        context: filled(attrs, "contextkey").unwrap_or("context").to_owned(),
        dockerfile: filled(attrs, "dockerfilekey").unwrap_or("dockerfile").to_owned(),
    };
    let args: BTreeMap<String, Option<String>> =
        with_prefix(attrs, "build-arg:").map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).collect();
    let arg = |name: &str| args.get(name).and_then(Clone::clone);
    let epoch = arg("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty());
    let epoch = epoch.map(|text| text.parse::<i64>().map_err(|_| format!("invalid SOURCE_DATE_EPOCH: {text}")));
    if let Some(other) = arg("BUILDKIT_SYNTAX").filter(|source| !engine::build::dockerfile::is_own_frontend(source)) {
        return Err(format!("BUILDKIT_SYNTAX={other}: this front-end is not built in"));
    }
    let remote = filled(attrs, "context").map(str::to_owned);
    let mut spec = BuildSpec {
        dockerfile: DockerfileSource::File {
            // Without a directory of its own, it is in the context.
            source: if remote.is_some() { "context" } else { "dockerfile" }.to_owned(),
            name: filled(attrs, "filename").unwrap_or("Dockerfile").to_owned(),
        },
        target: filled(attrs, "target").map(str::to_owned),
        labels: with_prefix(attrs, "label:").map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        platform: filled(attrs, "platform").map(platform).transpose()?,
        cache: cache(attrs.get("no-cache").map(String::as_str)),
        pull: filled(attrs, "image-resolve-mode") == Some("pull"),
        cache_from: cache_from(attrs)?,
        network: network(filled(attrs, "force-network-mode"))?,
        extra_hosts: extra_hosts(filled(attrs, "add-hosts"))?,
        shm_bytes: number(attrs, "shm-size")?,
        cgroup_parent: filled(attrs, "cgroup-parent").unwrap_or_default().to_owned(),
        contexts: contexts(attrs, inputs)?,
        source_date_epoch: epoch.transpose()?,
        allow: allowed(entitlements)?,
        ..BuildSpec::default()
    };
    spec.resources.ulimits = ulimits(filled(attrs, "ulimit"))?;
    let check = arg("BUILDKIT_DOCKERFILE_CHECK").unwrap_or_default();
    spec.args = args;
    Ok(Options { spec, names, request: filled(attrs, "requestid").map(str::to_owned), check, remote })
}

fn platform(text: &str) -> Result<Platform, String> {
    if text.contains(',') {
        return Err(format!("platform={text}: a build is for one platform at a time"));
    }
    text.parse().map_err(|error| format!("platform={text}: {error}"))
}

/// Nothing named means all stages.
fn cache(no_cache: Option<&str>) -> CacheUse {
    match no_cache {
        None => CacheUse::All,
        Some("") => CacheUse::Nothing,
        Some(stages) => CacheUse::NotFor(stages.split(',').map(|stage| stage.trim().to_lowercase()).collect()),
    }
}

fn network(mode: Option<&str>) -> Result<String, String> {
    match mode {
        None | Some("default" | "sandbox") => Ok(String::new()),
        Some(mode @ ("host" | "none")) => Ok(mode.to_owned()),
        Some(other) => Err(format!(
            "network mode {other:?} not supported by buildkit - you can define a custom network for your builder using the network driver-opt in buildx create"
        )),
    }
}

fn number(attrs: &HashMap<String, String>, key: &str) -> Result<u64, String> {
    let parse = |text: &str| text.parse().map_err(|_| format!("{key}={text}: not a number of bytes"));
    filled(attrs, key).map_or(Ok(0), parse)
}

/// `name=address,…` to lines `name:address`.
fn extra_hosts(text: Option<&str>) -> Result<Vec<String>, String> {
    let line = |pair: &str| {
        let (name, address) = pair.split_once('=').ok_or_else(|| format!("add-hosts: {pair:?} is not name=address"))?;
        let plain = address.trim_matches(['[', ']']);
        plain.parse::<std::net::IpAddr>().map_err(|_| format!("add-hosts: {address:?} is not an address"))?;
        Ok(format!("{name}:{plain}"))
    };
    text.into_iter().flat_map(|text| text.split(',')).map(line).collect()
}

/// `nofile=1024:2048,…`
fn ulimits(text: Option<&str>) -> Result<Vec<(String, u64, u64)>, String> {
    let one = |limit: &str| {
        let wrong = || format!("ulimit: {limit:?} is not name=soft[:hard]");
        let (name, values) = limit.split_once('=').ok_or_else(wrong)?;
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let value = |text: &str| match text {
            "-1" => Ok(u64::MAX),
            text => text.parse().map_err(|_| wrong()),
        };
        Ok((name.to_owned(), value(soft)?, value(hard)?))
    };
    text.into_iter().flat_map(|text| text.split(',')).map(one).collect()
}

/// Names of images, as a list, and as the newer list of objects.
fn cache_from(attrs: &HashMap<String, String>) -> Result<Vec<String>, String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Import {
        r#type: String,
        #[serde(default)]
        attrs: HashMap<String, String>,
    }
    let plain = filled(attrs, "cache-from").into_iter().flat_map(|text| text.split(',')).map(str::to_owned);
    let mut images: Vec<String> = plain.collect();
    if let Some(text) = filled(attrs, "cache-imports") {
        let imports: Vec<Import> = serde_json::from_str(text).map_err(|error| format!("cache-imports: {error}"))?;
        // A cache that cannot be read is no cache: builds go on without.
        images.extend(
            imports.into_iter().filter(|one| one.r#type == "registry").filter_map(|mut one| one.attrs.remove("ref")),
        );
    }
    Ok(images)
}

fn allowed(entitlements: &[String]) -> Result<BTreeSet<Entitlement>, String> {
    let one = |name: &String| match name.as_str() {
        "network.host" => Ok(Entitlement::NetworkHost),
        "security.insecure" => Ok(Entitlement::SecurityInsecure),
        other => Err(format!("invalid entitlement {other}")),
    };
    entitlements.iter().map(one).collect()
}

/// `context:NAME[::PLATFORM]` and what each stands for.
fn contexts(
    attrs: &HashMap<String, String>,
    inputs: &HashMap<String, Definition>,
) -> Result<BTreeMap<String, NamedContext>, String> {
    let mut contexts = BTreeMap::new();
    for (name, value) in with_prefix(attrs, "context:") {
        let (name, _) = name.split_once("::").unwrap_or((name, ""));
        let (scheme, rest) = value.split_once(':').unwrap_or((value, ""));
        let context = match scheme {
            "local" => NamedContext::Local(rest.to_owned()),
            "docker-image" => NamedContext::Image(rest.trim_start_matches('/').to_owned()),
            "input" => {
                let input = inputs.get(rest).ok_or_else(|| format!("context {name}: invalid input {rest:?}"))?;
                NamedContext::Build(definition::image(input).map_err(|why| format!("context {name}: {why}"))?)
            }
            _ => {
                return Err(format!(
                    "context {name}={value}: only local directories, docker-image:// and results of other targets are built"
                ));
            }
        };
        contexts.insert(name.to_owned(), context);
    }
    Ok(contexts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::id::Digest;

    fn attrs(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn each_option_has_its_place() {
        let id = Digest::of(b"base");
        let inputs = HashMap::from([("0-base".to_owned(), definition::of_image(&id))]);
        let given = attrs(&[
            ("filename", "sub/My.Dockerfile"),
            ("target", "prod"),
            ("build-arg:V", "1"),
            ("build-arg:SOURCE_DATE_EPOCH", "7"),
            ("label:a.b", "c"),
            ("platform", "linux/arm64"),
            ("no-cache", "Build,prod"),
            ("image-resolve-mode", "pull"),
            ("force-network-mode", "none"),
            ("add-hosts", "a=1.2.3.4,b=[::1]"),
            ("shm-size", "1024"),
            ("ulimit", "nofile=1:2,core=-1"),
            ("context:src", "local:src2"),
            ("context:img::linux/amd64", "docker-image://busybox:1"),
            ("context:base", "input:0-base"),
            ("cache-imports", r#"[{"Type":"registry","Attrs":{"ref":"r/x"}},{"Type":"gha","Attrs":{}}]"#),
            ("vcs:revision", "abc"),
            ("attest:provenance", "mode=min"),
        ]);
        let Options { spec, names, request, .. } = read(&given, &inputs, &["network.host".to_owned()]).unwrap();
        assert_eq!(
            spec.dockerfile,
            DockerfileSource::File { source: "dockerfile".into(), name: "sub/My.Dockerfile".into() }
        );
        assert_eq!(
            (spec.target.as_deref(), spec.args["V"].as_deref(), spec.labels["a.b"].as_str()),
            (Some("prod"), Some("1"), "c")
        );
        assert_eq!(spec.platform.unwrap().architecture, "arm64");
        assert_eq!(spec.cache, CacheUse::NotFor(["build".to_owned(), "prod".to_owned()].into()));
        assert_eq!(
            (spec.pull, spec.network.as_str(), spec.shm_bytes, spec.source_date_epoch),
            (true, "none", 1024, Some(7))
        );
        assert_eq!(spec.extra_hosts, ["a:1.2.3.4", "b:::1"]);
        assert_eq!(spec.resources.ulimits, [("nofile".into(), 1, 2), ("core".into(), u64::MAX, u64::MAX)]);
        assert_eq!(spec.contexts["src"], NamedContext::Local("src2".into()));
        assert_eq!(spec.contexts["img"], NamedContext::Image("busybox:1".into()));
        assert_eq!(spec.contexts["base"], NamedContext::Build(id));
        assert_eq!((spec.cache_from, spec.allow.len(), request), (vec!["r/x".to_owned()], 1, None));
        assert_eq!((names.of("context"), names.of("other")), ("context", "other"));
        assert_eq!(read(&attrs(&[("no-cache", "")]), &inputs, &[]).unwrap().spec.cache, CacheUse::Nothing);
    }

    #[test]
    fn what_is_not_built_is_named() {
        let table: &[(&str, &str, &str)] = &[
            ("platform", "linux/amd64,linux/arm64", "one platform"),
            ("force-network-mode", "my-net", "my-net"),
            ("context:x", "oci-layout://y", "oci-layout"),
            ("context:x", "input:gone", "gone"),
            ("add-hosts", "a", "add-hosts"),
            ("ulimit", "nofile=x", "ulimit"),
            ("shm-size", "big", "shm-size"),
            ("build-arg:SOURCE_DATE_EPOCH", "soon", "SOURCE_DATE_EPOCH"),
            ("build-arg:BUILDKIT_SYNTAX", "evil/frontend", "evil/frontend"),
        ];
        for (key, value, expected) in table {
            let error = read(&attrs(&[(key, value)]), &HashMap::new(), &[]).unwrap_err();
            assert!(error.contains(expected), "{key}={value}: {error}");
        }
        assert!(read(&attrs(&[]), &HashMap::new(), &["root".to_owned()]).unwrap_err().contains("entitlement root"));
    }

    #[test]
    fn only_the_own_frontend_is_run() {
        frontend("dockerfile.v0", &attrs(&[])).unwrap();
        frontend("gateway.v0", &attrs(&[("source", "docker/dockerfile:1.7")])).unwrap();
        assert!(frontend("gateway.v0", &attrs(&[("source", "evil/x")])).unwrap_err().contains("evil/x"));
        assert!(frontend("", &attrs(&[])).unwrap_err().contains("LLB"));
        assert!(frontend("cnb.v1", &attrs(&[])).unwrap_err().contains("cnb.v1"));
    }
}
