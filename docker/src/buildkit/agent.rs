//! An SSH agent of the client, as a stream.

use bollard_buildkit_proto::moby::sshforward::v1::ssh_client::SshClient;
use bollard_buildkit_proto::moby::sshforward::v1::{BytesMessage, CheckAgentRequest};
use engine::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::sessions::Session;
use super::status;

/// Bytes that wait in each direction.
const BYTES_WAITING_MAX: usize = 32 << 10;
/// Messages that wait for the client.
const MESSAGES_MAX: usize = 4;

/// Connects to the agent `id` of the client.
///
/// # Errors
/// `NotFound` when the client forwards none of this id.
pub(super) async fn connect(session: &Session, id: &str) -> Result<DuplexStream, Error> {
    if !session.serves("/moby.sshforward.v1.SSH/ForwardAgent") {
        return Err(Error::not_found(format!("the client forwards no ssh agent (wanted: {id:?}; use --ssh)")));
    }
    let mut ssh = SshClient::new(session.channel.clone()).max_decoding_message_size(1 << 20);
    let refused = |error: tonic::Status| status::from_client(&error, &format!("ssh agent {id}"));
    ssh.check_agent(CheckAgentRequest { id: id.to_owned() }).await.map_err(refused)?;

    let (messages, outgoing) = mpsc::channel::<BytesMessage>(MESSAGES_MAX);
    let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
    let value = id.parse().map_err(|_| Error::invalid(format!("ssh id {id:?} is not plain text")))?;
    request.metadata_mut().insert("buildkit.ssh.id", value);
    let (ours, theirs) = tokio::io::duplex(BYTES_WAITING_MAX);
    let (mut reader, mut writer) = tokio::io::split(theirs);
    // What is written first may be what the agent waits for before it answers the call.
    tokio::spawn(async move {
        let mut buffer = vec![0; BYTES_WAITING_MAX];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            if messages.send(BytesMessage { data: buffer[..count].to_vec() }).await.is_err() {
                return;
            }
        }
    });
    let gone = session.gone.clone();
    tokio::spawn(async move {
        let answered = tokio::select! {
            answered = ssh.forward_agent(request) => answered,
            () = gone.cancelled() => return,
        };
        let mut incoming = match answered {
            Ok(answered) => answered.into_inner(),
            Err(error) => return tracing::debug!(%error, "docker door: a client's ssh agent refused"),
        };
        while let Ok(Some(message)) = incoming.message().await {
            if writer.write_all(&message.data).await.is_err() {
                return;
            }
        }
        drop(writer.shutdown().await);
    });
    Ok(ours)
}
