//! Files of a result, sent to the client: as one tar, or one by one with fsutil's packets.

use std::collections::HashSet;
use std::io::Read as _;
use std::time::Duration;

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::packet::file_send_client::FileSendClient as PacketClient;
use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::file_send_client::FileSendClient;
use engine::Error;
use engine::build::{BuiltFiles, SourceKind};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::SyncIoBridge;

use super::files::packet_of;
use super::packet::go_mode;
use super::sessions::Session;
use super::status;

/// Bytes of one message.
const MESSAGE_BYTES: usize = 32 << 10;
/// Messages that wait for the client.
const MESSAGES_MAX: usize = 16;
/// How long a client may take to ask for a file, or to take a message.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Sends the files.
///
/// # Errors
/// What the client says; `InvalidArgument` when it takes none.
pub(super) async fn send(session: &Session, files: BuiltFiles, as_tar: bool) -> Result<(), Error> {
    if !session.serves("/moby.filesync.v1.FileSend/DiffCopy") {
        return Err(Error::invalid("the client's session takes no files"));
    }
    let sent = async { if as_tar { tar(session, files).await } else { tree(session, files).await } };
    tokio::select! {
        sent = sent => sent,
        () = session.gone.cancelled() => Err(Error::new(engine::ErrorKind::Cancelled, "the client's session is over")),
    }
}

async fn tar(session: &Session, files: BuiltFiles) -> Result<(), Error> {
    let (messages, outgoing) = mpsc::channel(MESSAGES_MAX);
    let mut client = FileSendClient::new(session.channel.clone());
    let read = async move {
        let mut reader = files.0;
        loop {
            let mut data = vec![0; MESSAGE_BYTES];
            let count = reader.read(&mut data).await?;
            data.truncate(count);
            // The end of the messages is the end of the tar.
            if count == 0 || messages.send(BytesMessage { data }).await.is_err() {
                return Ok::<_, Error>(());
            }
        }
    };
    let refused = |error: tonic::Status| status::from_client(&error, "the output");
    let call = async {
        let mut answers = client.diff_copy(ReceiverStream::new(outgoing)).await.map_err(refused)?.into_inner();
        while answers.message().await.map_err(refused)?.is_some() {}
        Ok(())
    };
    let (read, called) = tokio::join!(read, call);
    called.and(read)
}

async fn tree(session: &Session, files: BuiltFiles) -> Result<(), Error> {
    let (packets, outgoing) = mpsc::channel(MESSAGES_MAX);
    let (asked, requests) = mpsc::channel(MESSAGES_MAX);
    let worker = tokio::task::spawn_blocking(move || {
        let mut sender = Sender { packets, requests, numbers: HashSet::new() };
        sender.all(SyncIoBridge::new(files.0))
    });
    let mut client = PacketClient::new(session.channel.clone());
    let refused = |error: tonic::Status| status::from_client(&error, "the output");
    let call = async {
        let mut answers = client.diff_copy(ReceiverStream::new(outgoing)).await.map_err(refused)?.into_inner();
        loop {
            let silence = |_| Error::new(engine::ErrorKind::DeadlineExceeded, "the client takes no files");
            let next = tokio::time::timeout(SILENCE_MAX, answers.message()).await.map_err(silence)?;
            let Some(packet) = next.map_err(refused)? else { return Ok(()) };
            if asked.send(packet).await.is_err() {
                return Ok(());
            }
        }
    };
    let called: Result<(), Error> = call.await;
    drop(asked);
    let sent = worker.await.map_err(|error| Error::internal("send files").with_source(error))?;
    called.and(sent)
}

/// Walks a tar in its order, which is the one that clients want: a directory, what is in it by name, the next.
struct Sender {
    packets: mpsc::Sender<Packet>,
    requests: mpsc::Receiver<Packet>,
    /// Empty files that were not asked for yet; clients need not ask for them.
    numbers: HashSet<u32>,
}

impl Sender {
    fn all(&mut self, tar: impl std::io::Read) -> Result<(), Error> {
        let mut archive = ::tar::Archive::new(tar);
        let mut number = 0;
        for entry in archive.entries()? {
            let mut entry = entry?;
            let Some((stat, has_bytes)) = stat(&entry)? else { continue };
            let is_empty_file =
                !has_bytes && stat.mode == go_mode(SourceKind::File, stat.mode) && stat.linkname.is_empty();
            self.packets
                .blocking_send(Packet { r#type: PacketType::PacketStat.into(), stat: Some(stat), ..Packet::default() })
                .map_err(|_| gone())?;
            if has_bytes {
                self.await_request(number)?;
                self.content(number, &mut entry)?;
            } else if is_empty_file {
                self.numbers.insert(number);
            }
            number += 1;
        }
        self.packets.blocking_send(packet_of(PacketType::PacketStat, 0, Vec::new())).map_err(|_| gone())?;
        self.answer_rest()
    }

    /// Waits until the client asks for a file; answers for empty ones that it asks for meanwhile.
    fn await_request(&mut self, wanted: u32) -> Result<(), Error> {
        loop {
            let packet = self.requests.blocking_recv().ok_or_else(gone)?;
            match PacketType::try_from(packet.r#type) {
                Ok(PacketType::PacketReq) if packet.id == wanted => return Ok(()),
                Ok(PacketType::PacketReq) => self.end_of_empty(packet.id)?,
                Ok(PacketType::PacketErr) => return Err(told(&packet)),
                _ => return Err(Error::invalid("the client sends an unexpected packet")),
            }
        }
    }

    fn end_of_empty(&mut self, number: u32) -> Result<(), Error> {
        if !self.numbers.remove(&number) {
            return Err(Error::invalid(format!("the client asks for {number}, which is no file of the output")));
        }
        self.packets.blocking_send(packet_of(PacketType::PacketData, number, Vec::new())).map_err(|_| gone())
    }

    fn content(&mut self, number: u32, entry: &mut impl std::io::Read) -> Result<(), Error> {
        loop {
            let mut data = Vec::with_capacity(MESSAGE_BYTES);
            entry.by_ref().take(MESSAGE_BYTES as u64).read_to_end(&mut data)?;
            let is_end = data.is_empty();
            // An empty packet ends the file.
            self.packets.blocking_send(packet_of(PacketType::PacketData, number, data)).map_err(|_| gone())?;
            if is_end {
                return Ok(());
            }
        }
    }

    /// Until the client says that it has all.
    fn answer_rest(&mut self) -> Result<(), Error> {
        while let Some(packet) = self.requests.blocking_recv() {
            match PacketType::try_from(packet.r#type) {
                Ok(PacketType::PacketReq) => self.end_of_empty(packet.id)?,
                Ok(PacketType::PacketErr) => return Err(told(&packet)),
                Ok(PacketType::PacketFin) => {
                    return self
                        .packets
                        .blocking_send(packet_of(PacketType::PacketFin, 0, Vec::new()))
                        .map_err(|_| gone());
                }
                _ => return Err(Error::invalid("the client sends an unexpected packet")),
            }
        }
        Err(gone())
    }
}

fn gone() -> Error {
    Error::new(engine::ErrorKind::Cancelled, "the client takes no more of the output")
}

fn told(packet: &Packet) -> Error {
    Error::invalid(format!("error from receiver: {}", String::from_utf8_lossy(&packet.data)))
}

/// What clients are told of an entry, and whether bytes follow; `None` for the root and for what has no place in a
/// directory of a client (devices).
fn stat<R: std::io::Read>(entry: &::tar::Entry<'_, R>) -> Result<Option<(Stat, bool)>, Error> {
    use ::tar::EntryType;
    let header = entry.header();
    let path = entry.path()?.to_string_lossy().trim_end_matches('/').trim_start_matches("./").to_owned();
    if path.is_empty() || path == "." {
        return Ok(None);
    }
    let kind = match header.entry_type() {
        EntryType::Directory => SourceKind::Directory,
        EntryType::Symlink => SourceKind::Symlink,
        EntryType::Link => SourceKind::HardLink,
        EntryType::Fifo => SourceKind::Fifo,
        EntryType::Regular | EntryType::Continuous => SourceKind::File,
        _ => return Ok(None),
    };
    let link = entry.link_name()?.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default();
    let link = if kind == SourceKind::HardLink { link.trim_start_matches("./").to_owned() } else { link };
    let seconds = i64::try_from(header.mtime()?).unwrap_or(0);
    let stat = Stat {
        path,
        mode: go_mode(kind, header.mode()?),
        uid: u32::try_from(header.uid()?).unwrap_or(0),
        gid: u32::try_from(header.gid()?).unwrap_or(0),
        size: i64::try_from(entry.size()).unwrap_or(i64::MAX),
        mod_time: seconds.saturating_mul(1_000_000_000),
        linkname: link,
        ..Stat::default()
    };
    let has_bytes = kind == SourceKind::File && entry.size() > 0;
    Ok(Some((stat, has_bytes)))
}
