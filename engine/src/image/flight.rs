//! One flight for each blob: whoever needs a layer that somebody is fetching already rides along.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::content::{ContentStore, Ingest, Syncer};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Digest, LayerId};
use crate::metadata::tables::blob::BlobRow;
use crate::metadata::tables::layer::LayerRow;
use crate::metadata::tables::{blob, ingest, layer};
use crate::metadata::{Durability, Store};
use crate::snapshot::{Overlay, Staging};

use super::progress::{LayerProgress, LayerStatus};
use super::registry::Repository;
use super::settings::ImageSettings;
use super::unpack::Unpacker;

/// Pieces of a download that wait to be written.
const PIECES_QUEUED_MAX: usize = 16;
/// Bytes of a local blob read at a time.
const LOCAL_READ_BYTES: usize = 256 << 10;
/// Connections that may break, one after another, without a single byte having come.
const BARREN_ATTEMPTS_MAX: u32 = 4;
const RECONNECT_WAIT: Duration = Duration::from_millis(300);

/// A layer that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct WantedLayer {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) media_type: String,
    pub(crate) diff_id: LayerId,
}

/// What a flight tells its riders.
#[derive(Debug, Clone)]
pub(crate) struct FlightState {
    pub(crate) progress: LayerProgress,
    pub(crate) outcome: Option<Result<()>>,
}

/// The flights under way; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Flights {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    settings: Arc<ImageSettings>,
    content: ContentStore,
    overlay: Overlay,
    syncers: Vec<Syncer>,
    permits: Semaphore,
    flights: Mutex<HashMap<Digest, Flight>>,
}

#[derive(Debug)]
struct Flight {
    diff_id: LayerId,
    state: watch::Receiver<FlightState>,
    cancel: CancellationToken,
    riders: usize,
}

/// A place on a flight. When the last one is given up before the end, the flight ends too.
#[derive(Debug)]
pub(crate) struct Rider {
    flights: Flights,
    digest: Digest,
    pub(crate) state: watch::Receiver<FlightState>,
}

impl Drop for Rider {
    fn drop(&mut self) {
        let mut flights = self.flights.inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get_mut(&self.digest)
            && flight.state.same_channel(&self.state)
        {
            flight.riders -= 1;
            if flight.riders == 0 {
                flight.cancel.cancel();
            }
        }
    }
}

/// What a thread made of the bytes.
struct Landed {
    blob: Option<BlobRow>,
    layer: Option<LayerRow>,
}

impl Flights {
    pub(crate) fn new(
        store: Store,
        settings: Arc<ImageSettings>,
        content: ContentStore,
        overlay: Overlay,
    ) -> Result<Self> {
        let mut syncers = vec![Syncer::open(overlay.root())?];
        let device = |path: &std::path::Path| std::fs::metadata(path).map(|m| std::os::unix::fs::MetadataExt::dev(&m));
        if device(content.root())? != device(overlay.root())? {
            syncers.push(Syncer::open(content.root())?);
        }
        let permits = Semaphore::new(settings.flights_max.max(1));
        let inner = Inner { store, settings, content, overlay, syncers, permits, flights: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Digests being fetched now.
    pub(crate) fn busy(&self) -> HashSet<Digest> {
        self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Whether blob and layer are both here.
    pub(crate) fn landed(&self, wanted: &WantedLayer) -> bool {
        self.inner.content.info(wanted.digest).is_some() && self.inner.overlay.layer(wanted.diff_id).is_some()
    }

    /// Makes sure that the layer comes: joins the flight that fetches it, or begins one from `repository`.
    pub(crate) async fn board(&self, wanted: &WantedLayer, repository: &Arc<Repository>) -> Rider {
        loop {
            let mut other = match self.try_board(wanted, repository) {
                Ok(rider) => return rider,
                Err(other) => other,
            };
            // Ending, or for another diff id: its place is free when it is over.
            while other.changed().await.is_ok() {}
        }
    }

    fn try_board(
        &self,
        wanted: &WantedLayer,
        repository: &Arc<Repository>,
    ) -> Result<Rider, watch::Receiver<FlightState>> {
        let mut flights = self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get_mut(&wanted.digest) {
            if flight.cancel.is_cancelled() || flight.diff_id != wanted.diff_id {
                return Err(flight.state.clone());
            }
            flight.riders += 1;
            return Ok(Rider { flights: self.clone(), digest: wanted.digest, state: flight.state.clone() });
        }
        let progress =
            LayerProgress { digest: wanted.digest, status: LayerStatus::Waiting, current: 0, total: wanted.size };
        let (sender, state) = watch::channel(FlightState { progress, outcome: None });
        let cancel = CancellationToken::new();
        let flight = Flight { diff_id: wanted.diff_id, state: state.clone(), cancel: cancel.clone(), riders: 1 };
        flights.insert(wanted.digest, flight);
        let (this, wanted, repository) = (self.clone(), wanted.clone(), Arc::clone(repository));
        let digest = wanted.digest;
        tokio::spawn(async move {
            let outcome = this.fly(&wanted, &repository, &sender, &cancel).await;
            this.inner.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&wanted.digest);
            sender.send_modify(|state| {
                if outcome.is_ok() {
                    state.progress.status = LayerStatus::PullComplete;
                    state.progress.current = state.progress.total;
                }
                state.outcome = Some(outcome);
            });
        });
        Ok(Rider { flights: self.clone(), digest, state })
    }

    async fn fly(
        &self,
        wanted: &WantedLayer,
        repository: &Repository,
        state: &watch::Sender<FlightState>,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let permit = tokio::select! {
            permit = self.inner.permits.acquire() => permit.map_err(|e| Error::internal("wait for a flight").with_source(e))?,
            () = cancel.cancelled() => return Err(cancelled()),
        };
        if self.landed(wanted) {
            return Ok(());
        }
        let landed = if self.inner.content.info(wanted.digest).is_some() {
            self.unpack_local(wanted, state, cancel).await
        } else {
            self.download(wanted, repository, state, cancel).await
        };
        let landed = landed?;
        self.record(landed).await?;
        drop(permit);
        Ok(())
    }

    /// Everything written so far is on disk when this returns.
    pub(crate) async fn sync(&self) -> Result<()> {
        for syncer in &self.inner.syncers {
            syncer.sync().await?;
        }
        Ok(())
    }

    /// Syncs, then stores the rows, then shows them.
    async fn record(&self, landed: Landed) -> Result<()> {
        self.sync().await?;
        let Landed { blob: blob_row, layer: layer_row } = landed;
        let rows = (blob_row.clone(), layer_row.clone());
        let write = self.inner.store.write(Durability::Crash, move |tx| {
            if let Some(row) = &rows.0 {
                blob::put(tx, row)?;
                ingest::remove(tx, &row.digest.hex())?;
            }
            rows.1.as_ref().map_or(Ok(()), |row| layer::put(tx, row))
        });
        write.await?;
        self.inner.content.publish(blob_row.into_iter().collect());
        if let Some(row) = layer_row {
            self.inner.overlay.publish(row);
        }
        Ok(())
    }

    /// The blob is here (another image brought it, or unpacking was interrupted): only unpack.
    async fn unpack_local(
        &self,
        wanted: &WantedLayer,
        state: &watch::Sender<FlightState>,
        cancel: &CancellationToken,
    ) -> Result<Landed> {
        let mut file = self.inner.content.open_blob(wanted.digest)?;
        state.send_modify(|s| s.progress.status = LayerStatus::Extracting);
        let (overlay, wanted, cancel) = (self.inner.overlay.clone(), wanted.clone(), cancel.clone());
        let bytes_max = self.inner.settings.layer_unpacked_bytes_max;
        let work = move || {
            let staging = overlay.stage()?;
            let mut unpacker = Unpacker::start(&staging.fs(), bytes_max)?;
            let mut buffer = vec![0; LOCAL_READ_BYTES];
            loop {
                let count = file.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                let written = if cancel.is_cancelled() { Err(cancelled()) } else { unpacker.write(&buffer[..count]) };
                if let Err(error) = written {
                    return Err(unpacker.fail(error));
                }
            }
            let layer = place(&overlay, unpacker, staging, &wanted)?;
            Ok(Landed { blob: None, layer: Some(layer) })
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("unpack a layer").with_source(e))?
    }

    /// From the registry to the disk. A damaged beginning that an earlier attempt left is thrown away once.
    async fn download(
        &self,
        wanted: &WantedLayer,
        repository: &Repository,
        state: &watch::Sender<FlightState>,
        cancel: &CancellationToken,
    ) -> Result<Landed> {
        let mut resumed = false;
        let first = self.download_once(wanted, repository, state, cancel, &mut resumed).await;
        let result = match first {
            Err(error) if resumed && error.kind() == ErrorKind::InvalidArgument => {
                tracing::warn!(digest = %wanted.digest, %error, "a resumed download was damaged; beginning again");
                self.inner.content.abandon(wanted.digest).await?;
                self.download_once(wanted, repository, state, cancel, &mut resumed).await
            }
            other => other,
        };
        if let Err(error) = &result
            && !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Cancelled | ErrorKind::DeadlineExceeded)
        {
            // What cannot become good by trying again, or fills the disk, is not kept.
            self.inner.content.abandon(wanted.digest).await?;
        }
        result
    }

    async fn download_once(
        &self,
        wanted: &WantedLayer,
        repository: &Repository,
        state: &watch::Sender<FlightState>,
        cancel: &CancellationToken,
        resumed: &mut bool,
    ) -> Result<Landed> {
        let ingest = Ingest::open(&self.inner.content, wanted.digest, wanted.size, &wanted.media_type).await?;
        let offset = ingest.offset();
        *resumed = offset > 0;
        let (pieces, queue) = mpsc::channel(PIECES_QUEUED_MAX);
        let overlay = self.inner.overlay.clone();
        let bytes_max = self.inner.settings.layer_unpacked_bytes_max;
        let (thread_wanted, thread_state) = (wanted.clone(), state.clone());
        let writer = tokio::task::spawn_blocking(move || {
            land(&overlay, ingest, queue, &thread_wanted, bytes_max, &thread_state)
        });
        let fed = tokio::select! {
            fed = self.feed(wanted, repository, offset, state, &pieces) => fed,
            () = cancel.cancelled() => Err(cancelled()),
        };
        if fed.is_ok() {
            drop(pieces.send(Piece::End).await);
        }
        drop(pieces);
        let landed = writer.await.map_err(|e| Error::internal("write a layer").with_source(e))?;
        match (fed, landed) {
            (_, Ok(landed)) => Ok(landed),
            // The thread's own trouble comes first; if it only lacked bytes, the network's reason is the reason.
            (Err(error), Err(thread)) if thread.kind() == ErrorKind::Cancelled => Err(error),
            (_, Err(thread)) => Err(thread),
        }
    }

    /// Bytes from the registry into the queue, connecting again where the connection breaks.
    async fn feed(
        &self,
        wanted: &WantedLayer,
        repository: &Repository,
        mut offset: u64,
        state: &watch::Sender<FlightState>,
        pieces: &mpsc::Sender<Piece>,
    ) -> Result<()> {
        let mut barren = 0;
        let context = |e: Error| e.context(format!("blob {}", wanted.digest));
        while offset < wanted.size {
            let before = offset;
            let mut answer = repository.blob(wanted.digest, offset).await?;
            let mut skip = offset - answer.start;
            state.send_modify(|s| s.progress.status = LayerStatus::Downloading);
            let broken = loop {
                match answer.next().await {
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                    Ok(Some(mut piece)) => {
                        let passed = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
                        drop(piece.split_to(passed));
                        skip -= passed as u64;
                        if piece.is_empty() {
                            continue;
                        }
                        offset += piece.len() as u64;
                        if offset > wanted.size {
                            let text = format!("the registry sends more than its {} bytes", wanted.size);
                            return Err(context(Error::invalid(text)));
                        }
                        if pieces.send(Piece::Data(piece)).await.is_err() {
                            return Err(cancelled());
                        }
                        state.send_modify(|s| s.progress.current = offset);
                    }
                }
            };
            if offset == wanted.size {
                break;
            }
            barren = if offset > before { 0 } else { barren + 1 };
            if barren >= BARREN_ATTEMPTS_MAX {
                let short = || {
                    let text = format!("the registry sent {offset} of {} bytes", wanted.size);
                    Error::new(ErrorKind::Unavailable, text)
                };
                return Err(context(broken.unwrap_or_else(short)));
            }
            tokio::time::sleep(RECONNECT_WAIT * (barren + 1)).await;
        }
        Ok(())
    }
}

/// What the network gives to the thread that writes.
enum Piece {
    Data(Bytes),
    End,
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the pull was cancelled")
}

/// The writing side, on a thread of its own: file, hash, inflate; then compare both digests and put both in place.
fn land(
    overlay: &Overlay,
    mut ingest: Ingest,
    mut queue: mpsc::Receiver<Piece>,
    wanted: &WantedLayer,
    bytes_max: u64,
    state: &watch::Sender<FlightState>,
) -> Result<Landed> {
    let mut unpacking = match overlay.layer(wanted.diff_id) {
        Some(_) => None,
        None => {
            let staging = overlay.stage()?;
            let unpacker = Unpacker::start(&staging.fs(), bytes_max)?;
            Some(Ok((unpacker, staging)))
        }
    };
    loop {
        let old = ingest.reread()?;
        if old.is_empty() {
            break;
        }
        unpack_piece(&mut unpacking, &old)?;
    }
    loop {
        match queue.blocking_recv() {
            Some(Piece::Data(piece)) => {
                ingest.write(&piece)?;
                unpack_piece(&mut unpacking, &piece)?;
            }
            Some(Piece::End) => break,
            None => return Err(cancelled()),
        }
    }
    state.send_modify(|s| s.progress.status = LayerStatus::VerifyingChecksum);
    ingest.verify()?;
    state.send_modify(|s| s.progress.status = LayerStatus::Extracting);
    let layer = match unpacking {
        None => None,
        Some(Ok((unpacker, staging))) => Some(place(overlay, unpacker, staging, wanted)?),
        Some(Err(error)) => return Err(error),
    };
    ingest.place()?;
    Ok(Landed { blob: Some(ingest.row()), layer })
}

/// Bytes that cannot be unpacked are kept in mind and not acted on at once: if they are not the right bytes at all, the
/// digest will say so, and that is the better message. A full disk ends it at once.
fn unpack_piece(unpacking: &mut Option<Result<(Unpacker, Staging)>>, piece: &[u8]) -> Result<()> {
    let Some(Ok((unpacker, _))) = unpacking else { return Ok(()) };
    let Err(error) = unpacker.write(piece) else { return Ok(()) };
    if let Some(Ok((unpacker, _staging))) = unpacking.take() {
        let error = unpacker.fail(error);
        if error.kind() == ErrorKind::ResourceExhausted {
            return Err(error);
        }
        *unpacking = Some(Err(error));
    }
    Ok(())
}

/// Ends unpacking and compares the diff id before the layer gets its place.
pub(crate) fn place(overlay: &Overlay, unpacker: Unpacker, staging: Staging, wanted: &WantedLayer) -> Result<LayerRow> {
    let (diff_id, applied) = unpacker.finish().map_err(|e| e.context(format!("layer {}", wanted.digest)))?;
    if diff_id != wanted.diff_id {
        return Err(Error::invalid(format!(
            "layer {}: wrong diff id: the configuration says {}, the layer is {diff_id}",
            wanted.digest, wanted.diff_id
        )));
    }
    overlay.place(staging, diff_id, wanted.digest, applied)
}
