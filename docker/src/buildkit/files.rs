//! A client's directory, received over its session with fsutil's packets.
//!
//! The client walks its directory and tells what is there; what the engine does not have from last time is asked for by
//! number. Both directions are bounded: few packets wait on their way to the disk, and no more files are asked for at
//! once than a client takes.

use std::sync::Arc;
use std::time::Duration;

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_client::FileSyncClient;
use engine::build::{LocalSource, SourceFilter, SourceUpdate};
use engine::{Engine, Error, ErrorKind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use super::packet;
use super::sessions::Session;
use super::status;

const METHOD: &str = "/moby.filesync.v1.FileSync/DiffCopy";
/// Packets that wait on their way to the disk.
const PACKETS_MAX: usize = 32;
/// Requests that wait on their way to the client; more than files that are asked for at once.
const REQUESTS_MAX: usize = 256;
/// Bytes of one packet.
const PACKET_BYTES_MAX: usize = 1 << 20;
/// How long a client may be silent, while it looks through what it leaves out for example.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// Brings what the engine has of the client's directory `name` up to date.
///
/// # Errors
/// What the client says, `InvalidArgument` for what is no directory's list, `DeadlineExceeded` for silence.
pub(super) async fn receive(
    engine: Engine,
    session: &Session,
    name: &str,
    wanted: &SourceFilter,
) -> Result<Arc<LocalSource>, Error> {
    if !session.serves(METHOD) {
        return Err(Error::invalid("no local sources enabled: the client's session serves no files"));
    }
    let (requests, outgoing) = mpsc::channel(REQUESTS_MAX);
    let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
    *request.metadata_mut() = metadata(name, wanted);
    let mut files = FileSyncClient::new(session.channel.clone()).max_decoding_message_size(PACKET_BYTES_MAX);
    let answered = files.diff_copy(request).await.map_err(|error| status::from_client(&error, name))?;
    let mut incoming = answered.into_inner();

    let (packets, waiting) = mpsc::channel(PACKETS_MAX);
    // A few files that were asked for by name are another set than the whole directory.
    let part = if wanted.follow_paths.is_empty() { name.to_owned() } else { format!("{name} (files)") };
    let key = session.shared_key().map(str::to_owned);
    let worker = tokio::task::spawn_blocking(move || {
        let update = engine.open_build_source(key.as_deref(), &part)?;
        write(update, waiting, &requests)
    });
    let forwarded = async {
        loop {
            let silence = || Error::new(ErrorKind::DeadlineExceeded, format!("the client sends nothing of {name:?}"));
            let next = tokio::time::timeout(SILENCE_MAX, incoming.message()).await.map_err(|_| silence())?;
            let Some(packet) = next.map_err(|error| status::from_client(&error, name))? else { return Ok(()) };
            // A worker that is done listens no more.
            if packets.send(packet).await.is_err() {
                return Ok::<_, Error>(());
            }
        }
    };
    let heard = tokio::select! {
        heard = forwarded => heard,
        () = session.gone.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the client's session is over")),
    };
    drop(packets);
    let written = worker.await.map_err(|error| Error::internal("receive a directory").with_source(error))?;
    match (heard, written) {
        (Err(error), Err(_)) => Err(error),
        (_, written) => written,
    }
}

/// Takes packets until the directory is whole.
fn write(
    mut update: SourceUpdate,
    mut packets: mpsc::Receiver<Packet>,
    requests: &mpsc::Sender<Packet>,
) -> Result<Arc<LocalSource>, Error> {
    let done = take(&mut update, &mut packets, requests);
    if let Err(error) = done {
        drop(requests.try_send(packet_of(PacketType::PacketErr, 0, error.to_string().into_bytes())));
        return Err(error);
    }
    update.finish()
}

fn take(
    update: &mut SourceUpdate,
    packets: &mut mpsc::Receiver<Packet>,
    requests: &mpsc::Sender<Packet>,
) -> Result<(), Error> {
    let broken = || Error::new(ErrorKind::Unavailable, "the client stopped sending its directory");
    let (mut is_listed, mut has_all) = (false, false);
    while let Some(packet) = packets.blocking_recv() {
        match PacketType::try_from(packet.r#type).map_err(|_| Error::invalid("the client sends an unknown packet"))? {
            PacketType::PacketStat if is_listed => {
                return Err(Error::invalid("the client's file list goes on after its end"));
            }
            PacketType::PacketStat => match packet.stat {
                Some(stat) => update.entry(self::packet::entry(stat).map_err(Error::invalid)?)?,
                None => is_listed = true,
            },
            PacketType::PacketData => update.data(packet.id, &packet.data)?,
            PacketType::PacketErr => {
                let text = String::from_utf8_lossy(&packet.data);
                return Err(Error::invalid(format!("error from sender: {text}")));
            }
            PacketType::PacketFin if has_all => return Ok(()),
            PacketType::PacketFin | PacketType::PacketReq => return Err(broken()),
        }
        while let Some(number) = update.next_wanted()? {
            requests.try_send(packet_of(PacketType::PacketReq, number, Vec::new())).map_err(|_| broken())?;
        }
        if is_listed && !has_all && update.is_complete() {
            has_all = true;
            requests.try_send(packet_of(PacketType::PacketFin, 0, Vec::new())).map_err(|_| broken())?;
        }
    }
    // Some clients end the call instead of saying so.
    if has_all { Ok(()) } else { Err(broken()) }
}

pub(super) fn packet_of(kind: PacketType, id: u32, data: Vec<u8>) -> Packet {
    Packet { r#type: kind.into(), stat: None, id, data }
}

/// What is asked for, in the call's metadata. Values that are not plain text are escaped, and marked so.
fn metadata(name: &str, wanted: &SourceFilter) -> MetadataMap {
    let mut map = MetadataMap::new();
    let mut put = |key: &'static str, marker: &'static str, values: &[String]| {
        let is_plain = values.iter().all(|value| value.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        for value in values {
            let text = if is_plain { value.clone() } else { escaped(value) };
            if let Ok(value) = text.parse::<MetadataValue<Ascii>>() {
                map.append(key, value);
            }
        }
        if !is_plain {
            map.append(marker, MetadataValue::from_static("1"));
        }
    };
    put("dir-name", "dir-name-encoded", &[name.to_owned()]);
    put("exclude-patterns", "exclude-patterns-encoded", &wanted.exclude);
    put("followpaths", "followpaths-encoded", &wanted.follow_paths);
    map
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
