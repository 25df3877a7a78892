//! What can be found wrong with a folder of evidence, in the words of an operator.

use crate::tlog::NotProved;

/// What is not as it was sealed and signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// There is no checkpoint: nothing of the log is proved.
    #[error("the log has no checkpoint: it was removed, and nothing shows what else is missing")]
    CheckpointMissing,
    /// The checkpoint is not of this key: history was signed anew, or the checkpoint was changed.
    #[error("the checkpoint of the log is not proved: {why}")]
    CheckpointNotProved {
        /// Why.
        why: NotProved,
    },
    /// The earlier checkpoint is not of this key, so nothing follows from it.
    #[error("the earlier checkpoint is not proved: {why}")]
    EarlierNotProved {
        /// Why.
        why: NotProved,
    },
    /// The log had more entries at an earlier time.
    #[error("the log was put back: it has {found} entries, and had {earlier} at the earlier checkpoint")]
    RolledBack {
        /// The entries that it had.
        earlier: u64,
        /// The entries that it has.
        found: u64,
    },
    /// The log begins otherwise than it did at an earlier time, with a signature for both.
    #[error("history was signed anew: the first {earlier} entries are not those of the earlier checkpoint")]
    HistoryRewritten {
        /// The entries at the earlier time.
        earlier: u64,
    },
    /// The entries are not those that were signed.
    #[error("history was changed: the {size} entries of the log are not those that its checkpoint was signed over")]
    HistoryChanged {
        /// How many there are.
        size: u64,
    },
    /// A file of the log that the checkpoint stands for is not there.
    #[error("{name} of the log was removed")]
    LogFileMissing {
        /// The file.
        name: String,
    },
    /// A file of the log was changed.
    #[error("{name} of the log was changed")]
    LogFileChanged {
        /// The file.
        name: String,
    },
    /// There are entries beyond the checkpoint.
    #[error(
        "{name} of the log has entries that no checkpoint stands for: the writer was cut off, or an older checkpoint was put there"
    )]
    Unsigned {
        /// The file.
        name: String,
    },
    /// An entry is none that this build knows.
    #[error("entry {} of the log is none that can be read: {what}", .number + 1)]
    EntryUnreadable {
        /// Its index, from 0.
        number: u64,
        /// Why.
        what: String,
    },
    /// A manifest or record that was logged is not there.
    #[error("{name} was removed; entry {} of the log stands for it", .number + 1)]
    Removed {
        /// The file.
        name: String,
        /// The index of the entry, from 0.
        number: u64,
    },
    /// A manifest or record is not the one that was logged.
    #[error("{name} was changed; entry {} of the log has another hash for it", .number + 1)]
    Changed {
        /// The file.
        name: String,
        /// The index of the entry, from 0.
        number: u64,
    },
    /// A manifest or record says what cannot be.
    #[error("{name} is not what it should be: {what}")]
    Wrong {
        /// The file.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// A manifest does not follow on the one before it.
    #[error("{name} does not follow on the manifest before it: one was removed, or others were put in its place")]
    ChainBroken {
        /// The file.
        name: String,
    },
    /// An artefact that a manifest stands for is not there.
    #[error("the artefact {name} was removed; {manifest} stands for it")]
    ArtefactRemoved {
        /// Its file.
        name: String,
        /// The manifest.
        manifest: String,
    },
    /// An artefact is not the one that was stored.
    #[error("the artefact {name} was changed: {what}")]
    ArtefactChanged {
        /// Its file.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// A bucket does not keep an artefact as its receipt says. Nothing is said of its bytes by that.
    #[error("the artefact {name} is not kept as its receipt says: {what}")]
    NotKept {
        /// Its address.
        name: String,
        /// How it is kept.
        what: String,
    },
    /// A manifest or record is in no entry of the log.
    #[error(
        "{name} is not in the log: it was put there, the log was put back, or the writer was cut off before it was logged"
    )]
    Unlogged {
        /// The file.
        name: String,
    },
    /// An artefact is in no manifest.
    #[error(
        "no manifest stands for {name}: the writer was cut off before it was written, or it was removed or put there"
    )]
    Unreferenced {
        /// The file.
        name: String,
    },
    /// A file is none of a vault.
    #[error("{name} is no part of a vault: somebody put it there")]
    Foreign {
        /// The file.
        name: String,
    },
    /// A file cannot be read, so that nothing of it is proved.
    #[error("{name} cannot be read: {what}")]
    Unreadable {
        /// The file.
        name: String,
        /// Why.
        what: String,
    },
    /// The bucket that has an artefact did not answer. Nothing is said of the artefact by that.
    #[error("the artefact {name} was not read, because its bucket did not answer: {what}")]
    Away {
        /// Its address.
        name: String,
        /// Why.
        what: String,
    },
    /// A handling log does not begin as it did when it was logged.
    #[error("{name} was changed: entry {} of the log has another hash for its first {bytes} bytes", .number + 1)]
    HandlingChanged {
        /// The file.
        name: String,
        /// The index of the entry, from 0.
        number: u64,
        /// How many bytes the entry stands for.
        bytes: u64,
    },
    /// A handling log is shorter than it was when it was logged.
    #[error(
        "{name} was cut off or removed: it has {found} bytes, and entry {} of the log stands for {bytes}", .number + 1
    )]
    HandlingCutOff {
        /// The file.
        name: String,
        /// The index of the entry, from 0.
        number: u64,
        /// How many bytes the entry stands for.
        bytes: u64,
        /// How many there are.
        found: u64,
    },
    /// A line of a handling log does not hold the hash of the one before it.
    #[error("{name}: line {line} does not follow on the line before it: that was changed, or lines were taken out")]
    LineOutOfOrder {
        /// The file.
        name: String,
        /// Its number, from 1.
        line: u64,
    },
    /// A line of a handling log is not as it was signed.
    #[error("{name}: line {line} is not as it was signed: {why}")]
    LineNotProved {
        /// The file.
        name: String,
        /// Its number, from 1.
        line: u64,
        /// Why.
        why: NotProved,
    },
    /// Lines of a handling log that the key has not signed.
    #[error("{name}: {} not signed: nobody who has the key has written that", lines(*.first, *.last))]
    LinesUnsigned {
        /// The file.
        name: String,
        /// The number of the first such line, from 1.
        first: u64,
        /// The number of the last one after it, with none between that is signed.
        last: u64,
    },
    /// Something in a handling log is no line of it: a crash leaves half a one, and so does who damages one.
    #[error("{name}: {} none that can be read: {what}", lines(*.first, *.last))]
    LinesUnreadable {
        /// The file.
        name: String,
        /// The number of the first such line, from 1.
        first: u64,
        /// The number of the last one after it, with none between that can be read.
        last: u64,
        /// Why the first cannot be.
        what: String,
    },
    /// Frames of the journal are not in the log, one after the other.
    #[error(
        "entry {} of the log is of frames {first} to {last}, which do not follow on those logged before", .number + 1
    )]
    FramesOutOfOrder {
        /// The index of the entry, from 0.
        number: u64,
        /// The first frame.
        first: u64,
        /// The last frame.
        last: u64,
    },
    /// A frame that was logged is not in the journal.
    #[error("the journal ends before frame {last}, which entry {} of the log stands for", .number + 1)]
    FramesRemoved {
        /// The index of the entry, from 0.
        number: u64,
        /// The last frame.
        last: u64,
    },
    /// A frame is not the one that was logged.
    #[error(
        "the journal was changed at or before frame {last}: entry {} of the log has another chain value", .number + 1
    )]
    FramesChanged {
        /// The index of the entry, from 0.
        number: u64,
        /// The last frame.
        last: u64,
    },
}

fn lines(first: u64, last: u64) -> String {
    if first == last {
        format!("line {first} is")
    } else {
        format!("lines {first} to {last} are")
    }
}

impl Finding {
    /// True when nobody answered who could say anything: it proves nothing either way.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// True for what anybody may have put there, and takes nothing from what is proved.
    #[must_use]
    pub const fn is_nobodys_word(&self) -> bool {
        matches!(self, Self::LinesUnsigned { .. } | Self::LinesUnreadable { .. })
    }

    /// True for what a writer that was cut off leaves as well, so that it does not prove by itself that somebody
    /// changed anything.
    #[must_use]
    pub const fn may_be_left_behind(&self) -> bool {
        matches!(
            self,
            Self::Unsigned { .. } | Self::Unreferenced { .. } | Self::Unlogged { .. }
        )
    }
}
