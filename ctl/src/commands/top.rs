//! `gantry top`.

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::Matches;
use crate::output::print;
use crate::output::table::align;
use crate::output::template::Value;

pub(crate) static COMMAND: Command = Command {
    about: "Display the running processes of a container",
    usage: "CONTAINER [ps OPTIONS]",
    arguments: (1, ANY),
    flags: &[],
    interspersed: false,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let path = Path::of("containers", matches.arg(0), "top")?.query_some("ps_args", &matches.args[1..].join(" "));
    let answer = context.client.get_value(&path).await?;
    let line = |cells: &Value| cells.items().iter().map(Value::as_str).collect::<Vec<_>>().join("\t");
    let mut text = line(answer.field("Titles"));
    for process in answer.field("Processes").items() {
        text.push('\n');
        text.push_str(&line(process));
    }
    print(&align(&text, 20, 3))
}
