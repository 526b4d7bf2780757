//! Answers that come line by line: progress, events, statistics.

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::error::{Error, Result};
use crate::output::template::Value;

/// A line may have this many bytes.
const LINE_BYTES_MAX: usize = 16 << 20;

/// The lines of an answer, as they arrive.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Incoming,
    buffer: BytesMut,
    ended: bool,
}

impl Lines {
    pub(crate) fn new(body: Incoming) -> Self {
        Lines { body, buffer: BytesMut::new(), ended: false }
    }

    /// The next line that is not empty, read as JSON.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>> {
        let Some(line) = self.next_line().await? else { return Ok(None) };
        let value = serde_json::from_slice(&line);
        value.map(Some).map_err(|error| Error::message(format!("the daemon's answer is not readable: {error}")))
    }

    async fn next_line(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(at).freeze();
                self.buffer.advance(1);
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line));
                }
                continue;
            }
            if self.ended {
                let rest = self.buffer.split().freeze();
                return Ok((!rest.trim_ascii().is_empty()).then_some(rest));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(Error::message(format!("the daemon sent a line of more than {LINE_BYTES_MAX} bytes")));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(Error::message(format!("reading the daemon's answer: {error}"))),
                None => self.ended = true,
            }
        }
    }
}
