//! `gantry login` and `gantry logout`.

use std::io::{BufRead, Read, Write};

use serde::Serialize;

use crate::auth::{self, DOCKER_IO};
use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::output::{eprintln, println};
use crate::terminal;

/// A password is shorter.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

pub(crate) static LOGIN: Command = Command {
    about: "Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
    usage: "[SERVER]",
    arguments: (0, 1),
    flags: &[&[
        Flag::text("password", "Password or Personal Access Token (PAT)").short('p'),
        Flag::switch("password-stdin", "Take the Password or Personal Access Token (PAT) from stdin"),
        Flag::text("username", "Username").short('u'),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(login(context, matches)),
};

pub(crate) static LOGOUT: Command = Command {
    about: "Log out from a registry.\nIf no server is specified, the default is defined by the daemon.",
    usage: "[SERVER]",
    arguments: (0, 1),
    flags: &[],
    interspersed: true,
    run: |context, matches| Box::pin(async { logout(context, matches) }),
};

/// The body of `POST /auth`.
#[derive(Serialize)]
struct AuthRequest<'a> {
    username: &'a str,
    password: &'a str,
    serveraddress: &'a str,
}

/// How configuration files name a registry that the user typed.
fn server_key(typed: Option<&String>) -> String {
    let host = typed.map_or("", |typed| auth::hostname(typed.trim()));
    match host {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_IO.to_owned(),
        host => host.to_owned(),
    }
}

async fn login(context: &Context, matches: &Matches) -> Result<()> {
    let server = server_key(matches.args.first());
    let (username, password) = credentials(context, matches, &server)?;
    let request = AuthRequest { username: &username, password: &password, serveraddress: &server };
    let answer = context.client.post_json(&Path::new("/auth"), &request).await?;
    let token = answer.field("IdentityToken").as_str();
    let place = auth::store(&context.folder, &context.config, &server, &username, &password, token)?;
    if let auth::Place::File(path) = place {
        eprintln(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this \
             warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            path.display()
        ));
    }
    match answer.field("Status").as_str() {
        "" => println("Login Succeeded"),
        status => println(status),
    }
}

/// What the flags say, else what is stored, else what the user types.
fn credentials(context: &Context, matches: &Matches, server: &str) -> Result<(String, String)> {
    let (user, password) = (matches.text("username").to_owned(), matches.text("password").to_owned());
    if matches.on("password-stdin") {
        if matches.given("password") {
            return Err(Error::message("--password and --password-stdin are mutually exclusive"));
        }
        if user.is_empty() {
            return Err(Error::message("the --password-stdin option requires --username to be set"));
        }
        let mut typed = String::new();
        std::io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut typed)?;
        let typed = typed.strip_suffix('\n').unwrap_or(&typed);
        return Ok((user, typed.strip_suffix('\r').unwrap_or(typed).to_owned()));
    }
    if matches.given("password") {
        eprintln("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    if user.is_empty() && password.is_empty() {
        let (user, password) = auth::stored(&context.config, server)?;
        if !user.is_empty() && !password.is_empty() {
            println("Authenticating with existing credentials...")?;
            return Ok((user, password));
        }
    }
    if (user.is_empty() || password.is_empty()) && !terminal::stdin_is_terminal() {
        return Err(Error::message("Error: Cannot perform an interactive login from a non TTY device"));
    }
    let user = if user.is_empty() { ask("Username: ")? } else { user };
    if user.is_empty() {
        return Err(Error::message("Error: Non-null Username Required"));
    }
    let password = if password.is_empty() { ask_hidden("Password: ")? } else { password };
    if password.is_empty() { Err(Error::message("Error: Password Required")) } else { Ok((user, password)) }
}

fn ask(prompt: &str) -> Result<String> {
    let mut out = std::io::stdout().lock();
    out.write_all(prompt.as_bytes())?;
    out.flush()?;
    let mut typed = String::new();
    std::io::stdin().lock().take(PASSWORD_BYTES_MAX).read_line(&mut typed)?;
    Ok(typed.trim_end_matches(['\n', '\r']).to_owned())
}

fn ask_hidden(prompt: &str) -> Result<String> {
    let quiet = terminal::Quiet::enter()?;
    let typed = ask(prompt);
    drop(quiet);
    println("")?;
    typed
}

fn logout(context: &Context, matches: &Matches) -> Result<()> {
    let server = server_key(matches.args.first());
    let shown = matches.args.first().map_or("https://index.docker.io/v1/", String::as_str);
    println(&format!("Removing login credentials for {}", auth::hostname(shown)))?;
    if let Err(error) = auth::erase(&context.folder, &context.config, &server) {
        eprintln(&format!("WARNING: could not erase credentials:\n{error}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::server_key;

    #[test]
    fn the_hub_has_one_name_in_configuration_files() {
        for typed in [None, Some("docker.io"), Some("https://index.docker.io/v1/"), Some("registry-1.docker.io")] {
            assert_eq!(server_key(typed.map(str::to_owned).as_ref()), "https://index.docker.io/v1/");
        }
        assert_eq!(server_key(Some(&"https://r.example:5000/v2/".to_owned())), "r.example:5000");
    }
}
