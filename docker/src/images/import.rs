//! `POST /images/create?fromSrc=-`: an image of a tar.

use engine::id::Owner;
use engine::image::{ImportRequest, Platform};

use crate::call::Call;
use crate::images::commit::{changes, name};
use crate::images::happened;
use crate::reply::{self, Outcome};
use crate::request_body;
use crate::status_code::Failure;
use crate::view::pull;

pub(crate) async fn import(mut call: Call) -> Outcome {
    let source = call.query.text("fromSrc");
    if source != "-" {
        return Err(Failure::not_implemented(format!(
            "query fromSrc: {source:?} would have to be fetched by this engine, which it does not do: fetch it and import from standard input (\"-\")"
        )));
    }
    let platform: Option<Platform> = match call.query.text("platform") {
        "" => None,
        text => Some(text.parse()?),
    };
    let request = ImportRequest {
        reference: name(call.query.text("repo"), call.query.text("tag"))?,
        comment: call.query.text("message").to_owned(),
        changes: changes(&call.query.all("changes")),
        platform,
    };
    let body = call.body.take().ok_or_else(|| Failure::bad_request("no archive was sent"))?;
    let id = call.engine().images().import(request_body::reader(body), request, Owner::Docker).await?;
    if let Ok(view) = call.engine().images().get(&id.to_string()) {
        happened(call.engine(), "import", &view, &view.id.to_string()).await;
    }
    let (pieces, response) = reply::stream("application/json");
    tokio::spawn(async move { drop(pieces.line(&pull::status(id.to_string()), "\r\n").await) });
    Ok(response)
}
