//! What a prune would remove, and why: `--dry-run`. The daemon's lists are asked; nothing is changed.

use std::collections::BTreeSet;

use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::output::template::Value;
use crate::timestamps;
use crate::units;

/// One object that would go.
#[derive(Debug, PartialEq)]
pub(crate) struct Doomed {
    pub(crate) name: String,
    pub(crate) why: String,
    /// Bytes that it takes alone, where the daemon tells.
    pub(crate) bytes: f64,
}

/// The `--filter`s of a prune: `until`, and labels wanted (`label=`) or not (`label!=`).
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    until_s: Option<i64>,
    labels: Vec<String>,
    unwanted: Vec<String>,
}

impl Wanted {
    pub(crate) fn read(filters: &[String]) -> Result<Self> {
        let mut wanted = Self::default();
        for filter in filters {
            match filter.split_once('=').unwrap_or((filter, "")) {
                ("until", value) => {
                    let text = timestamps::to_query(value).map_err(Error::Message)?;
                    let seconds = text.split('.').next().and_then(|seconds| seconds.parse().ok());
                    wanted.until_s = Some(seconds.ok_or_else(|| Error::message(format!("until: {value:?}")))?);
                }
                ("label", value) => wanted.labels.push(value.to_owned()),
                ("label!", value) => wanted.unwanted.push(value.to_owned()),
                (other, _) => return Err(Error::message(format!("--dry-run: invalid filter '{other}'"))),
            }
        }
        Ok(wanted)
    }

    fn takes(&self, labels: &Value, created_s: Option<i64>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((name, value)) => labels.has(name) && labels.field(name).as_str() == value,
            None => labels.has(wanted),
        };
        let old = self.until_s.is_none_or(|until| created_s.is_some_and(|created| created < until));
        old && self.labels.iter().all(has) && !self.unwanted.iter().any(has)
    }
}

/// Stopped containers.
pub(crate) async fn containers(context: &Context, wanted: &Wanted) -> Result<Vec<Doomed>> {
    let path = Path::new("/containers/json").query("all", "1").query("size", "1");
    let all = context.client.get_value(&path).await?;
    let stopped = |item: &&Value| matches!(item.field("State").as_str(), "created" | "exited" | "dead");
    let taken = all.items().iter().filter(stopped);
    let taken = taken.filter(|item| wanted.takes(item.field("Labels"), Some(item.field("Created").as_int())));
    Ok(taken
        .map(|item| Doomed {
            name: item.field("Names").items().first().map_or("", Value::as_str).trim_start_matches('/').to_owned(),
            why: item.field("Status").as_str().to_owned(),
            bytes: item.field("SizeRw").as_float(),
        })
        .collect())
}

/// Images that no container uses: those without a name, or all. `gone` are containers that would go before.
pub(crate) async fn images(context: &Context, wanted: &Wanted, all: bool, gone: &[Doomed]) -> Result<Vec<Doomed>> {
    let containers = context.client.get_value(&Path::new("/containers/json").query("all", "1")).await?;
    let stays = |item: &&Value| {
        let name = item.field("Names").items().first().map_or("", Value::as_str).trim_start_matches('/');
        !gone.iter().any(|doomed| doomed.name == name)
    };
    let used: BTreeSet<String> =
        containers.items().iter().filter(stays).map(|item| item.field("ImageID").as_str().to_owned()).collect();
    let path = Path::new("/images/json").query("shared-size", "1");
    let images = context.client.get_value(&path).await?;
    let mut doomed = Vec::new();
    for image in images.items().iter().filter(|image| !used.contains(image.field("Id").as_str())) {
        let tags: Vec<&str> =
            image.field("RepoTags").items().iter().map(Value::as_str).filter(|tag| *tag != "<none>:<none>").collect();
        let dangling = tags.is_empty();
        if !(all || dangling) || !wanted.takes(image.field("Labels"), Some(image.field("Created").as_int())) {
            continue;
        }
        let id = crate::output::table::short_id(image.field("Id").as_str()).to_owned();
        let why = if dangling { "no name and no container" } else { "no container" };
        let alone = image.field("Size").as_float() - image.field("SharedSize").as_float().max(0.0);
        let name = if dangling { id } else { tags.join(", ") };
        doomed.push(Doomed { name, why: why.to_owned(), bytes: alone });
    }
    Ok(doomed)
}

/// Networks that no container that runs is on.
pub(crate) async fn networks(context: &Context, wanted: &Wanted) -> Result<Vec<Doomed>> {
    let all = context.client.get_value(&Path::new("/networks")).await?;
    let mut doomed = Vec::new();
    for network in all.items() {
        let name = network.field("Name").as_str();
        let created = timestamps::seconds_of(network.field("Created").as_str());
        if matches!(name, "bridge" | "host" | "none") || !wanted.takes(network.field("Labels"), created) {
            continue;
        }
        // The list does not tell who is on a network.
        let whole = context.client.get_value(&Path::of("networks", network.field("Id").as_str(), "")?).await;
        let whole = match whole {
            Err(error) if error.is_not_found() => continue,
            whole => whole?,
        };
        if whole.field("Containers").entries().is_empty() {
            let why = "no container is on it".to_owned();
            doomed.push(Doomed { name: name.to_owned(), why, bytes: 0.0 });
        }
    }
    Ok(doomed)
}

/// Volumes that no container has: those without a name of their own, or all.
pub(crate) async fn volumes(context: &Context, wanted: &Wanted, all: bool) -> Result<Vec<Doomed>> {
    let unused = Path::new("/volumes").filters(&["dangling=true".to_owned()]);
    let answer = context.client.get_value(&unused).await?;
    let df = context.client.get_value(&Path::new("/system/df").query("type", "volume")).await?;
    let size = |name: &str| {
        let known = df.field("Volumes").items().iter().find(|volume| volume.field("Name").as_str() == name);
        known.map_or(0.0, |volume| volume.at("UsageData.Size").as_float().max(0.0))
    };
    let mut doomed = Vec::new();
    for volume in answer.field("Volumes").items() {
        let anonymous = volume.field("Labels").has("com.docker.volume.anonymous");
        let created = timestamps::seconds_of(volume.field("CreatedAt").as_str());
        if !(all || anonymous) || !wanted.takes(volume.field("Labels"), created) {
            continue;
        }
        let name = volume.field("Name").as_str().to_owned();
        let why = if anonymous { "anonymous, and no container has it" } else { "no container has it" };
        doomed.push(Doomed { bytes: size(&name), why: why.to_owned(), name });
    }
    Ok(doomed)
}

/// The lines for people.
pub(crate) fn described(title: &str, doomed: &[Doomed]) -> String {
    if doomed.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = doomed
        .iter()
        .map(|one| match one.bytes {
            bytes if bytes > 0.0 => format!("{}\t{}\t{}", one.name, one.why, units::human_size(bytes, 4)),
            _ => format!("{}\t{}\t", one.name, one.why),
        })
        .collect();
    let table = crate::output::table::align(&format!("{}\n", lines.join("\n")), 0, 3);
    let table: Vec<&str> = table.lines().map(str::trim_end).collect();
    format!("{title}\n{}\n\n", table.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_choose_by_age_and_labels() {
        let filters = ["until=1970-01-02T00:00:00Z", "label=a", "label!=keep=yes"].map(str::to_owned);
        let wanted = Wanted::read(&filters).unwrap();
        let labels = |text: &str| Value::from_json(text).unwrap();
        assert!(wanted.takes(&labels(r#"{"a":"1"}"#), Some(5)));
        assert!(wanted.takes(&labels(r#"{"a":"1","keep":"no"}"#), Some(5)));
        assert!(!wanted.takes(&labels(r#"{"a":"1","keep":"yes"}"#), Some(5)));
        assert!(!wanted.takes(&labels(r#"{"b":"1"}"#), Some(5)));
        assert!(!wanted.takes(&labels(r#"{"a":"1"}"#), Some(90_000)));
        assert!(!wanted.takes(&labels(r#"{"a":"1"}"#), None));
        assert!(Wanted::read(&["bogus=1".to_owned()]).is_err());
    }

    #[test]
    fn what_goes_is_told_with_why_and_size() {
        let one = |name: &str, bytes| Doomed { name: name.into(), why: "unused".into(), bytes };
        let text = described("Would remove volumes:", &[one("a", 2000.0), one("longer", 0.0)]);
        assert_eq!(text, "Would remove volumes:\na        unused   2kB\nlonger   unused\n\n");
        assert_eq!(described("x", &[]), "");
    }
}
