//! `gantry inspect`, and `inspect` of each family.

use std::collections::BTreeMap;

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{FORMAT_OBJECT, Flag, Matches};
use crate::output::json::indent;
use crate::output::print;
use crate::output::template::{Template, Value};
use crate::units;

const FORMAT: Flag = FORMAT_OBJECT.short('f');
const SIZE: Flag = Flag::switch("size", "Display total file sizes if the type is container").short('s');
const VERBOSE: Flag = Flag::switch("verbose", "Verbose output for diagnostics").short('v');

pub(crate) static COMMAND: Command = Command {
    about: "Return low-level information on Docker objects",
    usage: "NAME|ID [NAME|ID...]",
    arguments: (1, ANY),
    flags: &[&[FORMAT, SIZE, Flag::text("type", "Only inspect objects of the given type")]],
    interspersed: true,
    run: |context, matches| Box::pin(any(context, matches)),
};

pub(crate) static CONTAINER: Command = Command {
    about: "Display detailed information on one or more containers",
    usage: "CONTAINER [CONTAINER...]",
    arguments: (1, ANY),
    flags: &[&[FORMAT, SIZE]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches, &[Kind::Container], matches.on("size"))),
};

pub(crate) static IMAGE: Command = Command {
    about: "Display detailed information on one or more images",
    usage: "IMAGE [IMAGE...]",
    arguments: (1, ANY),
    flags: &[&[FORMAT]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches, &[Kind::Image], false)),
};

pub(crate) static NETWORK: Command = Command {
    about: "Display detailed information on one or more networks",
    usage: "NETWORK [NETWORK...]",
    arguments: (1, ANY),
    flags: &[&[FORMAT, VERBOSE]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches, &[Kind::Network], false)),
};

pub(crate) static VOLUME: Command = Command {
    about: "Display detailed information on one or more volumes",
    usage: "VOLUME [VOLUME...]",
    arguments: (1, ANY),
    flags: &[&[FORMAT]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches, &[Kind::Volume], false)),
};

/// What a name may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
    /// A kubelet's: by id, `namespace/name` or name.
    Pod,
}

impl Kind {
    fn path(self, name: &str, size: bool) -> Result<Path> {
        match self {
            Kind::Container => Ok(Path::of("containers", name, "json")?.query_if("size", size)),
            Kind::Image => Path::of("images", name, "json"),
            Kind::Network => Path::of("networks", name, ""),
            Kind::Volume => Path::of("volumes", name, ""),
            Kind::Pod => Path::of("pods", name, "json"),
        }
    }
}

async fn any(context: &Context, matches: &Matches) -> Result<()> {
    let kinds: &[Kind] = match matches.text("type") {
        "" if !matches.given("type") => &[Kind::Container, Kind::Image, Kind::Network, Kind::Volume, Kind::Pod],
        "container" => &[Kind::Container],
        "image" => &[Kind::Image],
        "network" => &[Kind::Network],
        "volume" => &[Kind::Volume],
        "pod" => &[Kind::Pod],
        other => {
            return Err(Error::message(format!(
                "unknown type: {other:?}: must be one of \"container\", \"image\", \"network\", \"volume\", \"pod\""
            )));
        }
    };
    run(context, matches, kinds, matches.on("size")).await
}

async fn run(context: &Context, matches: &Matches, kinds: &[Kind], size: bool) -> Result<()> {
    let as_json = matches.text("format") == "json";
    let template = match matches.text("format") {
        "" | "json" => None,
        text => Some(Template::parse(text).map_err(|m| Error::message(format!("template parsing error: {m}")))?),
    };
    let mut found = Vec::new();
    let mut printed = false;
    let mut failures = Vec::new();
    for name in &matches.args {
        match look(context, name, kinds, size).await {
            Ok(text) => match &template {
                Some(template) => match rendered(template, &text) {
                    Ok(line) => {
                        print(&format!("{line}\n"))?;
                        printed = true;
                    }
                    Err(message) => failures.push(format!("template parsing error: {message}")),
                },
                None => found.push(text),
            },
            Err(error @ Error::Unreachable { .. }) => return Err(error),
            Err(error) => failures.push(error.to_string()),
        }
    }
    let all = || format!("[{}]", found.iter().map(|text| text.trim()).collect::<Vec<_>>().join(","));
    match template {
        None if as_json => print(&format!("{}\n", all()))?,
        None => print(&format!("{}\n", indent(&all(), "    ")))?,
        Some(_) if !printed => print("\n")?,
        Some(_) => {}
    }
    if failures.is_empty() { Ok(()) } else { Err(Error::message(failures.join("\n"))) }
}

/// The object's JSON: of the first kind that knows the name.
async fn look(context: &Context, name: &str, kinds: &[Kind], size: bool) -> Result<String> {
    for kind in kinds {
        match context.client.get_text(&kind.path(name, size)?).await {
            Err(error) if error.is_not_found() && kinds.len() > 1 => {}
            answer => return answer,
        }
    }
    Err(Error::message(format!("Error: No such object: {name}")))
}

/// First as docker's structures, where absent optional fields are nil; then as plain maps, where a missing key
/// is an error. That is docker's own order.
fn rendered(template: &Template, text: &str) -> std::result::Result<String, String> {
    let value = Value::from_json(text).map_err(|error| error.to_string())?;
    let typed = typed(value.clone(), "");
    template.render(&typed).or_else(|_| template.render_strict(&value.into_maps()))
}

/// Fields that hold a Go map; everything else that is an object is a structure.
const MAPS: [&str; 24] = [
    "Annotations",
    "AuxiliaryAddresses",
    "Config.Volumes",
    "Containers",
    "Data",
    "DriverOpts",
    "ExposedPorts",
    "IndexConfigs",
    "IndexInfo",
    "Labels",
    "LogConfig.Config",
    "MacAddresses",
    "Networks",
    "Options",
    "Peers",
    "PortBindings",
    "Ports",
    "Runtimes",
    "Services",
    "Status",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// Fields that the daemon leaves out when they are nil.
const OPTIONAL: [(&str, &str); 8] = [
    ("State", "Health"),
    ("Config", "Healthcheck"),
    ("Config", "StopTimeout"),
    ("HostConfig", "Init"),
    ("HostConfig", "Annotations"),
    ("HostConfig", "Mounts"),
    ("", "SizeRw"),
    ("", "SizeRootFs"),
];

/// Go's names of fields whose JSON has another.
const NAMES: [(&str, &str); 4] =
    [("Id", "ID"), ("Dns", "DNS"), ("DnsOptions", "DNSOptions"), ("DnsSearch", "DNSSearch")];

/// Fields of `Healthcheck` that are durations, which print as `30s` and are nanoseconds in JSON.
const DURATIONS: [&str; 4] = ["Interval", "Timeout", "StartPeriod", "StartInterval"];

/// Nanoseconds.
#[derive(Debug)]
struct GoDuration(i64);

impl crate::output::template::Object for GoDuration {
    fn type_name(&self) -> &str {
        "time.Duration"
    }

    fn get(&self, name: &str, _: &[Value]) -> Option<std::result::Result<Value, String>> {
        #[expect(clippy::cast_precision_loss, reason = "Go's methods lose it too")]
        let ns = self.0 as f64;
        Some(Ok(match name {
            "String" => Value::text(units::go_duration(self.0)),
            "Nanoseconds" => Value::Int(self.0),
            "Milliseconds" => Value::Int(self.0 / 1_000_000),
            "Seconds" => Value::Float(ns / 1e9),
            "Minutes" => Value::Float(ns / 60e9),
            "Hours" => Value::Float(ns / 3600e9),
            _ => return None,
        }))
    }

    fn to_json(&self) -> String {
        self.0.to_string()
    }

    fn to_plain(&self) -> Option<Value> {
        Some(Value::text(units::go_duration(self.0)))
    }
}

fn typed(value: Value, parent: &str) -> Value {
    match value {
        Value::Struct(fields) => {
            let mut typed_fields: Vec<(String, Value)> = Vec::with_capacity(fields.len());
            for (name, value) in fields.iter() {
                let whole = format!("{parent}.{name}");
                let is_map = MAPS.contains(&name.as_str()) || MAPS.contains(&whole.as_str());
                let value = match value {
                    Value::Int(ns) if parent == "Healthcheck" && DURATIONS.contains(&name.as_str()) => {
                        Value::Object(std::rc::Rc::new(GoDuration(*ns)))
                    }
                    value => typed(value.clone(), name),
                };
                typed_fields.push((name.clone(), if is_map { one_map(value) } else { value }));
            }
            for (name, go_name) in NAMES {
                if let Some((_, value)) = fields.iter().find(|(field, _)| field == name) {
                    typed_fields.push((go_name.to_owned(), value.clone()));
                }
            }
            for (of, name) in OPTIONAL {
                if of == parent && !fields.iter().any(|(field, _)| field == name) {
                    typed_fields.push((name.to_owned(), Value::Nil));
                }
            }
            // What was added is for looking up, not for printing the whole.
            if typed_fields.len() == fields.len() {
                Value::record(typed_fields)
            } else {
                Typed::value(typed_fields, fields.len())
            }
        }
        Value::List(items) => Value::list(items.iter().cloned().map(|item| typed(item, parent)).collect()),
        other => other,
    }
}

/// An object as a map whose values keep their shape.
fn one_map(value: Value) -> Value {
    match value {
        Value::Struct(fields) => Value::Map(std::rc::Rc::new(fields.iter().cloned().collect())),
        other => other,
    }
}

/// A structure with names beyond those it prints.
#[derive(Debug)]
struct Typed {
    fields: Vec<(String, Value)>,
    shown: usize,
}

impl Typed {
    fn value(fields: Vec<(String, Value)>, shown: usize) -> Value {
        Value::Object(std::rc::Rc::new(Typed { fields, shown }))
    }
}

impl crate::output::template::Object for Typed {
    fn type_name(&self) -> &str {
        "struct"
    }

    fn get(&self, name: &str, _: &[Value]) -> Option<std::result::Result<Value, String>> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| Ok(value.clone()))
    }

    fn to_json(&self) -> String {
        Value::record(self.fields[..self.shown].to_vec()).to_json()
    }

    fn to_plain(&self) -> Option<Value> {
        Some(Value::record(self.fields[..self.shown].to_vec()))
    }
}

/// An object of texts as a map.
pub(crate) fn labels(value: &Value) -> BTreeMap<String, String> {
    value.entries().into_iter().map(|(name, value)| (name.to_owned(), value.as_str().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_see_structures_first_and_json_second() {
        let text = r#"{"Id":"abc","State":{"Running":true,"Pid":7},"Config":{"Labels":{"a":"1"},"Env":["A=1"],
            "Healthcheck":{"Interval":90000000000,"Timeout":2000000000}},
            "NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]}},"HostConfig":{"Dns":["1.1.1.1"]}}"#;
        let cases = [
            ("{{.Id}} {{.ID}}", "abc abc"),
            ("{{.State.Running}} {{.State.Health}} {{if .State.Health}}x{{end}}", "true <nil> "),
            ("{{.State}}", "{true 7}"),
            ("{{json .State}}", r#"{"Running":true,"Pid":7}"#),
            ("{{.Config.Labels}} {{.Config.Labels.zz}} {{.Config.Env}}", "map[a:1] <no value> [A=1]"),
            ("{{.NetworkSettings.Ports}}", "map[80/tcp:[{0.0.0.0 8080}]]"),
            ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
            ("{{.HostConfig.DNS}}", "[1.1.1.1]"),
            ("{{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Timeout.Seconds}}", "1m30s 2"),
            (
                "{{json .Config.Healthcheck.Interval}} {{json .Config.Healthcheck}}",
                r#"90000000000 {"Interval":90000000000,"Timeout":2000000000}"#,
            ),
            ("{{.Config.Healthcheck}}", "{1m30s 2s}"),
        ];
        for (format, shown) in cases {
            assert_eq!(rendered(&Template::parse(format).unwrap(), text).unwrap(), shown, "{format}");
        }
        let message = rendered(&Template::parse("{{.Foo}}").unwrap(), text).unwrap_err();
        assert_eq!(message, "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"");
    }
}
