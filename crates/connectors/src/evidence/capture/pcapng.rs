//! Writes packets in the form of pcapng (draft-ietf-opsawg-pcapng), as much of it as a capture of one machine needs.
//!
//! Each packet has the header that `tcpdump -i any` gives it (`LINKTYPE_LINUX_SLL2`): which interface, in or out, what
//! protocol.

use std::time::Duration;

/// `LINKTYPE_LINUX_SLL2`
const LINK_TYPE: u16 = 276;
/// The length of its header.
const LINK_HEADER_BYTES: u32 = 20;

/// Where a packet was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) protocol: u16,
    pub(super) interface: u32,
    /// The kind of hardware, such as 1 for Ethernet (`ARPHRD_ETHER`).
    pub(super) hardware: u16,
    /// Whether it came in (0 to 3) or went out (4).
    pub(super) direction: u8,
    pub(super) address: Option<[u8; 6]>,
}

/// The beginning: the section, and the one interface that stands for all.
pub(super) fn begin(filter: &str, snapshot_bytes: u32) -> Vec<u8> {
    let mut bytes = block(0x0a0d_0d0a, |it| {
        it.extend(0x1a2b_3c4d_u32.to_le_bytes());
        it.extend(1_u16.to_le_bytes());
        it.extend(0_u16.to_le_bytes());
        it.extend(u64::MAX.to_le_bytes());
        option(it, 4, b"staunch");
        option(it, 0, b"");
    });
    bytes.extend(block(1, |it| {
        it.extend(LINK_TYPE.to_le_bytes());
        it.extend(0_u16.to_le_bytes());
        it.extend((snapshot_bytes + LINK_HEADER_BYTES).to_le_bytes());
        option(it, 2, b"any");
        // Times are in nanoseconds.
        option(it, 9, &[9]);
        option(it, 11, &[b"\0", filter.as_bytes()].concat());
        option(it, 0, b"");
    }));
    bytes
}

/// A packet, of which `data` is what was kept of `length` bytes.
pub(super) fn packet(time: Duration, seen: &Seen, data: &[u8], length: usize) -> Vec<u8> {
    let whole = |bytes: usize| {
        u32::try_from(bytes)
            .unwrap_or(u32::MAX)
            .saturating_add(LINK_HEADER_BYTES)
    };
    block(6, |it| {
        it.extend(0_u32.to_le_bytes());
        it.extend(stamp(time));
        it.extend(whole(data.len()).to_le_bytes());
        it.extend(whole(length.max(data.len())).to_le_bytes());
        it.extend(seen.protocol.to_be_bytes());
        it.extend([0; 2]);
        it.extend(seen.interface.to_be_bytes());
        it.extend(seen.hardware.to_be_bytes());
        it.push(seen.direction);
        it.push(if seen.address.is_some() { 6 } else { 0 });
        it.extend(seen.address.unwrap_or_default());
        it.extend([0; 2]);
        it.extend(data);
        pad(it);
    })
}

/// How many packets there were, and how many of them were lost for want of room.
pub(super) fn statistics(begun: Duration, ended: Duration, received: u64, dropped: u64) -> Vec<u8> {
    block(5, |it| {
        it.extend(0_u32.to_le_bytes());
        it.extend(stamp(ended));
        option(it, 2, &stamp(begun));
        option(it, 3, &stamp(ended));
        option(it, 4, &received.to_le_bytes());
        option(it, 5, &dropped.to_le_bytes());
        option(it, 0, b"");
    })
}

/// A time since 1970 in nanoseconds: the upper half first.
fn stamp(time: Duration) -> [u8; 8] {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let [a, b, c, d, e, f, g, h] = nanos.to_le_bytes();
    [e, f, g, h, a, b, c, d]
}

fn block(kind: u32, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend(kind.to_le_bytes());
    bytes.extend([0; 4]);
    body(&mut bytes);
    // A packet is cut at 64 KiB and a filter has one line.
    let length = u32::try_from(bytes.len() + 4).unwrap_or(u32::MAX).to_le_bytes();
    bytes[4..8].copy_from_slice(&length);
    bytes.extend(length);
    bytes
}

fn option(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    bytes.extend(code.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(&value[..usize::from(length)]);
    pad(bytes);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
