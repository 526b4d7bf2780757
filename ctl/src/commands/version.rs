//! `gantry version`.

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{FORMAT_OBJECT, Matches};
use crate::output::template::{Template, Value};
use crate::output::{print, println};

pub(crate) static COMMAND: Command = Command {
    about: "Show the Gantry version information",
    usage: "",
    arguments: (0, 0),
    flags: &[&[FORMAT_OBJECT.short('f')]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let template = match matches.text("format") {
        "" => None,
        "json" => Some("{{json .}}"),
        text => Some(text),
    };
    let template = template.map(Template::parse).transpose();
    let template = template.map_err(|m| Error::message(format!("template parsing error: {m}")))?;
    let server = context.client.get_value(&Path::new("/version")).await;
    if let Some(template) = template {
        let value = Value::record(vec![
            ("Client".to_owned(), client(context)),
            ("Server".to_owned(), server.as_ref().map_or(Value::Nil, with_go_names)),
        ]);
        let text = template.render(&value).map_err(|m| Error::message(format!("template parsing error: {m}")))?;
        println(&text)?;
    } else {
        print(&render_client(context))?;
        if let Ok(server) = &server {
            print(&render_server(server))?;
        }
    }
    server.map(|_| ())
}

fn api_version(context: &Context) -> String {
    context.client.server_version().unwrap_or_default()
}

fn client(context: &Context) -> Value {
    let field = |name: &str, value: &str| (name.to_owned(), Value::text(value));
    Value::record(vec![
        field("Version", env!("CARGO_PKG_VERSION")),
        field("ApiVersion", &api_version(context)),
        field("APIVersion", &api_version(context)),
        field("Os", std::env::consts::OS),
        field("Arch", arch()),
        field("Context", "default"),
    ])
}

/// Go's name of this machine's architecture.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn with_go_names(server: &Value) -> Value {
    let Value::Struct(fields) = server else { return server.clone() };
    let mut fields = fields.as_ref().clone();
    let api = [("ApiVersion", "APIVersion"), ("MinAPIVersion", "MinAPIVersion")];
    for (name, go_name) in api {
        if !fields.iter().any(|(field, _)| field == go_name) {
            fields.push((go_name.to_owned(), server.field(name).clone()));
        }
    }
    Value::record(fields)
}

fn render_client(context: &Context) -> String {
    format!(
        "Client:\n{}{}{}{}",
        line(1, "Version:", env!("CARGO_PKG_VERSION")),
        line(1, "API version:", &api_version(context)),
        line(1, "OS/Arch:", &format!("{}/{}", std::env::consts::OS, arch())),
        line(1, "Host:", &context.client.host().shown),
    )
}

fn line(indent: usize, name: &str, value: &str) -> String {
    format!("{:indent$}{name:<width$}{value}\n", "", width = 20 - indent)
}

fn render_server(server: &Value) -> String {
    let text = |name: &str| server.field(name).as_str();
    let platform = server.at("Platform.Name").as_str();
    let mut out = if platform.is_empty() { "\nServer:\n".to_owned() } else { format!("\nServer: {platform}\n") };
    let components = server.field("Components").items();
    if components.is_empty() {
        out.push_str(" Engine:\n");
        let api = format!("{} (minimum version {})", text("ApiVersion"), text("MinAPIVersion"));
        out.push_str(&line(2, "Version:", text("Version")));
        out.push_str(&line(2, "API version:", &api));
        out.push_str(&line(2, "OS/Arch:", &format!("{}/{}", text("Os"), text("Arch"))));
    }
    for component in components {
        out.push_str(&render_component(component));
    }
    out
}

fn render_component(component: &Value) -> String {
    let detail = |name: &str| component.at("Details").field(name).as_str();
    let mut out = format!(" {}:\n", component.field("Name").as_str());
    out.push_str(&line(2, "Version:", component.field("Version").as_str()));
    let api = detail("ApiVersion");
    if !api.is_empty() {
        out.push_str(&line(2, "API version:", &format!("{api} (minimum version {})", detail("MinAPIVersion"))));
    }
    for (name, title) in
        [("GoVersion", "Go version:"), ("GitCommit", if api.is_empty() { "GitCommit:" } else { "Git commit:" })]
    {
        let value = detail(name);
        if !value.is_empty() || (name == "GitCommit" && api.is_empty()) {
            out.push_str(&line(2, title, value));
        }
    }
    if !detail("BuildTime").is_empty() {
        out.push_str(&line(2, "Built:", &built(detail("BuildTime"))));
    }
    if !detail("Os").is_empty() {
        out.push_str(&line(2, "OS/Arch:", &format!("{}/{}", detail("Os"), detail("Arch"))));
    }
    if !detail("Experimental").is_empty() {
        out.push_str(&line(2, "Experimental:", detail("Experimental")));
    }
    out
}

/// Go's `time.ANSIC` of an RFC 3339 moment.
fn built(text: &str) -> String {
    text.parse::<jiff::Timestamp>().map_or_else(
        |_| text.to_owned(),
        |moment| moment.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a %b %e %H:%M:%S %Y").to_string(),
    )
}
