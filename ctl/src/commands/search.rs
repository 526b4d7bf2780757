//! `gantry search`.

use crate::auth;
use crate::cli::Command;
use crate::client::{Path, empty_body, read_all};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{FILTER, FORMAT_TABLE, Flag, Matches};
use crate::output::print;
use crate::output::table::{Columns, Row, ellipsis, render};
use crate::output::template::Value;

pub(crate) static COMMAND: Command = Command {
    about: "Search Docker Hub for images",
    usage: "TERM",
    arguments: (1, 1),
    flags: &[&[
        FILTER.short('f'),
        FORMAT_TABLE,
        Flag::int("limit", "Max number of search results"),
        Flag::switch("no-trunc", "Don't truncate output"),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

const COLUMNS: Columns = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
    ("IsAutomated", "AUTOMATED"),
];
/// Characters of a description that is cut.
const DESCRIPTION_MAX: usize = 45;

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let term = matches.arg(0);
    let path = Path::new("/images/search")
        .query("term", term)
        .query_some("limit", matches.text("limit"))
        .filters(matches.list("filter"));
    // `HOST/TERM` searches that registry; one without a dot or a port is a part of the hub's names.
    let host = term.split('/').next().filter(|host| *host != term && host.contains(['.', ':']));
    let auth = auth::header(&context.config, host.unwrap_or("docker.io"))?;
    let headers = [("x-registry-auth", auth.as_str())];
    let response = context.client.send(http::Method::GET, &path, empty_body(), &headers).await?;
    let text = String::from_utf8_lossy(&read_all(response.into_body()).await?).into_owned();
    let found =
        Value::from_json(&text).map_err(|e| Error::message(format!("the daemon's answer is not readable: {e}")))?;
    let mut found: Vec<&Value> = found.items().iter().collect();
    found.sort_by_key(|item| std::cmp::Reverse(item.field("star_count").as_int()));
    let whole = matches.on("no-trunc");
    let rows = found.into_iter().map(|item| row(item, whole)).collect();
    let default = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";
    print(&render(matches.text("format"), default, COLUMNS, rows)?)
}

fn row(item: &Value, whole: bool) -> Row {
    let description = item.field("description").as_str().replace(['\n', '\r'], " ");
    let mark = |name: &str| if item.field(name).truth() { "[OK]" } else { "" };
    Row::new("*formatter.searchContext")
        .set("Name", item.field("name").as_str())
        .set("Description", if whole { description } else { ellipsis(&description, DESCRIPTION_MAX) })
        .set("StarCount", item.field("star_count").as_int().to_string())
        .set("IsOfficial", mark("is_official"))
        .set("IsAutomated", mark("is_automated"))
}
