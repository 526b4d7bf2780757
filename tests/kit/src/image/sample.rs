//! The images that the scenarios use: a busybox userland and generated trees.

use std::fs;
use std::path::Path;

use super::layer::Entry;
use super::{Image, Layer};
use crate::command::run;

/// Where Debian's busybox-static is.
pub const BUSYBOX: &str = "/bin/busybox";

/// The applets that get a link.
const APPLETS: &[&str] = &[
    "sh",
    "true",
    "false",
    "cat",
    "echo",
    "sleep",
    "ls",
    "id",
    "env",
    "stat",
    "sha256sum",
    "httpd",
    "wget",
    "nslookup",
    "nc",
    "ip",
    "hostname",
    "mount",
    "umount",
    "touch",
    "mkdir",
    "rm",
    "cp",
    "mv",
    "dd",
    "head",
    "tail",
    "grep",
    "sed",
    "ps",
    "top",
    "kill",
    "date",
    "test",
    "printf",
    "seq",
    "yes",
    "tr",
    "wc",
    "od",
    "readlink",
    "find",
    "mknod",
    "chmod",
    "chown",
    "stty",
    "tty",
    "ping",
    "usleep",
    "trap",
    "nproc",
    "df",
    "du",
    "ln",
    "awk",
    "sort",
    "uname",
    "cut",
];

/// The bytes of busybox, which tests compare with what a container reads.
pub fn busybox_bytes() -> Vec<u8> {
    assert!(Path::new(BUSYBOX).exists(), "{BUSYBOX} is missing: apt-get install busybox-static");
    fs::read(BUSYBOX).expect("read busybox")
}

/// The layer with busybox, its links, and the files that a userland has.
pub fn userland() -> Layer {
    let mut layer = Layer::new();
    for dir in ["bin", "etc", "root", "home", "usr", "usr/bin", "var", "www", "proc", "sys", "dev"] {
        layer = layer.dir(dir);
    }
    layer = layer.entry(&Entry { mode: 0o1777, ..Entry::new(b"tmp", b'5') });
    layer = layer.file_mode("bin/busybox", 0o755, &busybox_bytes());
    for applet in APPLETS {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox");
    }
    layer
        .file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")
        .file("etc/group", b"root:x:0:\nuser:x:1000:\nstaff:x:50:user\n")
        .file("www/index.html", b"hello from a container\n")
}

/// An image with a shell: one layer.
pub fn busybox() -> Image {
    Image::empty().with(userland())
}

/// `count` layers above a shell (the shell counts): each adds a file, every fifth removes an older one.
pub fn layered(count: usize) -> Image {
    let mut image = busybox();
    for n in 1..count {
        let mut layer = Layer::new().dir("layers").file(&format!("layers/{n}"), format!("{n}\n").as_bytes());
        if n % 5 == 0 {
            layer = layer.whiteout(&format!("layers/{}", n - 1));
        }
        image = image.with(layer);
    }
    image
}

/// A name that is not UTF-8.
pub const ODD_NAME: &[u8] = b"odd/caf\xe9-\xff";
/// Size of the sparse file in the sparse scenario: 2 GiB.
pub const SPARSE_BYTES: u64 = 2 << 30;

/// Everything a layer may hold and a careless unpacker gets wrong.
pub fn odd() -> Image {
    let lower = Layer::new()
        .dir("odd")
        .file("odd/removed", b"gone\n")
        .file("odd/original", b"linked\n")
        .hardlink("odd/hardlink", "odd/original")
        .dir("odd/opaque")
        .file("odd/opaque/hidden", b"hidden\n")
        .entry(&Entry { mode: 0o4755, data: b"#!/bin/sh\n", ..Entry::new(b"odd/setuid", b'0') })
        .entry(&Entry { mode: 0o2750, uid: 1000, gid: 50, ..Entry::new(b"odd/setgid-dir", b'5') })
        .entry(&Entry { mode: 0o600, device: (1, 3), ..Entry::new(b"odd/null", b'3') })
        .entry(&Entry { mode: 0o600, ..Entry::new(b"odd/fifo", b'6') })
        .entry(&Entry {
            xattrs: &[("user.colour", b"blue"), ("user.binary", b"a\x00b\n=c")],
            data: b"with attributes\n",
            ..Entry::new(b"odd/xattr", b'0')
        })
        .entry(&Entry { data: b"not UTF-8\n", ..Entry::new(ODD_NAME, b'0') })
        .file(&format!("odd/{}", "long".repeat(50)), b"a long name\n");
    let upper = Layer::new()
        .dir("odd")
        .whiteout("odd/removed")
        .dir("odd/opaque")
        .opaque("odd/opaque")
        .file("odd/opaque/shown", b"shown\n")
        .file("odd/base", b"same inode\n")
        .hardlink("odd/twin", "odd/base");
    busybox().with(lower).with(upper)
}

/// An image of `layers` layers with `bytes` of half-compressible content in all, for timing.
pub fn bulky(layers: usize, bytes: usize) -> Image {
    let mut image = busybox();
    let each = bytes / layers;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for n in 0..layers {
        let mut layer = Layer::new().dir(&format!("bulk/{n}"));
        for file in 0..64 {
            let mut data = Vec::with_capacity(each / 64);
            while data.len() < each / 64 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                data.extend_from_slice(&state.to_le_bytes());
                data.extend_from_slice(b"somewhat");
            }
            layer = layer.file(&format!("bulk/{n}/{file}"), &data);
        }
        image = image.with(layer);
    }
    image
}

/// The sha256 of a file of the host, by the host's own tool.
pub fn sha256_of_file(path: &str) -> String {
    run("sha256sum", [path]).ok().split(' ').next().unwrap_or_default().to_owned()
}
