//! Token buckets: what leaves by a link is held to a rate.

use std::io;

use super::message::Message;
use super::socket::{CREATE, REPLACE, Socket};

const RTM_NEWQDISC: u16 = 36;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TC_H_ROOT: u32 = 0xffff_ffff;
/// `1:`, so that it is replaced by the next one.
const HANDLE: u32 = 1 << 16;
const TC_LINKLAYER_ETHERNET: u8 = 1;
/// Length of `tcmsg`.
const TCMSG_LEN: usize = 20;
/// Length of `tc_tbf_qopt`: two `tc_ratespec`s of 12 bytes, limit, buffer, mtu.
const TBF_PARMS_LEN: usize = 36;
/// Of a second: how long a packet may wait before it is dropped.
const WAIT_PART: u64 = 40;

/// A rate, and what may pass at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes a second.
    pub rate_bytes: u64,
    /// Bytes that may pass at once.
    pub burst_bytes: u32,
}

/// Puts a token bucket (tc-tbf(8)) at the root of what leaves by link `index`, in place of one that is there.
///
/// # Errors
/// `ENOENT` where the kernel has none.
pub fn set_shape(socket: &mut Socket, index: u32, shape: Shape) -> io::Result<()> {
    let mut header = [0_u8; TCMSG_LEN];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&HANDLE.to_ne_bytes());
    header[12..16].copy_from_slice(&TC_H_ROOT.to_ne_bytes());
    let waiting = shape.rate_bytes / WAIT_PART + u64::from(shape.burst_bytes);
    let mut parameters = [0_u8; TBF_PARMS_LEN];
    parameters[1] = TC_LINKLAYER_ETHERNET;
    // A rate beyond 32 bits is in an attribute of its own, and this one is full then.
    let rate = u32::try_from(shape.rate_bytes).unwrap_or(u32::MAX);
    parameters[8..12].copy_from_slice(&rate.to_ne_bytes());
    parameters[24..28].copy_from_slice(&u32::try_from(waiting).unwrap_or(u32::MAX).to_ne_bytes());
    let mut message = Message::new(RTM_NEWQDISC, CREATE | REPLACE, &header);
    message.text(TCA_KIND, "tbf").nest(TCA_OPTIONS, |options| {
        options.attr(TCA_TBF_PARMS, &parameters).u32_ne(TCA_TBF_BURST, shape.burst_bytes);
        if rate == u32::MAX {
            options.attr(TCA_TBF_RATE64, &shape.rate_bytes.to_ne_bytes());
        }
    });
    socket.request(&message)
}
