//! Keeps the newest epoch, which must survive a crash even when no frame was written in it.
//!
//! Two pages are written in turn, in place. A torn write damages only the page of an epoch that nobody was given yet,
//! and nothing has to be allocated: a restart on a full disk, where containment has to be lifted, must not fail here.

use std::fs::File;
use std::io;

use staunch_ports::Epoch;

use super::disk::{Disk, read_up_to};
use super::error::OpenError;
use super::frame::u32_at;

const NAME: &str = "epoch";
const PAGE_BYTES: usize = 4096;
const MAGIC: &[u8; 8] = b"staunchE";
const USED: usize = 16;

/// The epoch file, open for writing.
#[derive(Debug)]
pub(super) struct EpochFile {
    file: File,
}

impl EpochFile {
    /// Opens the file and says which epoch it holds. A missing file is made anew; the frames then say which epoch it
    /// is.
    pub(super) fn open(disk: &Disk) -> Result<(Self, Epoch), OpenError> {
        let path = disk.path(NAME);
        let failed = |what| {
            let path = path.clone();
            move |error| OpenError::io(what, path, 2 * PAGE_BYTES as u64, error)
        };
        let file = disk.open_or_create(NAME).map_err(failed("open the epoch"))?;
        let mut pages = vec![0; 2 * PAGE_BYTES];
        let read = read_up_to(&file, &mut pages, 0).map_err(failed("read the epoch"))?;
        if read < pages.len() {
            disk.write_at(&file, NAME, &vec![0; 2 * PAGE_BYTES], 0)
                .map_err(failed("write the epoch"))?;
            disk.sync(&file, NAME).map_err(failed("sync the epoch"))?;
            disk.sync_dir().map_err(failed("sync the directory of the epoch"))?;
        }
        let newest = pages
            .chunks_exact(PAGE_BYTES)
            .filter_map(decode)
            .max()
            .unwrap_or_default();
        if newest == Epoch(0) && pages.iter().any(|byte| *byte != 0) {
            tracing::warn!(path = %path.display(), "the epoch is unreadable: the newest epoch is taken from the frames");
        }
        Ok((Self { file }, newest))
    }

    /// Makes `epoch` the newest one, durably.
    pub(super) fn store(&self, disk: &Disk, epoch: Epoch) -> io::Result<()> {
        let offset = u64::from(epoch.0 % 2) * PAGE_BYTES as u64;
        disk.write_at(&self.file, NAME, &encode(epoch), offset)?;
        disk.sync(&self.file, NAME)
    }
}

fn encode(epoch: Epoch) -> Vec<u8> {
    let mut page = Vec::with_capacity(USED);
    page.extend_from_slice(MAGIC);
    page.extend_from_slice(&epoch.0.to_le_bytes());
    page.extend_from_slice(&crc32c::crc32c(&page).to_le_bytes());
    page
}

fn decode(page: &[u8]) -> Option<Epoch> {
    let whole = &page[..8] == MAGIC && crc32c::crc32c(&page[..12]) == u32_at(page, 12);
    whole.then(|| Epoch(u32_at(page, 8)))
}
