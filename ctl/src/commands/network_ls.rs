//! `gantry network ls`.

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{FILTER, FORMAT_TABLE, Flag, Matches};
use crate::output::print;
use crate::output::table::{Columns, Row, render, short_id};
use crate::output::template::Value;
use crate::timestamps;

pub(crate) static COMMAND: Command = Command {
    about: "List networks",
    usage: "",
    arguments: (0, 0),
    flags: &[&[
        FILTER.short('f'),
        FORMAT_TABLE,
        Flag::switch("no-trunc", "Do not truncate the output"),
        Flag::switch("quiet", "Only display network IDs").short('q'),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

const COLUMNS: Columns = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let networks = context.client.get_value(&Path::new("/networks").filters(matches.list("filter"))).await?;
    let mut sorted: Vec<&Value> = networks.items().iter().collect();
    sorted.sort_by_key(|network| network.field("Name").as_str().to_owned());
    let rows = sorted.into_iter().map(|network| row(network, !matches.on("no-trunc"))).collect();
    let format = match (matches.optional("format"), matches.on("quiet")) {
        (Some(format), _) => format,
        (None, true) => "{{.ID}}",
        (None, false) => context.config.networks_format.as_str(),
    };
    print(&render(format, "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}", COLUMNS, rows)?)
}

fn row(network: &Value, truncate: bool) -> Row {
    let id = network.field("Id").as_str();
    let text = |name: &str| network.field(name).as_str().to_owned();
    let labels = super::inspect::labels(network.field("Labels"));
    let joined: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let created = text("Created");
    let created = timestamps::seconds_of(&created).map_or(String::new(), |_| go_time(&created));
    Row::new("*network.networkContext")
        .set("ID", if truncate { short_id(id) } else { id })
        .set("Name", text("Name"))
        .set("Driver", text("Driver"))
        .set("Scope", text("Scope"))
        .set("IPv4", network.field("EnableIPv4").truth().to_string())
        .set("IPv6", network.field("EnableIPv6").truth().to_string())
        .set("Internal", network.field("Internal").truth().to_string())
        .set("Labels", joined.join(","))
        .set("CreatedAt", created)
        .labels(labels)
}

/// How Go prints a moment: `2024-01-02 03:04:05.000000006 +0000 UTC`.
fn go_time(text: &str) -> String {
    text.parse::<jiff::Timestamp>().map_or_else(
        |_| text.to_owned(),
        |moment| moment.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S%.f %z %Z").to_string(),
    )
}
