//! `gantry ps`.

use std::collections::BTreeMap;

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{FILTER, FORMAT_TABLE, Flag, Matches};
use crate::output::print;
use crate::output::table::{Columns, Row, ellipsis, render, short_id};
use crate::output::template::Value;
use crate::{timestamps, units};

pub(crate) static COMMAND: Command = Command {
    about: "List containers",
    usage: "",
    arguments: (0, 0),
    flags: &[&[
        Flag::switch("all", "Show all containers (default shows just running)").short('a'),
        FILTER.short('f'),
        FORMAT_TABLE,
        Flag::int("last", "Show n last created containers (includes all states)").short('n').default("-1"),
        Flag::switch("latest", "Show the latest created container (includes all states)").short('l'),
        Flag::switch("no-trunc", "Don't truncate output"),
        Flag::switch("pods", "Show pods with their containers, then docker's, as a tree"),
        Flag::switch("quiet", "Only display container IDs").short('q'),
        Flag::switch("size", "Display total file sizes").short('s'),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

pub(crate) const COLUMNS: Columns = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("State", "STATE"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    if matches.on("pods") {
        return super::pods::tree(context, matches).await;
    }
    let quiet = matches.on("quiet");
    let format = match (matches.optional("format"), quiet) {
        (Some(format), _) => format,
        (None, true) => "{{.ID}}",
        (None, false) => context.config.ps_format.as_str(),
    };
    let last = if matches.on("latest") { 1 } else { matches.int("last") };
    let size = matches.on("size") || (!matches.given("size") && format.contains(".Size"));
    let path = Path::new("/containers/json")
        .query_if("all", matches.on("all"))
        .query_some("limit", &if last > 0 { last.to_string() } else { String::new() })
        .query_if("size", size)
        .filters(matches.list("filter"));
    let containers = context.client.get_value(&path).await?;
    let rows = containers.items().iter().map(|container| row(container, !matches.on("no-trunc"))).collect();
    let mut default =
        "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}".to_owned();
    if matches.on("size") {
        default.push_str("\t{{.Size}}");
    }
    let format = if quiet && matches.given("format") && format == "table" { "{{.ID}}" } else { format };
    print(&render(format, &default, COLUMNS, rows)?)
}

pub(crate) fn row(container: &Value, truncate: bool) -> Row {
    let id = container.field("Id").as_str();
    let image = match container.field("Image").as_str() {
        "" => "<no image>",
        // An image without a name is shown by its id.
        image if truncate && is_id_of(image, container) => short_id(image),
        image if truncate => image.split_once("@sha256:").map_or(image, |(name, _)| name),
        image => image,
    };
    let command = container.field("Command").as_str();
    let command = if truncate { ellipsis(command, 20) } else { command.to_owned() };
    let created = container.field("Created").as_int();
    let names: Vec<&str> = container.field("Names").items().iter().map(Value::as_str).collect();
    let labels: BTreeMap<String, String> = container
        .field("Labels")
        .entries()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.as_str().to_owned()))
        .collect();
    let joined: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let networks: Vec<&str> =
        container.at("NetworkSettings.Networks").entries().into_iter().map(|(name, _)| name).collect();
    let local = container.field("Mounts").items().iter().filter(|mount| mount.field("Driver").as_str() == "local");
    Row::new("*formatter.ContainerContext")
        .set("ID", if truncate { short_id(id) } else { id })
        .set("Image", image)
        .set("Command", quote(&command))
        .set("CreatedAt", timestamps::absolute(created))
        .set("RunningFor", timestamps::ago(created))
        .set("Status", container.field("Status").as_str())
        .set("State", container.field("State").as_str())
        .set("Ports", ports(container.field("Ports").items()))
        .set("Names", shown_names(&names, truncate))
        .set("Size", size(container))
        .set("Labels", joined.join(","))
        .set("Mounts", mounts(container, truncate))
        .set("LocalVolumes", local.count().to_string())
        .set("Networks", networks.join(","))
        .set_value("Platform", platform(container))
        .labels(labels)
}

/// Go's `%q`.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn is_id_of(image: &str, container: &Value) -> bool {
    let id = container.field("ImageID").as_str();
    image == id || image.strip_prefix("sha256:").is_some_and(|digits| id.ends_with(digits))
}

/// Without the leading slash; names that come from links only in full output.
fn shown_names(names: &[&str], truncate: bool) -> String {
    let bare = names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
    let shown: Vec<&str> = bare.filter(|name| !truncate || !name.contains('/')).collect();
    shown.join(",")
}

fn size(container: &Value) -> String {
    let writable = units::human_size(container.field("SizeRw").as_float(), 3);
    match container.field("SizeRootFs").as_float() {
        total if total > 0.0 => format!("{writable} (virtual {})", units::human_size(total, 3)),
        _ => writable,
    }
}

fn mounts(container: &Value, truncate: bool) -> String {
    let shown = container.field("Mounts").items().iter().map(|mount| {
        let name = mount.field("Name").as_str();
        let name = if name.is_empty() { mount.field("Source").as_str() } else { name };
        if truncate { ellipsis(name, 15) } else { name.to_owned() }
    });
    shown.collect::<Vec<_>>().join(",")
}

fn platform(container: &Value) -> Value {
    match container.at("ImageManifestDescriptor.platform") {
        Value::Struct(_) => container.at("ImageManifestDescriptor.platform").clone(),
        _ => Value::Nil,
    }
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`; neighbours are joined to ranges.
pub(crate) fn ports(list: &[Value]) -> String {
    let number = |port: &Value, name: &str| u32::try_from(port.field(name).as_int()).unwrap_or(0);
    let mut sorted: Vec<&Value> = list.iter().collect();
    sorted.sort_by(|a, b| {
        let key = |port: &Value| {
            (
                number(port, "PrivatePort"),
                port.field("IP").as_str().to_owned(),
                number(port, "PublicPort"),
                port.field("Type").as_str().to_owned(),
            )
        };
        key(a).cmp(&key(b))
    });
    let (mut shown, mut mapped) = (Vec::new(), Vec::new());
    let mut groups: Vec<(String, String, u32, u32)> = Vec::new();
    for port in sorted {
        let (ip, kind) = (port.field("IP").as_str(), port.field("Type").as_str());
        let (private, public) = (number(port, "PrivatePort"), number(port, "PublicPort"));
        if !ip.is_empty() && private != public {
            mapped.push(format!("{}->{private}/{kind}", join_host_port(ip, &public.to_string())));
            continue;
        }
        match groups.iter_mut().find(|(group_ip, group_kind, _, _)| group_ip == ip && group_kind == kind) {
            Some((_, _, _, last)) if private == *last + 1 => *last = private,
            Some(group) => {
                shown.push(form_group(group));
                (group.2, group.3) = (private, private);
            }
            None => groups.push((ip.to_owned(), kind.to_owned(), private, private)),
        }
    }
    shown.extend(groups.iter().map(form_group));
    shown.extend(mapped);
    shown.join(", ")
}

fn form_group((ip, kind, first, last): &(String, String, u32, u32)) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    if ip.is_empty() {
        return format!("{range}/{kind}");
    }
    format!("{}->{range}/{kind}", join_host_port(ip, &range))
}

/// An IPv6 address stands in brackets.
pub(crate) fn join_host_port(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_grouped_as_docker_groups_them() {
        let list = Value::from_json(
            r#"[{"PrivatePort":81,"Type":"tcp"},{"PrivatePort":80,"Type":"tcp"},{"PrivatePort":53,"Type":"udp"},
            {"IP":"0.0.0.0","PrivatePort":90,"PublicPort":90,"Type":"tcp"},
            {"IP":"0.0.0.0","PrivatePort":91,"PublicPort":91,"Type":"tcp"},
            {"IP":"::","PrivatePort":99,"PublicPort":8099,"Type":"tcp"}]"#,
        )
        .unwrap();
        assert_eq!(ports(list.items()), "53/udp, 80-81/tcp, 0.0.0.0:90-91->90-91/tcp, [::]:8099->99/tcp");
    }

    #[test]
    fn a_row_shows_what_people_know() {
        let container = Value::from_json(
            r#"{"Id":"0123456789abcdef","Names":["/web","/other/link"],"Image":"sha256:feedfeedfeedfeed",
            "ImageID":"sha256:feedfeedfeedfeed","Command":"sh -c 'echo a long one'","Created":0,"Status":"Up","State":"running",
            "Labels":{"b":"2","a":"1"},"Mounts":[{"Name":"0123456789abcdef0123","Driver":"local"}],
            "NetworkSettings":{"Networks":{"bridge":{}}}}"#,
        )
        .unwrap();
        let text = render("json", "", COLUMNS, vec![row(&container, true)]).unwrap();
        for part in [
            r#""ID":"0123456789ab""#,
            r#""Names":"web""#,
            r#""Image":"feedfeedfeed""#,
            r#""Command":"\"sh -c 'echo a long …\"""#,
            r#""Labels":"a=1,b=2""#,
            r#""Mounts":"0123456789abcd…""#,
            r#""LocalVolumes":"1""#,
            r#""CreatedAt":"1970-01-01"#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
