//! `gantry pods`, and `gantry ps --pods`: pods with their containers, beside those of the Docker door.

use std::collections::BTreeMap;

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{FORMAT_TABLE, Flag, Matches};
use crate::output::print;
use crate::output::table::{Columns, Row, render, short_id};
use crate::output::template::Value;
use crate::timestamps;

use super::ps;

pub(crate) static COMMAND: Command = Command {
    about: "List the pods of this node's kubelet",
    usage: "",
    arguments: (0, 0),
    flags: &[&[
        Flag::switch("all", "Show all pods (default shows those that are ready)").short('a'),
        FORMAT_TABLE,
        Flag::switch("no-trunc", "Don't truncate output"),
        Flag::switch("quiet", "Only display pod IDs").short('q'),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

const COLUMNS: Columns = &[
    ("ID", "POD ID"),
    ("Name", "NAME"),
    ("Namespace", "NAMESPACE"),
    ("UID", "UID"),
    ("Attempt", "ATTEMPT"),
    ("State", "STATE"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Addresses", "ADDRESSES"),
    ("Network", "NETWORK"),
    ("Runtime", "RUNTIME"),
    ("Containers", "CONTAINERS"),
    ("Error", "ERROR"),
];
const DEFAULT: &str =
    "{{.ID}}\t{{.Namespace}}\t{{.Name}}\t{{.State}}\t{{.RunningFor}}\t{{.Addresses}}\t{{.Containers}}";

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let pods = context.client.get_value(&Path::new("/pods/json").query_if("all", matches.on("all"))).await?;
    let truncate = !matches.on("no-trunc");
    let rows = pods.items().iter().map(|pod| row(pod, truncate)).collect();
    let format = if matches.on("quiet") { "{{.ID}}" } else { matches.text("format") };
    print(&render(format, DEFAULT, COLUMNS, rows)?)
}

fn row(pod: &Value, truncate: bool) -> Row {
    let id = pod.field("Id").as_str();
    let created = pod.field("Created").as_int();
    let joined = |name: &str| pod.field(name).items().iter().map(Value::as_str).collect::<Vec<_>>().join(",");
    Row::new("*formatter.PodContext")
        .set("ID", if truncate { short_id(id) } else { id })
        .set("Name", pod.field("Name").as_str())
        .set("Namespace", pod.field("Namespace").as_str())
        .set("UID", pod.field("Uid").as_str())
        .set("Attempt", pod.field("Attempt").as_int().to_string())
        .set("State", pod.field("State").as_str())
        .set("CreatedAt", timestamps::absolute(created))
        .set("RunningFor", timestamps::ago(created))
        .set("Addresses", joined("Addresses"))
        .set("Network", pod.field("Network").as_str())
        .set("Runtime", pod.field("Runtime").as_str())
        .set("Containers", pod.field("Containers").items().len().to_string())
        .set("Error", pod.field("Error").as_str())
}

const TREE: Columns = &[
    ("Tree", "NAME"),
    ("ID", "ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
];
const TREE_DEFAULT: &str = "{{.Tree}}\t{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.Status}}\t{{.Ports}}";

/// Both worlds in one tree: each pod with its containers, then docker's.
pub(super) async fn tree(context: &Context, matches: &Matches) -> Result<()> {
    let all = matches.on("all");
    let both = ["owner=cri".to_owned(), "owner=docker".to_owned()];
    let filters: Vec<String> = matches.list("filter").iter().chain(&both).cloned().collect();
    let pods = Path::new("/pods/json").query_if("all", all);
    let containers = Path::new("/containers/json").query_if("all", all).filters(&filters);
    let pods = context.client.get_value(&pods).await?;
    let containers = context.client.get_value(&containers).await?;
    let truncate = !matches.on("no-trunc");
    print(&render(matches.text("format"), TREE_DEFAULT, TREE, branches(pods.items(), containers.items(), truncate))?)
}

fn branches(pods: &[Value], containers: &[Value], truncate: bool) -> Vec<Row> {
    let mut by_id: BTreeMap<&str, &Value> = containers.iter().map(|c| (c.field("Id").as_str(), c)).collect();
    let mut rows = Vec::new();
    for pod in pods {
        let id = pod.field("Id").as_str();
        let addresses = pod.field("Addresses").items().iter().map(Value::as_str).collect::<Vec<_>>().join(", ");
        let name = format!("{}/{}", pod.field("Namespace").as_str(), pod.field("Name").as_str());
        let head = Row::new("*formatter.PodContext")
            .set("Tree", name)
            .set("ID", if truncate { short_id(id) } else { id })
            .set("Image", "")
            .set("Command", "")
            .set("Status", format!("pod, {}", pod.field("State").as_str()))
            .set("Ports", addresses);
        rows.push(head);
        let members = pod.field("Containers").items().iter();
        let shown: Vec<(&str, &Value)> =
            members.filter_map(|c| Some((c.field("Name").as_str(), by_id.remove(c.field("Id").as_str())?))).collect();
        rows.extend(twigs(&shown, truncate));
    }
    // In the order of the list; those of pods that are not shown stand by themselves.
    let rest: Vec<(&str, &Value)> = containers
        .iter()
        .filter(|c| by_id.contains_key(c.field("Id").as_str()))
        .map(|c| (c.field("Names").items().first().map_or("", |name| name.as_str().trim_start_matches('/')), c))
        .collect();
    if !rest.is_empty() {
        let blank = ["ID", "Image", "Command", "Status", "Ports"];
        let head = Row::new("*formatter.PodContext").set("Tree", "docker");
        rows.push(blank.into_iter().fold(head, |row, name| row.set(name, "")));
        rows.extend(twigs(&rest, truncate));
    }
    rows
}

fn twigs(shown: &[(&str, &Value)], truncate: bool) -> Vec<Row> {
    let last = shown.len().saturating_sub(1);
    let twig = |(at, (name, container)): (usize, &(&str, &Value))| {
        let glyph = if at == last { "└─" } else { "├─" };
        ps::row(container, truncate).set("Tree", format!("{glyph} {name}"))
    };
    shown.iter().enumerate().map(twig).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_has_both_worlds() {
        let pods = r#"[{"Id":"aaaaaaaaaaaaaaaa","Name":"web","Namespace":"default","State":"ready",
            "Addresses":["10.88.0.4"],"Containers":[{"Id":"c1","Name":"server"},{"Id":"c2","Name":"client"}]}]"#;
        let containers = r#"[
            {"Id":"c3","Names":["/db"],"Image":"db","ImageID":"x","Command":"db","Status":"Up 2 minutes"},
            {"Id":"c2","Names":["/client_web_0"],"Image":"shell","ImageID":"x","Command":"sh","Status":"Up 1 minute"},
            {"Id":"c1","Names":["/server_web_0"],"Image":"shell","ImageID":"x","Command":"sh","Status":"Up 1 minute"}]"#;
        let (pods, containers) = (Value::from_json(pods).unwrap(), Value::from_json(containers).unwrap());
        let rows = branches(pods.items(), containers.items(), true);
        let text = render("{{.Tree}}|{{.ID}}|{{.Status}}|{{.Ports}}", "", TREE, rows).unwrap();
        let wanted = "default/web|aaaaaaaaaaaa|pod, ready|10.88.0.4\n├─ server|c1|Up 1 minute|\n\
                      └─ client|c2|Up 1 minute|\ndocker|||\n└─ db|c3|Up 2 minutes|\n";
        assert_eq!(text, wanted);
    }
}
