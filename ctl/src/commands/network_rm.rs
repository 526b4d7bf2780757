//! `gantry network rm`.

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::output::{eprintln, println};

pub(crate) static COMMAND: Command = Command {
    about: "Remove one or more networks",
    usage: "NETWORK [NETWORK...]",
    arguments: (1, ANY),
    flags: &[&[Flag::switch("force", "Do not error if the network does not exist").short('f')]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let mut failed = false;
    for name in &matches.args {
        match context.client.delete(&Path::of("networks", name, "")?).await {
            Ok(_) => println(name)?,
            Err(error) if error.is_not_found() && matches.on("force") => {}
            Err(error) => {
                eprintln(&error.to_string());
                failed = true;
            }
        }
    }
    if failed { Err(Error::Exit(1)) } else { Ok(()) }
}
