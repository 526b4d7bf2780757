//! `POST /images/create?fromSrc=…`: an image of a tar, which is sent along (`-`) or fetched from an address.

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
    let images = call.engine().images();
    let id = match call.query.text("fromSrc") {
        "-" => images.import(request_body::reader(body), request, Owner::Docker).await?,
        url => {
            request_body::drop_rest(body);
            images.import(call.engine().open_url(url).await?, request, Owner::Docker).await?
        }
    };
    if let Ok(view) = call.engine().images().get(&id.to_string()) {
        happened(call.engine(), "import", &view, &view.id.to_string()).await;
    }
    let (pieces, response) = reply::stream("application/json");
    tokio::spawn(async move { drop(pieces.line(&pull::status(id.to_string()), "\r\n").await) });
    Ok(response)
}
