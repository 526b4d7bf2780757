//! `gantry diff`.

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::Matches;
use crate::output::print;

pub(crate) static COMMAND: Command = Command {
    about: "Inspect changes to files or directories on a container's filesystem",
    usage: "CONTAINER",
    arguments: (1, 1),
    flags: &[],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let answer = context.client.get_value(&Path::of("containers", matches.arg(0), "changes")?).await?;
    let mut text = String::new();
    for change in answer.items() {
        let kind = match change.field("Kind").as_int() {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        text.push_str(&format!("{kind} {}\n", change.field("Path").as_str()));
    }
    print(&text)
}
