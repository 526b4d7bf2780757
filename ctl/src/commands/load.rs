//! `gantry load`.

use std::io;

use crate::cli::Command;
use crate::client::{Lines, Path, body_of, read_all};
use crate::context::Context;
use crate::error::{Error, Result, open_file};
use crate::flags::{Flag, Matches};
use crate::output::print;
use crate::output::progress::{self, Target};
use crate::terminal;

pub(crate) static COMMAND: Command = Command {
    about: "Load an image from a tar archive or STDIN",
    usage: "",
    arguments: (0, 0),
    flags: &[&[
        Flag::text("input", "Read from tar archive file, instead of STDIN").short('i'),
        Flag::text(
            "platform",
            "Load only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ),
        Flag::switch("quiet", "Suppress the load output").short('q'),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let body = match matches.optional("input") {
        Some(path) => body_of(open_file(path)?),
        None if terminal::stdin_is_terminal() => {
            return Err(Error::message("requested load from stdin, but stdin is empty"));
        }
        None => body_of(io::stdin()),
    };
    let quiet = matches.on("quiet") || !terminal::stdout_is_terminal();
    let path = Path::new("/images/load")
        .query("quiet", if quiet { "1" } else { "0" })
        .query_some("platform", &platform_json(matches.text("platform")));
    let headers = [("content-type", "application/x-tar")];
    let response = context.client.send(http::Method::POST, &path, body, &headers).await?;
    let kind = response.headers().get(http::header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json")) {
        return progress::show(&mut Lines::new(response.into_body()), Target::Stdout).await;
    }
    print(&String::from_utf8_lossy(&read_all(response.into_body()).await?))
}

/// `linux/arm64/v8` as the JSON the API wants; empty stays empty.
pub(crate) fn platform_json(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let names = ["os", "architecture", "variant"];
    let fields: serde_json::Map<String, serde_json::Value> =
        names.into_iter().zip(text.split('/')).map(|(name, part)| (name.to_owned(), part.into())).collect();
    serde_json::Value::Object(fields).to_string()
}
