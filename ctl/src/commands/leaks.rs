//! `gantry leaks`: what the engine left behind that no record owns, as it is now.

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{FORMAT_TABLE, Matches};
use crate::output::print;
use crate::output::table::{Columns, Row, render};

pub(crate) static COMMAND: Command = Command {
    about: "List what exists on this node and no container, pod or network owns",
    usage: "",
    arguments: (0, 0),
    flags: &[&[FORMAT_TABLE]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

const COLUMNS: Columns = &[("Kind", "KIND"), ("Name", "NAME"), ("Detail", "DETAIL")];

/// The exit code is 1 when there is anything, so that scripts can ask.
async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let leaks = context.client.get_value(&Path::new("/leaks")).await?;
    let row = |name: &'static str, leak: &crate::output::template::Value| leak.field(name).as_str().to_owned();
    let rows: Vec<Row> = leaks
        .items()
        .iter()
        .map(|leak| {
            let blank = Row::new("*formatter.LeakContext");
            ["Kind", "Name", "Detail"].into_iter().fold(blank, |r, name| r.set(name, row(name, leak)))
        })
        .collect();
    let found = rows.len();
    print(&render(matches.text("format"), "{{.Kind}}\t{{.Name}}\t{{.Detail}}", COLUMNS, rows)?)?;
    if found == 0 { Ok(()) } else { Err(Error::Exit(1)) }
}
