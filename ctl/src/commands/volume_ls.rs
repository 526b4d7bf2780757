//! `gantry volume ls`.

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{FILTER, FORMAT_TABLE, Flag, Matches};
use crate::output::print;
use crate::output::table::{Columns, Row, render};
use crate::output::template::Value;
use crate::units;

pub(crate) static COMMAND: Command = Command {
    about: "List volumes",
    usage: "",
    arguments: (0, 0),
    flags: &[&[FILTER.short('f'), FORMAT_TABLE, Flag::switch("quiet", "Only display volume names").short('q')]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

pub(crate) const COLUMNS: Columns = &[
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Group", "GROUP"),
    ("Availability", "AVAILABILITY"),
    ("Status", "STATUS"),
];

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let answer = context.client.get_value(&Path::new("/volumes").filters(matches.list("filter"))).await?;
    let mut volumes: Vec<&Value> = answer.field("Volumes").items().iter().collect();
    volumes.sort_by_key(|volume| volume.field("Name").as_str().to_owned());
    let rows = volumes.into_iter().map(row).collect();
    let format = match (matches.optional("format"), matches.on("quiet")) {
        (Some(format), _) => format,
        (None, true) => "{{.Name}}",
        (None, false) => context.config.volumes_format.as_str(),
    };
    print(&render(format, "{{.Driver}}\t{{.Name}}", COLUMNS, rows)?)
}

/// A volume's row; also for `system df -v`.
pub(crate) fn row(volume: &Value) -> Row {
    let text = |name: &str| volume.field(name).as_str().to_owned();
    let labels = super::inspect::labels(volume.field("Labels"));
    let joined: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let usage = volume.field("UsageData");
    let counted = |shown: String| if usage.is_nil() { "N/A".to_owned() } else { shown };
    Row::new("*formatter.volumeContext")
        .set("Name", text("Name"))
        .set("Driver", text("Driver"))
        .set("Scope", text("Scope"))
        .set("Mountpoint", text("Mountpoint"))
        .set("Labels", joined.join(","))
        .set("Links", counted(usage.field("RefCount").as_int().to_string()))
        .set("Size", counted(units::human_size(usage.field("Size").as_float(), 3)))
        .set("Group", "N/A")
        .set("Availability", "N/A")
        .set("Status", "N/A")
        .labels(labels)
}
