//! What clients ask of a front-end besides builds: to check a Dockerfile, to list its targets, to outline its parameters.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use engine::build::dockerfile::lint::{self, Options as LintOptions, Surroundings};
use engine::build::dockerfile::{ArgDecl, Dockerfile, Kind, MountKind, Span, Stage, parse};
use engine::build::{BuildSpec, DockerfileSource};
use serde_json::{Value, json};
use tonic::Status;

use crate::server::Door;

use super::client::SessionClient;
use super::options::Options;
use super::{status, text};

type Metadata = HashMap<String, Vec<u8>>;

/// Answers a request by its name.
///
/// # Errors
/// `Unimplemented` for others, and what is wrong with the Dockerfile unless it is to be checked.
pub(super) async fn answer(
    door: &Door,
    request: &str,
    options: &Options,
    client: &SessionClient,
) -> Result<Metadata, Status> {
    if request == "frontend.subrequests.describe" {
        return Ok(describe());
    }
    let read = door.engine.read_dockerfile(&options.spec, client).await.map_err(|error| status::of(&error))?;
    let name = match &options.spec.dockerfile {
        DockerfileSource::File { name, .. } => name.rsplit('/').next().unwrap_or(name).to_owned(),
        DockerfileSource::Text(_) => "Dockerfile".to_owned(),
    };
    let wrong = |error: &dyn std::fmt::Display| Status::unknown(error.to_string());
    match request {
        "frontend.lint" => {
            let chosen = LintOptions::read(&options.check).map_err(|error| wrong(&error))?;
            let around = surroundings(&options.spec, read.ignore.as_ref());
            Ok(check(&name, &read.text, &around, &chosen))
        }
        "frontend.targets" => Ok(targets(&read.text, &parse(&read.text).map_err(|error| wrong(&error))?)),
        "frontend.outline" => {
            let file = parse(&read.text).map_err(|error| wrong(&error))?;
            outline(&read.text, &file, &options.spec).map_err(|error| wrong(&error))
        }
        other => Err(Status::unimplemented(format!("unsupported request {other}"))),
    }
}

/// What the linter knows of a build before it begins.
fn surroundings<'p>(
    spec: &BuildSpec,
    ignore: Option<&'p engine::build::dockerfile::ignore::Patterns>,
) -> Surroundings<'p> {
    let given = spec.args.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    Surroundings { args: given.collect(), platform_args: spec.platform_args(), ignore, ..Surroundings::default() }
}

fn metadata(value: &Value, text: String) -> Metadata {
    let pretty = serde_json::to_vec_pretty(value).unwrap_or_default();
    HashMap::from([
        ("result.json".to_owned(), pretty),
        ("result.txt".to_owned(), text.into_bytes()),
        ("version".to_owned(), b"1.0.0".to_vec()),
    ])
}

fn location(span: Span) -> Value {
    let line = |line: u32| json!({"line": line});
    let ranges: Vec<Value> = (span.start_line..=span.end_line.max(span.start_line))
        .map(|at| json!({"start": line(at), "end": line(at)}))
        .collect();
    json!({ "ranges": ranges })
}

fn describe() -> Metadata {
    let known = [
        ("frontend.lint", "Lint a Dockerfile"),
        ("frontend.outline", "List all parameters current build target supports"),
        ("frontend.targets", "List all targets current build supports"),
        ("frontend.subrequests.describe", "List available subrequest types"),
    ];
    let results = json!([{"Name": "result.json"}, {"Name": "result.txt"}]);
    let list: Vec<Value> = known
        .iter()
        .map(|(name, about)| json!({"Name": name, "Version": "1.0.0", "Type": "rpc", "Description": about, "Metadata": results}))
        .collect();
    let mut rows = vec![["NAME", "VERSION", "DESCRIPTION"].map(str::to_owned).to_vec()];
    rows.extend(known.iter().map(|(name, about)| vec![(*name).to_owned(), "1.0.0".to_owned(), (*about).to_owned()]));
    metadata(&json!(list), text::table(&rows, 3))
}

fn check(name: &str, file: &str, around: &Surroundings<'_>, options: &LintOptions) -> Metadata {
    use base64::Engine as _;
    let source = json!({
        "filename": name,
        "language": "Dockerfile",
        "data": base64::engine::general_purpose::STANDARD.encode(file),
    });
    let mut shown = String::new();
    let (warnings, error) = match parse(file) {
        Ok(parsed) => (lint::check(&parsed, around, options), None),
        Err(error) => (Vec::new(), Some(error)),
    };
    for warning in &warnings {
        let (rule, url) = (warning.rule, warning.url);
        shown.push_str(&format!("\nWARNING: {rule} - {url}\n{}\n", warning.message));
        shown.push_str(&text::excerpt(name, file, warning.span.start_line, warning.span.end_line));
    }
    let listed: Vec<Value> = warnings
        .iter()
        .map(|one| {
            json!({"ruleName": one.rule, "description": one.description, "url": one.url, "detail": one.message,
                "location": location(one.span)})
        })
        .collect();
    let mut result = json!({"warnings": listed, "sources": [source]});
    if let Some(error) = &error {
        result["buildError"] = json!({"message": error.to_string(), "location": location(error.span)});
    }
    let failed = !warnings.is_empty() || error.is_some();
    let mut metadata = metadata(&result, shown);
    metadata.insert("result.statuscode".to_owned(), if failed { b"1".to_vec() } else { b"0".to_vec() });
    metadata
}

fn targets(text: &str, file: &Dockerfile) -> Metadata {
    use base64::Engine as _;
    let last = file.stages.len().saturating_sub(1);
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    let mut list = Vec::new();
    for (number, stage) in file.stages.iter().enumerate() {
        let (name, doc) = (stage.name.clone().unwrap_or_default(), stage.doc.clone().unwrap_or_default());
        let shown = match (name.is_empty(), number == last) {
            (true, true) => "(default)".to_owned(),
            (false, true) => format!("{name} (default)"),
            _ => name.clone(),
        };
        rows.push(vec![shown, doc.clone()]);
        let mut target = json!({"base": stage.base, "location": location(stage.span)});
        let texts = [("name", name), ("description", doc), ("platform", stage.platform.clone().unwrap_or_default())];
        for (key, value) in texts.into_iter().filter(|(_, value)| !value.is_empty()) {
            target[key] = Value::String(value);
        }
        if number == last {
            target["default"] = Value::Bool(true);
        }
        list.push(target);
    }
    let source = base64::engine::general_purpose::STANDARD.encode(text);
    metadata(&json!({"targets": list, "sources": [source]}), text::table(&rows, 3))
}

/// The stages that a target is made of, and the target itself.
fn needed<'f>(file: &'f Dockerfile, target: Option<&str>) -> Result<Vec<&'f Stage>, String> {
    let find = |name: &str| {
        let lower = name.to_lowercase();
        let named = file.stages.iter().position(|stage| stage.name.as_deref() == Some(&lower));
        named.or_else(|| name.parse::<usize>().ok().filter(|number| *number < file.stages.len()))
    };
    let start = match target {
        None => file.stages.len().saturating_sub(1),
        Some(name) => find(name).ok_or_else(|| format!("target stage {name:?} could not be found"))?,
    };
    let (mut left, mut seen) = (vec![start], BTreeSet::new());
    while let Some(number) = left.pop() {
        if !seen.insert(number) {
            continue;
        }
        let stage = &file.stages[number];
        left.extend(find(&stage.base).filter(|base| *base < number));
        for instruction in &stage.instructions {
            let from: Vec<&str> = match &instruction.kind {
                Kind::Copy(copy) => copy.from.as_deref().into_iter().collect(),
                Kind::Run(run) => run.mounts.iter().filter_map(|mount| mount.from.as_deref()).collect(),
                _ => Vec::new(),
            };
            left.extend(from.into_iter().filter_map(find));
        }
    }
    let mut stages = vec![&file.stages[start]];
    stages.extend(seen.into_iter().filter(|number| *number != start).map(|number| &file.stages[number]));
    Ok(stages)
}

#[derive(Default)]
struct Parameters {
    args: BTreeMap<String, (ArgDecl, Span)>,
    /// By kind and id: whether it is required, and where.
    mounts: BTreeMap<(&'static str, String), (bool, Span)>,
}

impl Parameters {
    fn of(file: &Dockerfile, stages: &[&Stage]) -> Self {
        let mut found = Self::default();
        let all = file.meta_args.iter().chain(stages.iter().flat_map(|stage| &stage.instructions));
        for instruction in all {
            match &instruction.kind {
                Kind::Arg(declared) => declared.iter().for_each(|one| found.arg(one, instruction.span)),
                Kind::Run(run) => {
                    for mount in &run.mounts {
                        found.mount(mount, instruction.span);
                    }
                }
                _ => {}
            }
        }
        found
    }

    fn arg(&mut self, declared: &ArgDecl, span: Span) {
        let known = self.args.entry(declared.name.clone()).or_insert_with(|| (declared.clone(), span));
        // A stage that takes an argument over says nothing new of it.
        known.0.value = known.0.value.take().or_else(|| declared.value.clone());
        known.0.doc = known.0.doc.take().or_else(|| declared.doc.clone());
    }

    fn mount(&mut self, mount: &engine::build::dockerfile::MountFlag, span: Span) {
        let Ok(mount) = mount.mount(&mut |value| Ok(value.to_owned())) else { return };
        let id = |fallback: &str| {
            let target = mount.target.as_deref().and_then(|target| target.rsplit('/').next());
            let named = mount.id.as_deref().or(mount.source.as_deref()).or(target);
            named.unwrap_or(fallback).to_owned()
        };
        let key = match mount.kind {
            MountKind::Secret => ("secrets", id("")),
            MountKind::Ssh => ("ssh", mount.id.clone().unwrap_or_else(|| "default".to_owned())),
            _ => return,
        };
        let known = self.mounts.entry(key).or_insert((false, span));
        known.0 |= mount.required;
    }
}

fn outline(text: &str, file: &Dockerfile, spec: &BuildSpec) -> Result<Metadata, String> {
    use base64::Engine as _;
    let stages = needed(file, spec.target.as_deref())?;
    let found = Parameters::of(file, &stages);
    let (name, doc) = (stages[0].name.clone().unwrap_or_default(), stages[0].doc.clone().unwrap_or_default());
    let mut shown = String::new();
    if !name.is_empty() || !doc.is_empty() {
        let mut rows =
            vec![vec!["TARGET:".to_owned(), if name.is_empty() { "(default)".to_owned() } else { name.clone() }]];
        rows.extend((!doc.is_empty()).then(|| vec!["DESCRIPTION:".to_owned(), doc.clone()]));
        shown.push_str(&(text::table(&rows, 1) + "\n"));
    }
    let mut result = json!({"sources": [base64::engine::general_purpose::STANDARD.encode(text)]});
    for (key, value) in [("name", name), ("description", doc)] {
        if !value.is_empty() {
            result[key] = Value::String(value);
        }
    }
    let args = arguments(&found, spec, &mut shown);
    result["args"] = json!(args);
    for (kind, heading) in [("secrets", "SECRET"), ("ssh", "SSH")] {
        let mut rows = vec![vec![heading.to_owned(), "REQUIRED".to_owned()]];
        let mut list = Vec::new();
        for ((_, id), (required, span)) in found.mounts.iter().filter(|((of, _), _)| *of == kind) {
            rows.push(vec![id.clone(), if *required { "true".to_owned() } else { String::new() }]);
            list.push(json!({"name": id, "required": required, "location": location(*span)}));
        }
        if !list.is_empty() {
            shown.push_str(&(text::table(&rows, 3) + "\n"));
            result[kind] = json!(list);
        }
    }
    Ok(metadata(&result, shown))
}

fn arguments(found: &Parameters, spec: &BuildSpec, shown: &mut String) -> Vec<Value> {
    let mut sorted: Vec<_> = found.args.values().collect();
    sorted.sort_by_key(|(_, span)| span.start_line);
    let mut rows = vec![["BUILD ARG", "VALUE", "DESCRIPTION"].map(str::to_owned).to_vec()];
    let mut list = Vec::new();
    for (declared, span) in sorted {
        let given = spec.args.get(&declared.name).cloned().flatten();
        let default = declared.value.as_ref().map(|value| value.trim_matches(['"', '\'']).to_owned());
        let value = given.or(default).unwrap_or_default();
        let doc = declared.doc.clone().unwrap_or_default();
        rows.push(vec![declared.name.clone(), value.clone(), doc.clone()]);
        list.push(json!({"name": declared.name, "value": value, "description": doc, "location": location(*span)}));
    }
    if !list.is_empty() {
        shown.push_str(&(text::table(&rows, 3) + "\n"));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# V the version\nARG V=1\n# base what all stand on\nFROM busybox AS base\nRUN --mount=type=secret,id=token,required x\nFROM busybox AS other\nARG UNUSED\n# app the result\nFROM base AS app\nARG V\nRUN --mount=type=ssh y\n";

    fn text(metadata: &Metadata) -> String {
        String::from_utf8(metadata["result.txt"].clone()).unwrap()
    }

    #[test]
    fn targets_are_listed_with_what_is_said_of_them() {
        let found = targets(FILE, &parse(FILE).unwrap());
        assert_eq!(
            text(&found),
            "TARGET          DESCRIPTION\nbase            what all stand on\nother           \napp (default)   the result\n"
        );
        let json: Value = serde_json::from_slice(&found["result.json"]).unwrap();
        assert_eq!(
            (json["targets"][2]["default"].as_bool(), json["targets"][0]["base"].as_str()),
            (Some(true), Some("busybox"))
        );
    }

    #[test]
    fn the_outline_has_what_the_target_needs_and_nothing_else() {
        let spec = BuildSpec { args: [("V".to_owned(), Some("2".to_owned()))].into(), ..BuildSpec::default() };
        let found = outline(FILE, &parse(FILE).unwrap(), &spec).unwrap();
        let shown = text(&found);
        assert!(shown.starts_with("TARGET:      app\nDESCRIPTION: the result\n\n"), "{shown}");
        assert!(shown.contains("V           2       the version\n") && !shown.contains("UNUSED"), "{shown}");
        assert!(shown.contains("token    true\n") && shown.contains("default   \n"), "{shown}");
        let spec = BuildSpec { target: Some("gone".to_owned()), ..BuildSpec::default() };
        assert!(outline(FILE, &parse(FILE).unwrap(), &spec).unwrap_err().contains("gone"));
    }

    #[test]
    fn checks_tell_rules_lines_and_whether_they_passed() {
        let around = surroundings(&BuildSpec::default(), None);
        let found = check("Dockerfile", "FROM busybox as a\n", &around, &LintOptions::default());
        assert_eq!(found["result.statuscode"], b"1");
        assert!(
            text(&found).contains("WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/")
        );
        assert!(text(&found).contains("   1 | >>> FROM busybox as a"));
        assert_eq!(check("D", "FROM busybox\n", &around, &LintOptions::default())["result.statuscode"], b"0");
        let broken = check("D", "FRMO x\n", &around, &LintOptions::default());
        let json: Value = serde_json::from_slice(&broken["result.json"]).unwrap();
        assert!(json["buildError"]["message"].as_str().unwrap().contains("did you mean FROM?"));
    }
}
