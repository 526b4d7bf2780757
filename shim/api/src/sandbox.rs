//! The Sandbox service's client.

use std::time::Duration;

use crate::options::{SANDBOX_NAMESPACES_URL, SandboxNamespaces};
use crate::proto::sandbox as wire;
use crate::ttrpc::{Client, Code, Error};

/// The service's name.
pub const SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// State text of a sandbox that runs.
pub const STATE_READY: &str = "SANDBOX_READY";
/// State text of a sandbox that was created but not started, or has stopped.
pub const STATE_NOT_READY: &str = "SANDBOX_NOTREADY";

/// Typed calls to the Sandbox service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SandboxClient {
    client: Client,
    timeout: Duration,
}

impl SandboxClient {
    /// A client whose calls (except [`SandboxClient::wait`]) give up after `timeout`.
    #[must_use]
    pub fn new(client: Client, timeout: Duration) -> Self {
        Self { client, timeout }
    }

    /// Makes the sandbox; `options` is a [`crate::options::SandboxOptions`] as `Any`.
    ///
    /// # Errors
    /// `InvalidArgument`, `AlreadyExists`, or what the kernel refused.
    pub async fn create(&self, request: &wire::CreateSandboxRequest) -> Result<(), Error> {
        let _: wire::CreateSandboxResponse =
            self.client.call(SERVICE, "CreateSandbox", request, Some(self.timeout)).await?;
        Ok(())
    }

    /// Starts it; the answer holds the shim's pid and, from our shim, the namespaces it holds.
    ///
    /// # Errors
    /// `FailedPrecondition` when not created.
    pub async fn start(&self, id: &str) -> Result<(wire::StartSandboxResponse, SandboxNamespaces), Error> {
        let request = wire::StartSandboxRequest { sandbox_id: id.to_owned() };
        let answer: wire::StartSandboxResponse =
            self.client.call(SERVICE, "StartSandbox", &request, Some(self.timeout)).await?;
        let namespaces = match &answer.spec {
            Some(any) if any.type_url == SANDBOX_NAMESPACES_URL => serde_json::from_slice(&any.value)
                .map_err(|e| Error::new(Code::Internal, format!("bad sandbox namespaces: {e}")))?,
            _ => SandboxNamespaces::default(),
        };
        Ok((answer, namespaces))
    }

    /// State, pid and times.
    ///
    /// # Errors
    /// `NotFound` for another id.
    pub async fn status(&self, id: &str, verbose: bool) -> Result<wire::SandboxStatusResponse, Error> {
        let request = wire::SandboxStatusRequest { sandbox_id: id.to_owned(), verbose };
        self.client.call(SERVICE, "SandboxStatus", &request, Some(self.timeout)).await
    }

    /// Operating system and architecture of what runs inside.
    ///
    /// # Errors
    /// `NotFound` for another id.
    pub async fn platform(&self, id: &str) -> Result<wire::PlatformResponse, Error> {
        let request = wire::PlatformRequest { sandbox_id: id.to_owned() };
        self.client.call(SERVICE, "Platform", &request, Some(self.timeout)).await
    }

    /// Stops it: containers are killed, namespaces released. Idempotent.
    ///
    /// # Errors
    /// `DeadlineExceeded` when processes survive `grace_s` seconds.
    pub async fn stop(&self, id: &str, grace_s: u32) -> Result<(), Error> {
        let request = wire::StopSandboxRequest { sandbox_id: id.to_owned(), timeout_secs: grace_s };
        let limit = self.timeout + Duration::from_secs(u64::from(grace_s));
        let _: wire::StopSandboxResponse = self.client.call(SERVICE, "StopSandbox", &request, Some(limit)).await?;
        Ok(())
    }

    /// Waits until it has stopped.
    ///
    /// # Errors
    /// `Unavailable` when the shim is gone.
    pub async fn wait(&self, id: &str) -> Result<wire::WaitSandboxResponse, Error> {
        let request = wire::WaitSandboxRequest { sandbox_id: id.to_owned() };
        self.client.call(SERVICE, "WaitSandbox", &request, None).await
    }

    /// Whether the shim answers.
    ///
    /// # Errors
    /// `Unavailable` or `DeadlineExceeded` when it does not.
    pub async fn ping(&self, id: &str) -> Result<(), Error> {
        let request = wire::PingRequest { sandbox_id: id.to_owned() };
        let _: wire::PingResponse = self.client.call(SERVICE, "PingSandbox", &request, Some(self.timeout)).await?;
        Ok(())
    }

    /// Ends the shim.
    ///
    /// # Errors
    /// `Unavailable` when it is gone already.
    pub async fn shutdown(&self, id: &str) -> Result<(), Error> {
        let request = wire::ShutdownSandboxRequest { sandbox_id: id.to_owned() };
        let _: wire::ShutdownSandboxResponse =
            self.client.call(SERVICE, "ShutdownSandbox", &request, Some(self.timeout)).await?;
        Ok(())
    }
}
