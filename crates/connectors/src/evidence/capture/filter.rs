//! A filter of packets that the kernel runs (socket filters of classic BPF): what has one address in it.
//!
//! Packets begin with their network header, on links of every kind: the socket is one of `SOCK_DGRAM`.

use std::net::IpAddr;

use socket2::SockFilter;

// Instructions, as in `linux/bpf_common.h`.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Where the kernel keeps the protocol of a packet (`SKF_AD_OFF + SKF_AD_PROTOCOL`).
const PROTOCOL_AT: u32 = 0xffff_f000;

const PROTOCOL_V4: u32 = 0x0800;
const PROTOCOL_V6: u32 = 0x86dd;
const PROTOCOL_ARP: u32 = 0x0806;

/// Bytes of each packet that are kept.
pub(super) const SNAPSHOT_BYTES: u32 = 0xffff;

/// A filter that lets nothing through.
pub(super) fn nothing() -> Vec<SockFilter> {
    vec![SockFilter::new(RETURN, 0, 0, 0)]
}

/// What has `address` as its source or destination. For IPv4 that is ARP from it and about it too, for IPv6 the
/// solicitations and advertisements of neighbours about it.
pub(super) fn of(address: IpAddr) -> Vec<SockFilter> {
    let mut program = Program::default();
    match address {
        IpAddr::V4(ip) => {
            let ip = u32::from(ip);
            program.load(LOAD_HALF, PROTOCOL_AT);
            program.case(PROTOCOL_V4, |it| [12, 16].iter().for_each(|at| it.keep_if(*at, &[ip])));
            // Of Ethernet and IPv4: from whom, and about whom.
            program.case(PROTOCOL_ARP, |it| [14, 24].iter().for_each(|at| it.keep_if(*at, &[ip])));
        }
        IpAddr::V6(ip) => {
            let octets = ip.octets();
            let words: Vec<u32> = octets
                .chunks_exact(4)
                .map(|it| u32::from_be_bytes([it[0], it[1], it[2], it[3]]))
                .collect();
            program.load(LOAD_HALF, PROTOCOL_AT);
            program.case(PROTOCOL_V6, |it| {
                [8, 24].iter().for_each(|at| it.keep_if(*at, &words));
                // ICMPv6 that solicits a neighbour (135) or advertises one (136).
                it.load(LOAD_BYTE, 6);
                it.case(58, |it| {
                    it.load(LOAD_BYTE, 40);
                    it.case(135, |it| it.keep_if(48, &words));
                    it.case(136, |it| it.keep_if(48, &words));
                });
            });
        }
    }
    program.drop();
    program.instructions
}

/// Instructions; jumps lead forward only, and at most 255 of them far.
#[derive(Default)]
struct Program {
    instructions: Vec<SockFilter>,
}

impl Program {
    fn load(&mut self, size: u16, at: u32) {
        self.instructions.push(SockFilter::new(size, 0, 0, at));
    }

    fn keep(&mut self) {
        self.instructions.push(SockFilter::new(RETURN, 0, 0, SNAPSHOT_BYTES));
    }

    fn drop(&mut self) {
        self.instructions.push(SockFilter::new(RETURN, 0, 0, 0));
    }

    /// Runs `body`, and drops what it does not keep, when what was loaded last is `value`. Otherwise that is still
    /// loaded.
    fn case(&mut self, value: u32, body: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        body(&mut inner);
        inner.drop();
        // A body of more instructions than a jump can pass is one of our own making; there is none.
        let length = u8::try_from(inner.instructions.len()).unwrap_or(u8::MAX);
        self.instructions.push(SockFilter::new(JUMP_IF_EQUAL, 0, length, value));
        self.instructions.append(&mut inner.instructions);
    }

    /// Keeps the packet when these words are in it at `at`.
    fn keep_if(&mut self, at: u32, words: &[u32]) {
        let mut rest = u8::try_from(2 * words.len()).unwrap_or(u8::MAX);
        for (word, at) in words.iter().zip((at..).step_by(4)) {
            self.load(LOAD_WORD, at);
            rest -= 1;
            // Past the words that are left, and past what keeps it.
            self.instructions.push(SockFilter::new(JUMP_IF_EQUAL, 0, rest, *word));
            rest = rest.saturating_sub(1);
        }
        self.keep();
    }
}
