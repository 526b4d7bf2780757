//! `gantry system dial-stdio`: standard input and output as a connection to the daemon, for clients that come over ssh.

use std::io::Read;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::cli::Command;
use crate::context::Context;
use crate::error::Result;
use crate::flags::Matches;
use crate::streams::{Channel, Output};

/// Bytes carried at once, and pieces that wait.
const CHUNK_BYTES: usize = 32 << 10;
const CHUNKS_MAX: usize = 16;

pub(crate) static COMMAND: Command = Command {
    about: "Proxy the stdio stream to the daemon connection. Should not be invoked manually.",
    usage: "",
    arguments: (0, 0),
    flags: &[],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, _: &Matches) -> Result<()> {
    let (mut from_daemon, mut to_daemon) = tokio::io::split(context.client.dial().await?);
    let mut typed = read_stdin();
    let carry_in = async {
        while let Some(chunk) = typed.recv().await {
            if to_daemon.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // The client is done sending; the daemon's answer goes on.
        let _ = to_daemon.shutdown().await;
    };
    let carry_out = async {
        let mut output = Output::new(true, false);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match from_daemon.read(&mut chunk).await? {
                0 => return output.finish().await,
                length => output.write(Channel::Stdout, Bytes::copy_from_slice(&chunk[..length])).await?,
            }
        }
    };
    tokio::pin!(carry_in, carry_out);
    tokio::select! {
        () = &mut carry_in => carry_out.await,
        done = &mut carry_out => done,
    }
}

/// Standard input, read on a thread of its own: it may block.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (queue, chunks) = mpsc::channel(CHUNKS_MAX);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(length @ 1..) = stdin.read(&mut chunk) {
            if queue.blocking_send(chunk[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    chunks
}
