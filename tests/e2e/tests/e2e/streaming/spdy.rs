//! A SPDY/3.1 client, written from the draft and on its own: nothing of the server's is used.

use std::io::{Read, Write};
use std::net::TcpStream;

use flate2::{Compress, Compression, FlushCompress};

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FIN: u8 = 1;

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    Reply(u32),
    Data {
        stream: u32,
        fin: bool,
        data: Vec<u8>,
    },
    Reset {
        stream: u32,
        status: u32,
    },
    Ping(u32),
    GoAway,
    /// The connection is closed.
    Closed,
}

/// A connection after its handshake; the other way round it may be any stream of bytes.
pub(super) struct Spdy<S> {
    pub(super) connection: S,
    deflate: Compress,
    next: u32,
}

impl<S: Read + Write> Spdy<S> {
    pub(super) fn new(connection: S) -> Self {
        // Without the dictionary, which a client may leave out; the server's own tests have it.
        Self { connection, deflate: Compress::new(Compression::default(), true), next: 1 }
    }

    pub(super) fn control(&mut self, kind: u16, flags: u8, content: &[u8]) {
        let length = u32::try_from(content.len()).expect("length").to_be_bytes();
        let kind = kind.to_be_bytes();
        let mut frame = vec![0x80, 3, kind[0], kind[1], flags, length[1], length[2], length[3]];
        frame.extend(content);
        self.send(&frame);
    }

    /// Sends bytes; a server that has closed is seen when reading.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let _ = self.connection.write_all(bytes);
        let _ = self.connection.flush();
    }

    fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let number = |n: usize| u32::try_from(n).expect("number").to_be_bytes();
        let mut plain = number(headers.len()).to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(number(text.len()));
            plain.extend(text.as_bytes());
        }
        self.deflated(&plain)
    }

    pub(super) fn deflated(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut block = Vec::with_capacity(plain.len() + 1000);
        self.deflate.compress_vec(plain, &mut block, FlushCompress::Sync).expect("deflate");
        block
    }

    /// Sends SYN_STREAM and gives the stream's number.
    pub(super) fn syn(&mut self, headers: &[(&str, &str)]) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.syn_as(stream, headers);
        stream
    }

    pub(super) fn syn_as(&mut self, stream: u32, headers: &[(&str, &str)]) {
        let block = self.block(headers);
        self.control(SYN_STREAM, 0, &[&stream.to_be_bytes()[..], &[0; 6], &block].concat());
    }

    /// Opens a stream and waits for the reply, as the field's clients do. What comes for others meanwhile is kept out
    /// by opening all streams first.
    #[track_caller]
    pub(super) fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let stream = self.syn(headers);
        let answer = self.next();
        assert_eq!(answer, Frame::Reply(stream), "stream {headers:?}");
        stream
    }

    pub(super) fn data(&mut self, stream: u32, fin: bool, data: &[u8]) {
        let length = u32::try_from(data.len()).expect("length").to_be_bytes();
        let mut frame = stream.to_be_bytes().to_vec();
        frame.extend([if fin { FIN } else { 0 }, length[1], length[2], length[3]]);
        frame.extend(data);
        self.send(&frame);
    }

    pub(super) fn ping(&mut self, id: u32) {
        self.control(PING, 0, &id.to_be_bytes());
    }

    pub(super) fn reset(&mut self, stream: u32) {
        const CANCEL: u32 = 5;
        self.control(RST_STREAM, 0, &[stream.to_be_bytes(), CANCEL.to_be_bytes()].concat());
    }

    /// The next frame.
    pub(super) fn next(&mut self) -> Frame {
        let mut head = [0; 8];
        if let Err(error) = self.connection.read_exact(&mut head) {
            let late = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
            assert!(!late.contains(&error.kind()), "the server sent nothing for too long");
            return Frame::Closed;
        }
        let word = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let length = usize::try_from(u32::from_be_bytes([0, head[5], head[6], head[7]])).expect("length");
        let mut content = vec![0; length];
        self.connection.read_exact(&mut content).expect("a whole frame");
        if word >> 31 == 0 {
            return Frame::Data { stream: word, fin: head[4] & FIN != 0, data: content };
        }
        assert_eq!(word >> 16, 0x8003, "a control frame of SPDY/3");
        let number = |at: usize| {
            let bytes: [u8; 4] = content[at..at + 4].try_into().expect("four bytes");
            u32::from_be_bytes(bytes)
        };
        match u16::try_from(word & 0xffff).expect("16 bits") {
            SYN_REPLY => Frame::Reply(number(0)),
            RST_STREAM => Frame::Reset { stream: number(0), status: number(4) },
            PING => Frame::Ping(number(0)),
            GOAWAY => Frame::GoAway,
            other => panic!("a control frame of kind {other}"),
        }
    }

    /// Reads until the connection is closed.
    pub(super) fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| Some(self.next()).filter(|frame| *frame != Frame::Closed)).collect()
    }
}

/// The answer to an upgrade: its status, and its head.
pub(super) fn upgrade(connection: &mut TcpStream, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: node\r\nContent-Length: 0\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    connection.write_all(head.as_bytes()).expect("send the request");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).expect("the answer's head");
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).expect("text");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer)
}
