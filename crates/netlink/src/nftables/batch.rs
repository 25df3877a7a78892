//! A batch: several changes that the kernel applies whole or not at all.

use nix::errno::Errno;

use super::Generation;
use crate::message::{Builder, KIND_ACKNOWLEDGEMENT, REQUEST, parse_acknowledgement, parse_messages};
use crate::socket::{Socket, SocketError};

/// `NFNL_MSG_BATCH_BEGIN`
const BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`
const END: u16 = 0x11;
/// `NFNL_BATCH_GENID`
const GENERATION: u16 = 1;
/// `struct nfgenmsg` that names nf_tables as the subsystem of the batch.
const SUBSYSTEM: [u8; 4] = [0, 0, 0, 10];

/// Why a batch did not take effect, or may not have.
#[derive(Debug)]
pub(super) enum BatchError {
    /// The kernel refused; nothing of the batch took effect.
    Refused {
        /// Which of the pushed messages, or `None` for the batch as a whole.
        index: Option<usize>,
        /// The reason.
        refusal: SocketError,
    },
    /// The batch was not sent; nothing happened.
    NotSent(SocketError),
    /// The batch was sent but the answer is lost.
    Unknown(SocketError),
}

impl BatchError {
    pub(super) fn index(&self) -> Option<usize> {
        match self {
            Self::Refused { index, .. } => *index,
            Self::NotSent(_) | Self::Unknown(_) => None,
        }
    }
}

/// A batch under construction.
#[derive(Debug)]
pub(super) struct Batch {
    builder: Builder,
    begin: u32,
    count: u32,
}

impl Batch {
    /// Starts a batch of at most `capacity` messages, conditional on a generation if one is given.
    pub(super) fn new(socket: &mut Socket, at: Option<Generation>, capacity: usize) -> Self {
        let begin = socket.reserve(u32::try_from(capacity).unwrap_or(u32::MAX).saturating_add(2));
        let mut builder = Builder::with_capacity(64 + capacity * 160);
        builder.message(BEGIN, REQUEST, begin, &SUBSYSTEM, |m| {
            if let Some(Generation(at)) = at {
                m.u32_be(GENERATION, at);
            }
        });
        Self {
            builder,
            begin,
            count: 0,
        }
    }

    /// Appends one change to an object of an `inet` table.
    pub(super) fn push(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Builder)) {
        self.count += 1;
        let sequence = self.begin.wrapping_add(self.count);
        self.builder
            .message(kind, REQUEST | flags, sequence, &super::INET, body);
    }

    /// Sends the batch and waits for the verdict of the kernel. An empty batch is a success.
    pub(super) fn commit(mut self, socket: &mut Socket) -> Result<(), BatchError> {
        if self.count == 0 {
            return Ok(());
        }
        // One acknowledgement is asked for, of the last change; the kernel delivers all errors before it.
        self.builder.acknowledge_last();
        let end = self.begin.wrapping_add(self.count + 1);
        self.builder.message(END, REQUEST, end, &SUBSYSTEM, |_| {});
        let bytes = self.builder.finish().map_err(|it| BatchError::NotSent(it.into()))?;
        socket.send(&bytes).map_err(BatchError::NotSent)?;
        Verdict {
            begin: self.begin,
            count: self.count,
            refused: None,
        }
        .receive(socket)
    }
}

/// Collects the answers to a batch.
struct Verdict {
    begin: u32,
    count: u32,
    refused: Option<(Option<usize>, SocketError)>,
}

impl Verdict {
    fn receive(mut self, socket: &mut Socket) -> Result<(), BatchError> {
        let mut overrun = false;
        loop {
            let done = match socket.receive(!overrun) {
                Ok(datagram) => self.take(datagram),
                // The kernel has answered in full when `send` returns, so what is queued is all that is left.
                Err(SocketError::Overrun) => {
                    overrun = true;
                    continue;
                }
                Err(SocketError::Timeout { .. }) if overrun => Ok(true),
                Err(error) => Err(error),
            };
            match (done, self.refused.take()) {
                (Ok(false), refused) => self.refused = refused,
                // One error is enough for the kernel to abort the batch, whatever else was lost.
                (_, Some((index, refusal))) => return Err(BatchError::Refused { index, refusal }),
                (Ok(true), None) if overrun => return Err(BatchError::Unknown(SocketError::Overrun)),
                (Ok(true), None) => return Ok(()),
                (Err(error), None) => return Err(BatchError::Unknown(error)),
            }
        }
    }

    /// Takes one datagram; `true` when it held the last answer.
    fn take(&mut self, datagram: &[u8]) -> Result<bool, SocketError> {
        let mut done = false;
        for message in parse_messages(datagram) {
            let message = message?;
            let place = message.header.sequence.wrapping_sub(self.begin);
            if message.header.kind != KIND_ACKNOWLEDGEMENT || place > self.count {
                continue;
            }
            let answer = SocketError::refused(parse_acknowledgement(message.header.flags, message.payload)?);
            let index = place.checked_sub(1).and_then(|it| usize::try_from(it).ok());
            if let Err(refusal) = answer {
                // The kernel reports errors in the order of the messages; the first explains best. An error of the
                // batch as a whole comes alone, or before an acknowledgement that no longer means anything.
                self.refused.get_or_insert((index, refusal));
                done |= place == 0;
            }
            done |= place == self.count;
        }
        Ok(done)
    }
}

/// Tells whether a refusal says that the ruleset is of another generation.
pub(super) fn is_moved(refusal: &SocketError) -> bool {
    refusal.errno() == Some(Errno::ERESTART)
}
