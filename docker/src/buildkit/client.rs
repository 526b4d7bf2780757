//! What a build asks of its client, over the client's session.

use std::sync::Arc;

use async_trait::async_trait;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::GetSecretRequest;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_client::SecretsClient;
use bollard_buildkit_proto::moby::filesync::v1::CredentialsRequest;
use bollard_buildkit_proto::moby::filesync::v1::auth_client::AuthClient;
use engine::build::{AgentStream, BuildClient, LocalSource, Secret, SourceFilter};
use engine::image::RegistryAuth;
use engine::{Engine, Error};
use tokio::sync::OnceCell;

use super::options::LocalNames;
use super::sessions::Session;
use super::{agent, files, status};

/// The most bytes of a secret, as BuildKit has it.
const SECRET_BYTES_MAX: usize = 512_000;

/// A client and the names that it gives to its directories.
#[derive(Debug)]
pub(super) struct SessionClient {
    pub(super) engine: Engine,
    pub(super) session: Arc<Session>,
    pub(super) names: LocalNames,
    /// The address of the main context, and what was fetched from it.
    pub(super) remote: Option<(String, OnceCell<Arc<LocalSource>>)>,
}

#[async_trait]
impl BuildClient for SessionClient {
    async fn source(&self, name: &str, wanted: &SourceFilter) -> Result<Arc<LocalSource>, Error> {
        if let Some((address, fetched)) = self.remote.as_ref().filter(|_| name == "context") {
            return fetched.get_or_try_init(|| self.engine.context_of_url(address)).await.cloned();
        }
        files::receive(self.engine.clone(), &self.session, self.names.of(name), wanted).await
    }

    async fn secret(&self, id: &str) -> Result<Option<Secret>, Error> {
        if !self.session.serves("/moby.buildkit.secrets.v1.Secrets/GetSecret") {
            return Ok(None);
        }
        // Messages hold the value and its frame.
        let mut secrets =
            SecretsClient::new(self.session.channel.clone()).max_decoding_message_size(SECRET_BYTES_MAX + 1024);
        let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
        match secrets.get_secret(request).await {
            Ok(answer) => Ok(Some(Secret(answer.into_inner().data))),
            Err(error) if error.code() == tonic::Code::NotFound => Ok(None),
            Err(error) => Err(status::from_client(&error, &format!("secret {id}"))),
        }
    }

    async fn ssh(&self, id: &str) -> Result<Box<dyn AgentStream>, Error> {
        Ok(Box::new(agent::connect(&self.session, id).await?))
    }

    async fn credentials(&self, registry: &str) -> Result<Option<RegistryAuth>, Error> {
        if !self.session.serves("/moby.filesync.v1.Auth/Credentials") {
            return Ok(None);
        }
        // Clients keep Docker Hub's credentials under the name that its API has.
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let mut auth = AuthClient::new(self.session.channel.clone());
        let answer = match auth.credentials(CredentialsRequest { host: host.to_owned() }).await {
            Ok(answer) => answer.into_inner(),
            Err(error) if error.code() == tonic::Code::Unimplemented => return Ok(None),
            Err(error) => return Err(status::from_client(&error, &format!("credentials of {registry}"))),
        };
        let mut credentials = RegistryAuth { server_address: registry.to_owned(), ..RegistryAuth::default() };
        match (answer.username.is_empty(), answer.secret) {
            (_, secret) if secret.is_empty() => return Ok(None),
            (true, token) => credentials.identity_token = token,
            (false, password) => (credentials.username, credentials.password) = (answer.username, password),
        }
        Ok(Some(credentials))
    }
}
