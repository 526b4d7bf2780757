//! `gantry images`.

use std::collections::BTreeMap;

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{FILTER, FORMAT_TABLE, Flag, Matches};
use crate::output::print;
use crate::output::table::{Columns, Row, render, short_id};
use crate::output::template::Value;
use crate::{timestamps, units};

pub(crate) static COMMAND: Command = Command {
    about: "List images",
    usage: "[REPOSITORY[:TAG]]",
    arguments: (0, 1),
    flags: &[&[
        Flag::switch("all", "Show all images (default hides intermediate images)").short('a'),
        Flag::switch("digests", "Show digests"),
        FILTER.short('f'),
        FORMAT_TABLE,
        Flag::switch("no-trunc", "Don't truncate output"),
        Flag::switch("quiet", "Only show image IDs").short('q'),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

pub(crate) const COLUMNS: Columns = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let mut filters = matches.list("filter").to_vec();
    if !matches.arg(0).is_empty() {
        filters.push(format!("reference={}", matches.arg(0)));
    }
    let path = Path::new("/images/json").query_if("all", matches.on("all")).filters(&filters);
    let images = context.client.get_value(&path).await?;
    let (quiet, digests) = (matches.on("quiet"), matches.on("digests"));
    let format = match (matches.optional("format"), quiet) {
        (Some(format), _) => format,
        (None, true) => "{{.ID}}",
        (None, false) => context.config.images_format.as_str(),
    };
    let with_digests = digests || format.contains(".Digest");
    let mut rows = Vec::new();
    for image in images.items() {
        rows.extend(image_rows(image, !matches.on("no-trunc"), with_digests));
    }
    let default = if digests {
        "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
    } else {
        "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
    };
    print(&render(format, default, COLUMNS, rows)?)
}

/// One row per tag; per digest too where digests are shown; one row of `<none>` for an image without a name.
pub(crate) fn image_rows(image: &Value, truncate: bool, with_digests: bool) -> Vec<Row> {
    let texts = |name: &str| -> Vec<&str> { image.field(name).items().iter().map(Value::as_str).collect() };
    let tags = texts("RepoTags");
    let mut tags_by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, tag) in tags.iter().filter_map(|text| text.rsplit_once(':')).filter(|(name, _)| *name != "<none>") {
        tags_by_name.entry(name).or_default().push(tag);
    }
    let digests = texts("RepoDigests");
    let mut digests_by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, digest) in digests.iter().filter_map(|text| text.split_once('@')).filter(|(name, _)| *name != "<none>") {
        digests_by_name.entry(name).or_default().push(digest);
    }
    let none = "<none>";
    let row = |name: &str, tag: &str, digest: &str| row(image, truncate, name, tag, digest);
    let mut rows = Vec::new();
    for (name, tags) in &tags_by_name {
        let digests = digests_by_name.remove(name).filter(|_| with_digests).unwrap_or_default();
        for tag in tags {
            if digests.is_empty() {
                rows.push(row(name, tag, none));
            }
            rows.extend(digests.iter().map(|digest| row(name, tag, digest)));
        }
    }
    for (name, digests) in digests_by_name {
        if with_digests {
            rows.extend(digests.iter().map(|digest| row(name, none, digest)));
        } else {
            rows.push(row(name, none, none));
        }
    }
    if rows.is_empty() {
        rows.push(row(none, none, none));
    }
    rows
}

fn row(image: &Value, truncate: bool, name: &str, tag: &str, digest: &str) -> Row {
    let id = image.field("Id").as_str();
    let created = image.field("Created").as_int();
    let size = |name: &str, digits| units::human_size(image.field(name).as_float(), digits);
    let counted = |value: i64, text: String| if value < 0 { "N/A".to_owned() } else { text };
    let containers = image.field("Containers").as_int();
    let shared = image.field("SharedSize").as_int();
    let unique = units::human_size(image.field("Size").as_float() - image.field("SharedSize").as_float(), 4);
    let virtual_size = if image.field("VirtualSize").is_nil() { size("Size", 4) } else { size("VirtualSize", 4) };
    Row::new("*formatter.imageContext")
        .set("ID", if truncate { short_id(id) } else { id })
        .set("Repository", name)
        .set("Tag", tag)
        .set("Digest", digest)
        .set("CreatedSince", if created == 0 { "N/A".to_owned() } else { timestamps::ago(created) })
        .set("CreatedAt", timestamps::absolute(created))
        .set("Size", size("Size", 3))
        .set("Containers", counted(containers, containers.to_string()))
        .set("VirtualSize", virtual_size)
        .set("SharedSize", counted(shared, size("SharedSize", 4)))
        .set("UniqueSize", counted(shared, unique))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_row_per_name() {
        let image = Value::from_json(
            r#"{"Id":"sha256:0123456789abcdef","Created":0,"Size":4165000,"SharedSize":-1,"Containers":-1,
            "RepoTags":["a:1","r:5000/b:2"],"RepoDigests":["a@sha256:d1","c@sha256:d2"]}"#,
        )
        .unwrap();
        let shown = |with_digests| {
            let rows = image_rows(&image, true, with_digests);
            render("{{.Repository}} {{.Tag}} {{.Digest}} {{.ID}} {{.Size}} {{.Containers}}", "", COLUMNS, rows).unwrap()
        };
        assert_eq!(
            shown(false),
            "a 1 <none> 0123456789ab 4.17MB N/A\nr:5000/b 2 <none> 0123456789ab 4.17MB N/A\nc <none> <none> 0123456789ab 4.17MB N/A\n"
        );
        assert_eq!(
            shown(true),
            "a 1 sha256:d1 0123456789ab 4.17MB N/A\nr:5000/b 2 <none> 0123456789ab 4.17MB N/A\nc <none> sha256:d2 0123456789ab 4.17MB N/A\n"
        );
    }
}
