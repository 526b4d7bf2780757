//! Attach: to a process that runs, or to one that is still to come.

use std::sync::PoisonError;

use tokio::sync::mpsc;

use crate::container::handle::PendingAttach;
use crate::container::{AttachOptions, AttachedIo, ContainerHandle, LogOptions, Phase, Stream};
use crate::error::{Error, Result};
use crate::task::{AttachWish, ProcessRef, attached_pair};

/// Pieces of replayed and live output that wait for a slow client.
const OUTPUT_PIECES_MAX: usize = 16;

/// Connects a client to the first process.
pub(crate) async fn attach(container: &ContainerHandle, options: AttachOptions) -> Result<AttachedIo> {
    let view = container.view();
    match view.phase {
        Phase::Paused => {
            return Err(Error::conflict(format!(
                "container {} is paused, unpause the container before attach",
                view.id
            )));
        }
        Phase::Removing | Phase::Dead => {
            return Err(Error::conflict(format!("container {} is being removed", view.id)));
        }
        _ => {}
    }
    let tty = view.spec.process.tty;
    let live = if options.stream { Some(connect(container, &options, tty).await?) } else { None };
    if !options.logs {
        return Ok(live.unwrap_or_else(|| AttachedIo { tty, output: mpsc::channel(1).1, stdin: None }));
    }
    let wanted = LogOptions { stdout: options.stdout, stderr: options.stderr, ..Default::default() };
    let mut logged = container.logs(wanted).await?;
    let (sender, output) = mpsc::channel(OUTPUT_PIECES_MAX);
    let (stdin, live) = live.map_or((None, None), |io| (io.stdin, Some(io.output)));
    tokio::spawn(async move {
        while let Some(Ok(line)) = logged.recv().await {
            if sender.send((line.stream, line.data)).await.is_err() {
                return;
            }
        }
        if let Some(live) = live {
            carry(live, sender).await;
        }
    });
    Ok(AttachedIo { tty, output, stdin })
}

async fn carry(mut live: mpsc::Receiver<(Stream, bytes::Bytes)>, sender: mpsc::Sender<(Stream, bytes::Bytes)>) {
    loop {
        let piece = tokio::select! {
            piece = live.recv() => piece,
            () = sender.closed() => return,
        };
        let Some(piece) = piece else { return };
        if sender.send(piece).await.is_err() {
            return;
        }
    }
}

async fn connect(container: &ContainerHandle, options: &AttachOptions, tty: bool) -> Result<AttachedIo> {
    let cell = &container.cell;
    let stdin = options.stdin && container.view().spec.process.open_stdin;
    let wish = AttachWish { stdin, stdout: options.stdout, stderr: options.stderr && !tty };
    let (io, ends) = attached_pair(tty, stdin);
    let running = {
        // The driver sets the shim first and takes the waiting ones after: none is left behind.
        let mut pending = cell.pending.lock().unwrap_or_else(PoisonError::into_inner);
        match cell.shim() {
            Ok(shim) => Some((shim, ends)),
            Err(_) => {
                pending.retain(|waiting| !waiting.ends.output.is_closed());
                pending.push(PendingAttach { wish, ends });
                None
            }
        }
    };
    if let Some((shim, ends)) = running {
        shim.attach(&ProcessRef::first(&cell.id), wish, ends).await?;
    }
    container.event("attach", &[]).await;
    Ok(io)
}
