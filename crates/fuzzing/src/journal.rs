//! A journal that was written well and then damaged: flipped, cut, zeroed, overwritten, copied within itself, with
//! files lost or swapped, and forged with checksums that fit.
//!
//! What holds, besides what [`crate::segment`] holds: without a forged checksum, what opens is a beginning of what was
//! written; without any damage it is all of it; and when only the end was cut off, it opens.

use std::fs;

use staunch_ports::{Epoch, Lsn, StoredFrame};
use staunch_store::journal::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES};

use crate::format::{self, SEGMENT_BYTES, SegmentHead};
use crate::made::Made;
use crate::segment::{assert_prefix, history};

const FRAMES_MAX: u8 = 24;
const DAMAGES_MAX: u8 = 8;
const HEADER_BYTES: usize = 4096;
const _: () = assert!(HEADER_BYTES as u64 == SEGMENT_HEADER_BYTES);

/// Files of a journal: the name, and what is in it.
type Files = Vec<(String, Vec<u8>)>;

/// What was done to the files.
#[derive(Debug, Default)]
struct Done {
    /// How many of the damages changed something.
    changes: usize,
    /// Of those, ends of the last file that were cut off behind its header.
    cuts: usize,
    /// Whether a checksum was made to fit.
    forged: bool,
}

/// Writes a journal, damages it, and reads it.
pub fn run(data: &[u8]) {
    let mut made = Made::of(data);
    let (mut files, written) = write(&mut made);
    let mut done = Done::default();
    for _ in 0..made.byte() % (DAMAGES_MAX + 1) {
        if !files.is_empty() {
            damage(&mut made, &mut files, &mut done);
        }
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, bytes) in &files {
        fs::write(dir.path().join(name), bytes).expect("it is our directory");
    }
    let found = history(dir.path());
    if !done.forged
        && let Some(found) = &found
    {
        assert_prefix(found, &written);
    }
    if done.changes == 0 {
        assert_eq!(found, Some(written), "nothing was damaged");
    } else if done.changes == done.cuts {
        assert!(found.is_some(), "what a crash can leave behind opens");
    }
}

/// A journal of several segments, and its frames.
fn write(made: &mut Made<'_>) -> (Files, Vec<StoredFrame>) {
    let mut head = SegmentHead::first();
    let mut files = vec![(head.file_name(), head.encode())];
    let mut frames: Vec<StoredFrame> = Vec::new();
    let (mut epoch, mut batch) = (1, 0);
    for position in 1..=u64::from(made.byte() % (FRAMES_MAX + 1)) {
        let shape = made.byte();
        let payload = made
            .take(usize::from(shape >> 4))
            .repeat(1 + usize::from(shape & 3) * 20);
        let prev = frames.last().map_or([0; 16], |it| it.hash);
        let (_, file) = files.last().expect("there is a first segment");
        if shape & 4 != 0 && position > 1 || file.len() + FRAME_HEADER_BYTES + payload.len() > SEGMENT_BYTES {
            head = SegmentHead {
                first_lsn: position,
                prev,
                salt: [shape; 8],
                ..SegmentHead::first()
            };
            files.push((head.file_name(), head.encode()));
            batch = 0;
        }
        batch = if shape & 8 == 0 { 0 } else { batch + 1 };
        epoch += u32::from(shape == 0xff);
        let mut frame = StoredFrame {
            lsn: Lsn(position),
            epoch: Epoch(epoch),
            now_us: made.number(),
            prev,
            hash: [0; 16],
            payload,
        };
        frame.hash = format::chain(&frame);
        // The first frame of a segment is the first of its write.
        let (_, file) = files.last_mut().expect("there is a first segment");
        batch = if file.len() == HEADER_BYTES { 0 } else { batch };
        format::add_frame(file, &head, batch, &frame);
        frames.push(frame);
    }
    for (_, file) in &mut files {
        file.resize(SEGMENT_BYTES, 0);
    }
    (files, frames)
}

fn damage(made: &mut Made<'_>, files: &mut Files, done: &mut Done) {
    let which = made.below(files.len());
    let is_last = which + 1 == files.len();
    let before = files.clone();
    let kind = made.byte() % 9;
    let file = &mut files[which].1;
    let at = place(made, file);
    match kind {
        0 => file
            .iter_mut()
            .skip(at)
            .take(1)
            .for_each(|byte| *byte ^= made.byte().max(1)),
        1 => file.truncate(at),
        2 => {
            let count = made.below(600);
            file.iter_mut().skip(at).take(count).for_each(|byte| *byte = 0);
        }
        3 => {
            let new = made.take(16);
            file.iter_mut().skip(at).zip(new).for_each(|(byte, new)| *byte = *new);
        }
        4 => {
            let source = &before[made.below(before.len())].1;
            let from = place(made, source);
            let count = made.below(600);
            let copied = source.iter().skip(from).take(count);
            file.iter_mut()
                .skip(at)
                .zip(copied)
                .for_each(|(byte, new)| *byte = *new);
        }
        5 => done.forged |= format::mend_checksum(file, at) && *file != before[which].1,
        6 => drop(files.remove(which)),
        7 => {
            let other = made.below(before.len());
            files[which].1 = before[other].1.clone();
            files[other].1 = before[which].1.clone();
        }
        _ => {
            if let Some(mut head) = SegmentHead::decode(file) {
                match made.byte() % 5 {
                    0 => head.first_lsn = made.number(),
                    1 => head.bytes = made.number(),
                    2 => head.prev = [made.byte(); 16],
                    3 => head.version = made.byte().into(),
                    _ => head.salt = [made.byte(); 8],
                }
                file.splice(..HEADER_BYTES.min(file.len()), head.encode());
                files[which].0 = head.file_name();
                done.forged = true;
            }
        }
    }
    if *files != before {
        done.changes += 1;
        done.cuts += usize::from(kind == 1 && is_last && at >= HEADER_BYTES);
    }
}

/// Somewhere in `file`: in its header, at the start of a frame or near it, or anywhere.
fn place(made: &mut Made<'_>, file: &[u8]) -> usize {
    let mut starts = vec![HEADER_BYTES];
    for frame in format::frames(file) {
        starts.push(starts[starts.len() - 1] + FRAME_HEADER_BYTES + frame.payload.len());
    }
    let choice = made.byte();
    let near = starts[made.below(starts.len())];
    let at = match choice % 4 {
        0 => made.below(60),
        1 => near,
        2 => near + made.below(FRAME_HEADER_BYTES + 8),
        _ => made.below(file.len() + 1),
    };
    at.min(file.len())
}
