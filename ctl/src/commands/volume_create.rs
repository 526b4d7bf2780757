//! `gantry volume create`.

use docker_api::volume::VolumeCreate;

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Flag, Matches};
use crate::output::println;
use crate::run_options::environment;

pub(crate) static COMMAND: Command = Command {
    about: "Create a volume",
    usage: "[VOLUME]",
    arguments: (0, 1),
    flags: &[&[
        Flag::text("driver", "Specify volume driver name").short('d').default("local"),
        Flag::list("label", "Set metadata for a volume").check(environment::check_label),
        Flag::map("opt", "Set driver specific options").short('o'),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let body = VolumeCreate {
        driver: matches.text("driver").to_owned(),
        driver_opts: environment::pairs(matches.list("opt")),
        labels: environment::labels(&[], matches.list("label"))?,
        name: matches.arg(0).to_owned(),
        ..VolumeCreate::default()
    };
    let volume = context.client.post_json(&Path::new("/volumes/create"), &body).await?;
    println(volume.field("Name").as_str())
}
