//! The service `LLBBridge`: a client that drives the front-end itself asks here for what Control.Solve is waiting for.

use std::collections::HashMap;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1 as control;
use bollard_buildkit_proto::moby::buildkit::v1::frontend as pb;
use engine::image::Platform;
use tonic::{Request, Response, Status, Streaming};

use crate::server::Door;

use super::builds::{Build, Solved};
use super::solve::{self, Ask};
use super::{caps, definition, workers};

type Answer<T> = Result<Response<T>, Status>;

/// The service.
pub(super) struct Bridge {
    door: Arc<Door>,
}

impl Bridge {
    pub(super) fn new(door: Arc<Door>) -> Self {
        Self { door }
    }

    /// The build that a call speaks of.
    async fn build<T>(&self, request: &Request<T>) -> Result<Arc<Build>, Status> {
        let id = request.metadata().get("buildkit-controlapi-buildid").and_then(|id| id.to_str().ok());
        let id = id.ok_or_else(|| Status::invalid_argument("the metadata buildkit-controlapi-buildid is missing"))?;
        self.door.buildkit.builds.get(id).await
    }
}

/// How a client refers to a result, and how it may build on it.
fn reference(solved: &Solved) -> pb::Ref {
    let Some(built) = &solved.built else { return pb::Ref::default() };
    let image = built.lock().unwrap_or_else(std::sync::PoisonError::into_inner).image;
    pb::Ref { id: solved.id.clone(), def: Some(definition::of_image(&image)) }
}

fn no_files<T>() -> Answer<T> {
    Err(Status::unimplemented("reading files of a result is not built: export it with --output"))
}

fn no_containers<T>() -> Answer<T> {
    Err(Status::unimplemented("containers of front-ends (buildx debug, --invoke) are not built"))
}

#[tonic::async_trait]
impl pb::llb_bridge_server::LlbBridge for Bridge {
    type ExecProcessStream = tokio_stream::Empty<Result<pb::ExecMessage, Status>>;

    async fn ping(&self, request: Request<pb::PingRequest>) -> Answer<pb::PongResponse> {
        self.build(&request).await?;
        Ok(Response::new(pb::PongResponse {
            frontend_api_caps: caps::frontend(),
            llb_caps: caps::graph(),
            workers: vec![workers::record(&Platform::host())],
        }))
    }

    async fn solve(&self, request: Request<pb::SolveRequest>) -> Answer<pb::SolveResponse> {
        let build = self.build(&request).await?;
        let request = request.into_inner();
        let graph = request.definition.filter(|graph| !graph.def.is_empty());
        if let Some(graph) = graph.filter(|_| request.frontend.is_empty()) {
            let source = definition::source(&graph).map_err(Status::unimplemented)?;
            let text = format!("graphs of the client's own are not built (source {})", source.identifier);
            return Err(Status::unimplemented(text));
        }
        let ask = Ask { frontend: request.frontend, attrs: request.frontend_opt, inputs: request.frontend_inputs };
        let solved = solve::run(&self.door, &build, ask).await?;
        let found = if request.allow_result_array_ref {
            pb::result::Result::Ref(reference(&solved))
        } else {
            pb::result::Result::RefDeprecated(reference(&solved).id)
        };
        let result =
            pb::Result { metadata: solved.metadata.clone(), attestations: HashMap::new(), result: Some(found) };
        Ok(Response::new(pb::SolveResponse { r#ref: String::new(), result: Some(result) }))
    }

    async fn r#return(&self, request: Request<pb::ReturnRequest>) -> Answer<pb::ReturnResponse> {
        let build = self.build(&request).await?;
        let request = request.into_inner();
        build.end(match request.error {
            Some(error) => Err(Status::new(tonic::Code::from_i32(error.code), error.message)),
            None => meant(request.result),
        })?;
        Ok(Response::new(pb::ReturnResponse {}))
    }

    async fn evaluate(&self, request: Request<pb::EvaluateRequest>) -> Answer<pb::EvaluateResponse> {
        // Results are made when they are solved.
        self.build(&request).await?.result(&request.into_inner().r#ref)?;
        Ok(Response::new(pb::EvaluateResponse {}))
    }

    async fn inputs(&self, request: Request<pb::InputsRequest>) -> Answer<pb::InputsResponse> {
        self.build(&request).await?;
        Ok(Response::new(pb::InputsResponse::default()))
    }

    async fn warn(&self, request: Request<pb::WarnRequest>) -> Answer<pb::WarnResponse> {
        let build = self.build(&request).await?;
        let pb::WarnRequest { digest, level, short, detail, url, info, ranges } = request.into_inner();
        let warning = control::VertexWarning { vertex: digest, level, short, detail, url, info, ranges };
        build.tell(control::StatusResponse { warnings: vec![warning], ..Default::default() }).await;
        Ok(Response::new(pb::WarnResponse {}))
    }

    async fn stat_file(&self, _: Request<pb::StatFileRequest>) -> Answer<pb::StatFileResponse> {
        no_files()
    }

    async fn read_file(&self, _: Request<pb::ReadFileRequest>) -> Answer<pb::ReadFileResponse> {
        no_files()
    }

    async fn read_dir(&self, _: Request<pb::ReadDirRequest>) -> Answer<pb::ReadDirResponse> {
        no_files()
    }

    async fn resolve_image_config(
        &self,
        _: Request<pb::ResolveImageConfigRequest>,
    ) -> Answer<pb::ResolveImageConfigResponse> {
        Err(Status::unimplemented("resolving images for a client's own graphs is not built"))
    }

    async fn resolve_source_meta(
        &self,
        _: Request<pb::ResolveSourceMetaRequest>,
    ) -> Answer<pb::ResolveSourceMetaResponse> {
        Err(Status::unimplemented("resolving sources for a client's own graphs is not built"))
    }

    async fn new_container(&self, _: Request<pb::NewContainerRequest>) -> Answer<pb::NewContainerResponse> {
        no_containers()
    }

    async fn release_container(&self, _: Request<pb::ReleaseContainerRequest>) -> Answer<pb::ReleaseContainerResponse> {
        no_containers()
    }

    async fn read_file_container(&self, _: Request<pb::ReadFileRequest>) -> Answer<pb::ReadFileResponse> {
        no_containers()
    }

    async fn read_dir_container(&self, _: Request<pb::ReadDirRequest>) -> Answer<pb::ReadDirResponse> {
        no_containers()
    }

    async fn stat_file_container(&self, _: Request<pb::StatFileRequest>) -> Answer<pb::StatFileResponse> {
        no_containers()
    }

    async fn exec_process(&self, _: Request<Streaming<pb::ExecMessage>>) -> Answer<Self::ExecProcessStream> {
        no_containers()
    }
}

/// The one result that a client returns.
fn meant(result: Option<pb::Result>) -> Result<Option<String>, Status> {
    let one = |mut ids: Vec<String>| match ids.len() {
        0 | 1 => Ok(ids.pop()),
        _ => Err(Status::unimplemented("results for several platforms at once are not built")),
    };
    match result.and_then(|result| result.result) {
        None => Ok(None),
        Some(pb::result::Result::RefDeprecated(id)) => Ok(Some(id)),
        Some(pb::result::Result::Ref(reference)) => Ok(Some(reference.id)),
        Some(pb::result::Result::RefsDeprecated(map)) => one(map.refs.into_values().collect()),
        Some(pb::result::Result::Refs(map)) => one(map.refs.into_values().map(|reference| reference.id).collect()),
    }
}
