//! `gantry history`.

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{FORMAT_TABLE, Flag, Matches};
use crate::output::print;
use crate::output::table::{Columns, Row, ellipsis, render, short_id};
use crate::output::template::Value;
use crate::{timestamps, units};

pub(crate) static COMMAND: Command = Command {
    about: "Show the history of an image",
    usage: "IMAGE",
    arguments: (1, 1),
    flags: &[&[
        FORMAT_TABLE,
        Flag::switch_on("human", "Print sizes and dates in human readable format").short('H'),
        Flag::switch("no-trunc", "Don't truncate output"),
        Flag::switch("quiet", "Only show image IDs").short('q'),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

const COLUMNS: Columns = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let layers = context.client.get_value(&Path::of("images", matches.arg(0), "history")?).await?;
    let (truncate, human) = (!matches.on("no-trunc"), matches.on("human"));
    let rows = layers.items().iter().map(|layer| row(layer, truncate, human)).collect();
    let format = match (matches.optional("format"), matches.on("quiet")) {
        (Some(format), _) => format,
        (None, true) => "{{.ID}}",
        (None, false) => "",
    };
    let created = if human { "{{.CreatedSince}}" } else { "{{.CreatedAt}}" };
    let default = format!("{{{{.ID}}}}\t{created}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}");
    print(&render(format, &default, COLUMNS, rows)?)
}

fn row(layer: &Value, truncate: bool, human: bool) -> Row {
    let id = layer.field("Id").as_str();
    let by = layer.field("CreatedBy").as_str().replace('\t', " ");
    let created = layer.field("Created").as_int();
    let size = layer.field("Size");
    let since = if created <= 0 { "N/A".to_owned() } else { timestamps::ago(created) };
    Row::new("*formatter.historyContext")
        .set("ID", if truncate { short_id(id) } else { id })
        .set("CreatedSince", if human { since } else { timestamps::rfc3339(created) })
        .set("CreatedAt", timestamps::rfc3339(created))
        .set("CreatedBy", if truncate { ellipsis(&by, 45) } else { by })
        .set("Size", if human { units::human_size(size.as_float(), 3) } else { size.as_int().to_string() })
        .set("Comment", layer.field("Comment").as_str())
}
