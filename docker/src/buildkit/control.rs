//! The service `Control`: builds from their beginning to their end, their progress, and the cache.

use std::pin::Pin;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1 as pb;
use engine::image::{Platform, Reference};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::server::Door;

use super::builds::Output;
use super::sessions::About;
use super::solve::{self, Ask};
use super::{cache, workers};

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Bytes of a session inside of a call that wait in each direction.
const BYTES_WAITING_MAX: usize = 64 << 10;

/// The service.
pub(super) struct Control {
    door: Arc<Door>,
}

impl Control {
    pub(super) fn new(door: Arc<Door>) -> Self {
        Self { door }
    }
}

/// What the client wants of the result, in the older form or the newer one.
fn output(request: &pb::SolveRequest) -> Result<Output, Status> {
    let older =
        pb::Exporter { r#type: request.exporter_deprecated.clone(), attrs: request.exporter_attrs_deprecated.clone() };
    let exporter = match request.exporters.as_slice() {
        [] if older.r#type.is_empty() => return Ok(Output::Nothing),
        [] => &older,
        [one] => one,
        _ => return Err(Status::invalid_argument("several outputs of one build are not supported")),
    };
    match exporter.r#type.as_str() {
        "moby" | "image" => {
            names(exporter.attrs.get("name").map(String::as_str).unwrap_or_default()).map(Output::Image)
        }
        "tar" => Ok(Output::Tar),
        "local" => Ok(Output::Files),
        other => Err(Status::invalid_argument(format!("exporter {other:?} could not be found"))),
    }
}

/// Names of an image; compose writes them without a tag.
fn names(text: &str) -> Result<Vec<Reference>, Status> {
    let one = |name: &str| match name.parse::<Reference>() {
        Ok(reference) => Ok(reference.or_latest()),
        Err(error) => Err(Status::unknown(format!("invalid reference {name:?}: {error}"))),
    };
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(one).collect()
}

#[tonic::async_trait]
impl pb::control_server::Control for Control {
    type PruneStream = Messages<pb::UsageRecord>;
    type StatusStream = Messages<pb::StatusResponse>;
    type SessionStream = Messages<pb::BytesMessage>;
    type ListenBuildHistoryStream = Messages<pb::BuildHistoryEvent>;

    async fn disk_usage(&self, request: Request<pb::DiskUsageRequest>) -> Answer<pb::DiskUsageResponse> {
        let record = cache::usage(&self.door.engine, &request.into_inner().filter).await?;
        Ok(Response::new(pb::DiskUsageResponse { record }))
    }

    async fn prune(&self, request: Request<pb::PruneRequest>) -> Answer<Self::PruneStream> {
        let removed = cache::prune(&self.door.engine, &request.into_inner()).await?;
        Ok(Response::new(Box::pin(tokio_stream::iter(removed.into_iter().map(Ok)))))
    }

    async fn solve(&self, request: Request<pb::SolveRequest>) -> Answer<pb::SolveResponse> {
        let request = request.into_inner();
        if request.r#ref.is_empty() {
            return Err(Status::invalid_argument("a build needs a reference"));
        }
        let output = output(&request)?;
        let mut running =
            self.door.buildkit.builds.begin(&request.r#ref, &request.session, output, request.entitlements)?;
        let build = Arc::clone(&running.build);
        let solved = if request.frontend.is_empty() && request.definition.is_none_or(|graph| graph.def.is_empty()) {
            // The client drives the front-end itself, over the bridge, and says what the result is.
            let returned = (&mut running.returned).await.map_err(|_| Status::cancelled("the build was given up"))??;
            returned.filter(|id| !id.is_empty()).map(|id| build.result(&id)).transpose()?
        } else {
            let ask =
                Ask { frontend: request.frontend, attrs: request.frontend_attrs, inputs: request.frontend_inputs };
            Some(solve::run(&self.door, &build, ask).await?)
        };
        let mut exporter_response = solve::export(&self.door, &build, solved.as_deref()).await?;
        for (key, value) in solved.iter().flat_map(|solved| &solved.metadata) {
            if let ("result.txt" | "result.json" | "result.statuscode", Ok(text)) =
                (key.as_str(), String::from_utf8(value.clone()))
            {
                exporter_response.insert(format!("frontend.{key}"), text);
            }
        }
        Ok(Response::new(pb::SolveResponse { exporter_response }))
    }

    async fn status(&self, request: Request<pb::StatusRequest>) -> Answer<Self::StatusStream> {
        let listener = self.door.buildkit.builds.listen(&request.into_inner().r#ref).await?;
        Ok(Response::new(Box::pin(tokio_stream::StreamExt::map(ReceiverStream::new(listener), Ok))))
    }

    async fn session(&self, request: Request<Streaming<pb::BytesMessage>>) -> Answer<Self::SessionStream> {
        let metadata = request.metadata();
        let values = |name: &str| {
            metadata.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
        };
        let about = About::from_headers(values).map_err(Status::invalid_argument)?;
        let place =
            self.door.buildkit.sessions.reserve(about).map_err(|failure| Status::unavailable(failure.message))?;
        let (session, carried) = tokio::io::duplex(BYTES_WAITING_MAX);
        tokio::spawn(place.serve(TokioIo::new(session), CancellationToken::new()));
        let (mut reader, mut writer) = tokio::io::split(carried);
        let mut incoming = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                if writer.write_all(&message.data).await.is_err() {
                    break;
                }
            }
            drop(writer.shutdown().await);
        });
        let (messages, outgoing) = mpsc::channel(4);
        tokio::spawn(async move {
            let mut buffer = vec![0; BYTES_WAITING_MAX];
            while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                if messages.send(Ok(pb::BytesMessage { data: buffer[..count].to_vec() })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn list_workers(&self, _: Request<pb::ListWorkersRequest>) -> Answer<pb::ListWorkersResponse> {
        let record = vec![workers::record(&Platform::host())];
        Ok(Response::new(pb::ListWorkersResponse { record }))
    }

    async fn info(&self, _: Request<pb::InfoRequest>) -> Answer<pb::InfoResponse> {
        Ok(Response::new(pb::InfoResponse { buildkit_version: Some(workers::version()) }))
    }

    async fn listen_build_history(
        &self,
        _: Request<pb::BuildHistoryRequest>,
    ) -> Answer<Self::ListenBuildHistoryStream> {
        // No history is kept: there is nothing to tell of builds that are over.
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }

    async fn update_build_history(
        &self,
        request: Request<pb::UpdateBuildHistoryRequest>,
    ) -> Answer<pb::UpdateBuildHistoryResponse> {
        Err(Status::not_found(format!("no build history is kept (asked for {})", request.into_inner().r#ref)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn outputs_are_read_in_both_forms() {
        let exporter = |kind: &str, name: &str| pb::Exporter {
            r#type: kind.into(),
            attrs: HashMap::from([("name".to_owned(), name.to_owned())]),
        };
        let newer = |exporters: Vec<pb::Exporter>| output(&pb::SolveRequest { exporters, ..Default::default() });
        let Ok(Output::Image(names)) = newer(vec![exporter("moby", "a,localhost:5000/b:2")]) else { panic!() };
        assert_eq!(names[0].tag(), Some("latest"), "a name without a tag gets one");
        assert_eq!(names[1].tag(), Some("2"));
        assert_eq!(newer(vec![exporter("moby", "")]).unwrap(), Output::Image(Vec::new()));
        assert_eq!(newer(vec![exporter("tar", "")]).unwrap(), Output::Tar);
        assert_eq!(newer(Vec::new()).unwrap(), Output::Nothing);
        assert!(newer(vec![exporter("oci", "")]).unwrap_err().message().contains("oci"));
        assert!(newer(vec![exporter("tar", ""), exporter("moby", "")]).unwrap_err().message().contains("several"));
        assert!(newer(vec![exporter("moby", "UPPER CASE")]).unwrap_err().message().contains("UPPER CASE"));
        let older = pb::SolveRequest { exporter_deprecated: "local".into(), ..Default::default() };
        assert_eq!(output(&older).unwrap(), Output::Files);
    }
}
