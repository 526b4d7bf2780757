//! PURE. From the query of `POST /build` to what the engine is asked.

use std::collections::BTreeMap;

use docker_api::container::Ulimit;
use engine::build::{BuildSpec, CacheUse, DockerfileSource};
use engine::image::Reference;
use engine::spec::Resources;
use serde::de::DeserializeOwned;

use crate::query::Query;
use crate::size;
use crate::status_code::Failure;

/// The query, translated; `remote` and `q` are the endpoint's own.
///
/// # Errors
/// 400 naming the key and what is wrong with it; 501 for what this engine does not do.
pub(super) fn spec(query: &Query) -> Result<BuildSpec, Failure> {
    refuse(query)?;
    let name = match query.text("dockerfile") {
        "" => "Dockerfile".to_owned(),
        name => name.to_owned(),
    };
    let platform = match query.text("platform") {
        "" => None,
        text => Some(text.parse()?),
    };
    let shm = match query.text("shmsize") {
        "" | "0" => 0,
        text => size::bytes(text).ok_or_else(|| wrong("shmsize", text, "not a size"))?,
    };
    let args = json::<BTreeMap<String, Option<String>>>(query, "buildargs")?.unwrap_or_default();
    let source_date_epoch = match args.get("SOURCE_DATE_EPOCH").and_then(Option::as_deref) {
        None | Some("") => None,
        Some(text) => Some(text.parse().map_err(|_| wrong("buildargs", text, "SOURCE_DATE_EPOCH is no number"))?),
    };
    Ok(BuildSpec {
        dockerfile: DockerfileSource::File { source: "context".to_owned(), name },
        target: Some(query.text("target").to_owned()).filter(|target| !target.is_empty()),
        args,
        labels: json(query, "labels")?.unwrap_or_default(),
        tags: tags(query)?,
        platform,
        cache: if query.flag("nocache") { CacheUse::Nothing } else { CacheUse::All },
        pull: query.flag("pull"),
        cache_from: json(query, "cachefrom")?.unwrap_or_default(),
        network: query.text("networkmode").to_owned(),
        extra_hosts: query.all("extrahosts").into_iter().filter(|host| !host.is_empty()).collect(),
        shm_bytes: shm,
        resources: resources(query)?,
        cgroup_parent: query.text("cgroupparent").to_owned(),
        source_date_epoch,
        classic: true,
        ..BuildSpec::default()
    })
}

fn refuse(query: &Query) -> Result<(), Failure> {
    if query.flag("squash") {
        return Err(Failure::bad_request("squash is only supported with experimental mode"));
    }
    if !query.text("outputs").is_empty() && query.text("outputs") != "[]" && query.text("outputs") != "null" {
        return Err(Failure::bad_request("query outputs: the classic builder only makes images"));
    }
    if let Some(option) = query.all("securityopt").iter().find(|option| !option.is_empty() && *option != "null") {
        return Err(Failure::not_implemented(format!(
            "query securityopt: {option:?}: commands of a build run with the engine's own profiles"
        )));
    }
    match query.text("isolation") {
        "" | "default" => Ok(()),
        other => Err(Failure::bad_request(format!("Unsupported isolation: {other:?}"))),
    }
}

/// Each name once.
fn tags(query: &Query) -> Result<Vec<Reference>, Failure> {
    let mut tags: Vec<Reference> = Vec::new();
    for text in query.all("t").iter().filter(|text| !text.is_empty()) {
        let reference: Reference = text.parse()?;
        if reference.digest().is_some() {
            return Err(Failure::bad_request("build tag cannot contain a digest"));
        }
        let reference = reference.or_latest();
        if !tags.contains(&reference) {
            tags.push(reference);
        }
    }
    Ok(tags)
}

fn resources(query: &Query) -> Result<Resources, Failure> {
    let limit =
        |key: &str| -> Result<Option<i64>, Failure> { Ok(query.integer::<i64>(key)?.filter(|value| *value != 0)) };
    let unsigned =
        |key: &str| -> Result<Option<u64>, Failure> { Ok(query.integer::<u64>(key)?.filter(|value| *value != 0)) };
    let ulimits: Vec<Ulimit> = json(query, "ulimits")?.unwrap_or_default();
    Ok(Resources {
        memory_bytes: limit("memory")?,
        memory_swap_bytes: limit("memswap")?,
        cpu_shares: unsigned("cpushares")?,
        cpu_period_us: unsigned("cpuperiod")?,
        cpu_quota_us: limit("cpuquota")?,
        cpuset_cpus: query.text("cpusetcpus").to_owned(),
        cpuset_mems: query.text("cpusetmems").to_owned(),
        ulimits: crate::to_spec::ulimits(&ulimits)?,
        ..Resources::default()
    })
}

/// A value that is a JSON document.
fn json<T: DeserializeOwned>(query: &Query, key: &str) -> Result<Option<T>, Failure> {
    match query.text(key) {
        "" => Ok(None),
        text => serde_json::from_str(text).map_err(|e| wrong(key, text, &e.to_string())),
    }
}

fn wrong(key: &str, text: &str, why: &str) -> Failure {
    Failure::bad_request(format!("query {key}: {text:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<BuildSpec, Failure> {
        spec(&Query::parse(query))
    }

    #[test]
    fn every_parameter_has_its_place() {
        let spec = read(concat!(
            "t=a&t=b:1&t=a:latest&dockerfile=sub%2FD&nocache=1&pull=1&target=x&memory=1048576&memswap=-1&cpushares=2",
            "&cpuperiod=3&cpuquota=4&cpusetcpus=0&cgroupparent=p&shmsize=10m&networkmode=none&extrahosts=a:1.2.3.4",
            "&buildargs=%7B%22A%22%3A%221%22%2C%22B%22%3Anull%7D&labels=%7B%22l%22%3A%22v%22%7D&platform=linux%2Famd64",
            "&ulimits=%5B%7B%22Name%22%3A%22nofile%22%2C%22Hard%22%3A9%2C%22Soft%22%3A8%7D%5D&cachefrom=%5B%22c%22%5D",
        ))
        .unwrap();
        let names: Vec<String> = spec.tags.iter().map(Reference::familiar).collect();
        assert_eq!(names, ["a:latest", "b:1"]);
        assert_eq!(spec.dockerfile, DockerfileSource::File { source: "context".into(), name: "sub/D".into() });
        assert_eq!((spec.cache, spec.pull, spec.target.as_deref()), (CacheUse::Nothing, true, Some("x")));
        assert_eq!(spec.args, BTreeMap::from([("A".into(), Some("1".into())), ("B".into(), None)]));
        assert_eq!((spec.resources.memory_bytes, spec.resources.memory_swap_bytes), (Some(1 << 20), Some(-1)));
        assert_eq!(spec.resources.ulimits, [("nofile".to_owned(), 8, 9)]);
        assert_eq!((spec.shm_bytes, spec.network.as_str(), spec.extra_hosts.len()), (10 << 20, "none", 1));
        assert!(spec.classic && spec.cache_from == ["c"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, says) in [
            ("squash=1", "squash"),
            ("buildargs=x", "query buildargs"),
            ("memory=x", "query memory"),
            ("t=Bad", "invalid reference"),
            ("shmsize=x", "query shmsize"),
            ("outputs=%5B%7B%7D%5D", "query outputs"),
            ("securityopt=x", "query securityopt"),
        ] {
            let failure = read(query).unwrap_err();
            assert!(failure.message.contains(says), "{query}: {}", failure.message);
        }
    }
}
