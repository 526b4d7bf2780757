//! The table of RPCs: one line from a request to its verb. What is not built says so.

use engine::Engine;
use futures_util::StreamExt as _;
use tonic::{Request, Response, Status};

use crate::events::ContainerEvents;
use crate::proto as cri;
use crate::streamed::{self, Streamed};
use crate::streaming::Streaming;
use crate::{container, image, metrics, sandbox, status};

/// Both services of `runtime.v1` on one engine.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    engine: Engine,
    events: ContainerEvents,
    streaming: Streaming,
}

impl Service {
    pub(crate) fn new(engine: Engine, streaming: Streaming) -> Self {
        Self { engine, events: ContainerEvents::default(), streaming }
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn not_built<T>(rpc: &str) -> Result<T, Status> {
    Err(Status::unimplemented(format!("{rpc} is not built into this version of gantry")))
}

#[tonic::async_trait]
impl cri::runtime_service_server::RuntimeService for Service {
    async fn version(&self, _: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        Ok(Response::new(status::version()))
    }
    async fn run_pod_sandbox(&self, request: Request<cri::RunPodSandboxRequest>) -> Answer<cri::RunPodSandboxResponse> {
        let pod_sandbox_id = sandbox::run(&self.engine, request.into_inner()).await?;
        Ok(Response::new(cri::RunPodSandboxResponse { pod_sandbox_id }))
    }
    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        sandbox::stop(&self.engine, &request.get_ref().pod_sandbox_id).await?;
        Ok(Response::new(cri::StopPodSandboxResponse {}))
    }
    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        sandbox::remove(&self.engine, &request.get_ref().pod_sandbox_id).await?;
        Ok(Response::new(cri::RemovePodSandboxResponse {}))
    }
    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        sandbox::status(&self.engine, request.get_ref()).map(Response::new)
    }
    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        let items = sandbox::list(&self.engine, request.into_inner().filter);
        Ok(Response::new(cri::ListPodSandboxResponse { items }))
    }
    type StreamPodSandboxesStream = Streamed<cri::StreamPodSandboxesResponse>;
    async fn stream_pod_sandboxes(
        &self,
        request: Request<cri::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        let items = sandbox::list(&self.engine, request.into_inner().filter);
        let wrap = |pod_sandboxes| cri::StreamPodSandboxesResponse { pod_sandboxes };
        Ok(Response::new(streamed::ready(items, wrap)))
    }
    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        let container_id = container::create(&self.engine, request.into_inner()).await?;
        Ok(Response::new(cri::CreateContainerResponse { container_id }))
    }
    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        container::start(&self.engine, &request.get_ref().container_id).await?;
        Ok(Response::new(cri::StartContainerResponse {}))
    }
    async fn stop_container(&self, request: Request<cri::StopContainerRequest>) -> Answer<cri::StopContainerResponse> {
        container::stop(&self.engine, request.get_ref()).await?;
        Ok(Response::new(cri::StopContainerResponse {}))
    }
    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        container::remove(&self.engine, &request.get_ref().container_id).await?;
        Ok(Response::new(cri::RemoveContainerResponse {}))
    }
    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        let containers = container::list(&self.engine, request.into_inner().filter);
        Ok(Response::new(cri::ListContainersResponse { containers }))
    }
    type StreamContainersStream = Streamed<cri::StreamContainersResponse>;
    async fn stream_containers(
        &self,
        request: Request<cri::StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        let items = container::list(&self.engine, request.into_inner().filter);
        Ok(Response::new(streamed::ready(items, |containers| cri::StreamContainersResponse { containers })))
    }
    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        container::status(&self.engine, request.get_ref()).map(Response::new)
    }
    async fn update_container_resources(
        &self,
        request: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        container::update(&self.engine, request.into_inner()).await?;
        Ok(Response::new(cri::UpdateContainerResourcesResponse {}))
    }
    async fn reopen_container_log(
        &self,
        request: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        container::reopen_log(&self.engine, &request.get_ref().container_id).await?;
        Ok(Response::new(cri::ReopenContainerLogResponse {}))
    }
    async fn exec_sync(&self, request: Request<cri::ExecSyncRequest>) -> Answer<cri::ExecSyncResponse> {
        container::exec_sync(&self.engine, request.into_inner()).await.map(Response::new)
    }
    async fn exec(&self, request: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        self.streaming.exec(request.into_inner()).map(Response::new)
    }
    async fn attach(&self, request: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        self.streaming.attach(request.into_inner()).map(Response::new)
    }
    async fn port_forward(&self, request: Request<cri::PortForwardRequest>) -> Answer<cri::PortForwardResponse> {
        self.streaming.port_forward(request.into_inner()).map(Response::new)
    }
    async fn container_stats(
        &self,
        request: Request<cri::ContainerStatsRequest>,
    ) -> Answer<cri::ContainerStatsResponse> {
        let stats = container::stats(&self.engine, &request.get_ref().container_id).await?;
        Ok(Response::new(cri::ContainerStatsResponse { stats: Some(stats) }))
    }
    async fn list_container_stats(
        &self,
        request: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        let stats = container::list_stats(&self.engine, request.into_inner().filter).collect().await;
        Ok(Response::new(cri::ListContainerStatsResponse { stats }))
    }
    type StreamContainerStatsStream = Streamed<cri::StreamContainerStatsResponse>;
    async fn stream_container_stats(
        &self,
        request: Request<cri::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        let items = container::list_stats(&self.engine, request.into_inner().filter);
        let wrap = |container_stats| cri::StreamContainerStatsResponse { container_stats };
        Ok(Response::new(streamed::list(items, wrap)))
    }
    async fn pod_sandbox_stats(
        &self,
        request: Request<cri::PodSandboxStatsRequest>,
    ) -> Answer<cri::PodSandboxStatsResponse> {
        let stats = sandbox::stats(&self.engine, &request.get_ref().pod_sandbox_id).await?;
        Ok(Response::new(cri::PodSandboxStatsResponse { stats: Some(stats) }))
    }
    async fn list_pod_sandbox_stats(
        &self,
        request: Request<cri::ListPodSandboxStatsRequest>,
    ) -> Answer<cri::ListPodSandboxStatsResponse> {
        let stats = sandbox::list_stats(&self.engine, request.into_inner().filter).collect().await;
        Ok(Response::new(cri::ListPodSandboxStatsResponse { stats }))
    }
    type StreamPodSandboxStatsStream = Streamed<cri::StreamPodSandboxStatsResponse>;
    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<cri::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        let items = sandbox::list_stats(&self.engine, request.into_inner().filter);
        let wrap = |pod_sandbox_stats| cri::StreamPodSandboxStatsResponse { pod_sandbox_stats };
        Ok(Response::new(streamed::list(items, wrap)))
    }
    async fn update_runtime_config(
        &self,
        request: Request<cri::UpdateRuntimeConfigRequest>,
    ) -> Answer<cri::UpdateRuntimeConfigResponse> {
        status::update_runtime_config(&self.engine, request.into_inner()).await?;
        Ok(Response::new(cri::UpdateRuntimeConfigResponse {}))
    }
    async fn status(&self, request: Request<cri::StatusRequest>) -> Answer<cri::StatusResponse> {
        Ok(Response::new(status::status(&self.engine, request.into_inner().verbose).await))
    }
    async fn checkpoint_container(
        &self,
        request: Request<cri::CheckpointContainerRequest>,
    ) -> Answer<cri::CheckpointContainerResponse> {
        container::checkpoint(&self.engine, request.get_ref()).await.map(Response::new)
    }
    async fn checkpoint_pod(&self, _: Request<cri::CheckpointPodRequest>) -> Answer<cri::CheckpointPodResponse> {
        not_built("CheckpointPod")
    }
    async fn restore_pod(&self, _: Request<cri::RestorePodRequest>) -> Answer<cri::RestorePodResponse> {
        not_built("RestorePod")
    }
    type GetContainerEventsStream = Streamed<cri::ContainerEventResponse>;
    async fn get_container_events(&self, _: Request<cri::GetEventsRequest>) -> Answer<Self::GetContainerEventsStream> {
        Ok(Response::new(self.events.follow(&self.engine)))
    }
    async fn list_metric_descriptors(
        &self,
        _: Request<cri::ListMetricDescriptorsRequest>,
    ) -> Answer<cri::ListMetricDescriptorsResponse> {
        Ok(Response::new(cri::ListMetricDescriptorsResponse { descriptors: metrics::descriptors() }))
    }
    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<cri::ListPodSandboxMetricsRequest>,
    ) -> Answer<cri::ListPodSandboxMetricsResponse> {
        let pod_metrics = metrics::list(&self.engine).collect().await;
        Ok(Response::new(cri::ListPodSandboxMetricsResponse { pod_metrics }))
    }
    type StreamPodSandboxMetricsStream = Streamed<cri::StreamPodSandboxMetricsResponse>;
    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<cri::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        let wrap = |pod_sandbox_metrics| cri::StreamPodSandboxMetricsResponse { pod_sandbox_metrics };
        Ok(Response::new(streamed::list(metrics::list(&self.engine), wrap)))
    }
    async fn runtime_config(&self, _: Request<cri::RuntimeConfigRequest>) -> Answer<cri::RuntimeConfigResponse> {
        Ok(Response::new(status::runtime_config(&self.engine)))
    }
    async fn update_pod_sandbox_resources(
        &self,
        request: Request<cri::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<cri::UpdatePodSandboxResourcesResponse> {
        sandbox::update(&self.engine, request.into_inner()).await?;
        Ok(Response::new(cri::UpdatePodSandboxResourcesResponse {}))
    }
}

#[tonic::async_trait]
impl cri::image_service_server::ImageService for Service {
    async fn list_images(&self, request: Request<cri::ListImagesRequest>) -> Answer<cri::ListImagesResponse> {
        let images = image::list(&self.engine, request.into_inner().filter)?;
        Ok(Response::new(cri::ListImagesResponse { images }))
    }
    type StreamImagesStream = Streamed<cri::StreamImagesResponse>;
    async fn stream_images(&self, request: Request<cri::StreamImagesRequest>) -> Answer<Self::StreamImagesStream> {
        let items = image::list(&self.engine, request.into_inner().filter)?;
        Ok(Response::new(streamed::ready(items, |images| cri::StreamImagesResponse { images })))
    }
    async fn image_status(&self, request: Request<cri::ImageStatusRequest>) -> Answer<cri::ImageStatusResponse> {
        image::status(&self.engine, request.into_inner()).map(Response::new)
    }
    async fn pull_image(&self, request: Request<cri::PullImageRequest>) -> Answer<cri::PullImageResponse> {
        let image_ref = image::pull(&self.engine, request.into_inner()).await?;
        Ok(Response::new(cri::PullImageResponse { image_ref }))
    }
    async fn remove_image(&self, request: Request<cri::RemoveImageRequest>) -> Answer<cri::RemoveImageResponse> {
        image::remove(&self.engine, request.into_inner()).await?;
        Ok(Response::new(cri::RemoveImageResponse {}))
    }
    async fn image_fs_info(&self, _: Request<cri::ImageFsInfoRequest>) -> Answer<cri::ImageFsInfoResponse> {
        Ok(Response::new(image::fs_info(&self.engine)))
    }
}
