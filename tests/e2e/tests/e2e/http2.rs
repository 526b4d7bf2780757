//! HTTP/2 by hand on the CRI socket: paths that are no method's, and floods of frames (CVE-2026-33186, CVE-2019-9512,
//! -9514, -9515, CVE-2023-44487, CVE-2023-45288).

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use k8s_cri::v1;
use testkit::World;

use crate::client::world_with_busybox;
use crate::cri::with_kubelet;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// What the daemon may have grown by after floods of hundreds of megabytes.
const GROWTH_KIB_MAX: u64 = 64 << 10;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn connect(world: &World) -> UnixStream {
    let mut stream = UnixStream::connect(world.cri_socket()).expect("the CRI socket");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    stream.set_write_timeout(Some(Duration::from_secs(2))).expect("timeout");
    stream.write_all(PREFACE).expect("preface");
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).expect("settings");
    stream
}

/// Headers of a gRPC call, by HPACK's static table and plain literals.
fn call_headers(path: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    let mut block = vec![0x83, 0x86, 0x04];
    block.extend(text(path));
    block.push(0x01);
    block.extend(text("localhost"));
    block.extend([0x0f, 0x10]);
    block.extend(text("application/grpc"));
    block.push(0x00);
    block.extend(text("te"));
    block.extend(text("trailers"));
    block
}

/// Bytes of data that a call of this path is answered with.
fn answer(world: &World, path: &str) -> usize {
    let mut stream = connect(world);
    stream.write_all(&frame(HEADERS, END_HEADERS, 1, &call_headers(path))).expect("headers");
    // An empty message behind gRPC's prefix.
    stream.write_all(&frame(DATA, END_STREAM, 1, &[0; 5])).expect("data");
    let mut data = 0;
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return data;
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).expect("a whole frame");
        let (kind, flags) = (head[3], head[4]);
        if kind == DATA {
            data += length;
        }
        let ended = matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0;
        if ended || matches!(kind, RST_STREAM | GOAWAY) {
            return data;
        }
    }
}

#[test]
fn only_a_methods_own_path_is_served() {
    let world = world_with_busybox();
    assert!(answer(&world, "/runtime.v1.RuntimeService/Version") > 5, "the rig works");
    for wrong in [
        "runtime.v1.RuntimeService/Version",
        "//runtime.v1.RuntimeService/Version",
        "/runtime.v1.RuntimeService//Version",
        "/runtime.v1.RuntimeService/Version/",
        "/runtime.v1.RuntimeService/version",
        "/runtime.v1.RuntimeService/%56ersion",
        "/x/../runtime.v1.RuntimeService/Version",
        "/runtime.v1alpha2.RuntimeService/Version",
        "*",
        "/",
    ] {
        assert_eq!(answer(&world, wrong), 0, "{wrong}");
    }
}

fn resident_kib(world: &World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.daemon().pid())).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Sends until all is sent or the daemon has had enough of it.
fn flood(world: &World, pieces: impl Iterator<Item = Vec<u8>>) {
    let mut stream = connect(world);
    for piece in pieces {
        if stream.write_all(&piece).is_err() {
            return;
        }
    }
}

#[test]
fn floods_of_frames_are_survived() {
    let world = world_with_busybox();
    let answers = || {
        with_kubelet(&world, async |mut kubelet| {
            kubelet.runtime.version(v1::VersionRequest::default()).await?;
            Ok(())
        });
    };
    answers();
    let before = resident_kib(&world);
    let path = "/runtime.v1.RuntimeService/Version";
    let odd = |n: u32| 2 * n + 1;
    flood(&world, (0..200_000).map(|_| frame(PING, 0, 0, &[7; 8])));
    answers();
    flood(&world, (0..200_000).map(|_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])));
    answers();
    // Rapid reset: begun and given up at once.
    flood(
        &world,
        (0..50_000).map(|n| {
            [frame(HEADERS, END_HEADERS, odd(n), &call_headers(path)), frame(RST_STREAM, 0, odd(n), &[0, 0, 0, 8])]
                .concat()
        }),
    );
    answers();
    // Begun and never ended.
    flood(&world, (0..50_000).map(|n| frame(HEADERS, END_HEADERS, odd(n), &call_headers(path))));
    answers();
    // Headers without an end.
    let filler = [&[0x00, 1, b'x', 0x7f, 0x81, 0x7e][..], &[b'y'; 16_000]].concat();
    let begun = std::iter::once(frame(HEADERS, 0, 1, &call_headers(path)));
    flood(&world, begun.chain((0..20_000).map(|_| frame(CONTINUATION, 0, 1, &filler))));
    answers();
    let after = resident_kib(&world);
    assert!(after < before + GROWTH_KIB_MAX, "{before} KiB before, {after} KiB after");
}
