//! Takes who is logged in, who was, and who tried: the records of utmp, wtmp and btmp, and the sessions of
//! systemd-logind.
//!
//! Never ends a session, and asks no service: they are files.
//!
//! # Expected flow
//! Reads the files that are there; of those that only grow, the last records
//!
//! # Guarantees
//! A record is kept as it is, also when it says what no program writes
//!
//! # Assumptions
//! Records are of the form that the C library of GNU writes on this machine
//!
//! # Caveats
//! Some distributions write no utmp any more; a session that was not opened through PAM is in none of them
//!
//! # Errors
//! `TimedOut`

mod utmp;

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use staunch_model::{EvidenceId, EvidenceKind, Failure, Span};
use staunch_ports::{CollectRequest, Collected, Collector, Collects, Sink};

use super::document::{self, Document, Problems};
use super::facts::lines;
use super::limits::Deadline;
use super::value::Text;

pub use utmp::{LoginRecord, RECORD_BYTES, parse_logins};

const KIND: EvidenceKind = EvidenceKind::Logins;
const TAKES_MAX: Span = Span::from_secs(10);

/// Records of one file that are taken, the last ones.
const RECORDS_MAX: usize = 4_096;

/// Files of sessions that are taken; logind allows 8,192 by default.
const SESSIONS_MAX: usize = 8_192;

/// Bytes of the file of a session; they have some hundred.
const SESSION_BYTES_MAX: u64 = 16 << 10;

/// Where logins are recorded.
#[derive(Clone, Debug)]
pub struct LoginFiles {
    /// Who is logged in.
    pub utmp: PathBuf,
    /// Who was.
    pub wtmp: PathBuf,
    /// Who tried and failed.
    pub btmp: PathBuf,
    /// The directory of the sessions of systemd-logind.
    pub sessions: PathBuf,
    /// The directory of its users.
    pub users: PathBuf,
}

impl Default for LoginFiles {
    fn default() -> Self {
        Self {
            utmp: "/run/utmp".into(),
            wtmp: "/var/log/wtmp".into(),
            btmp: "/var/log/btmp".into(),
            sessions: "/run/systemd/sessions".into(),
            users: "/run/systemd/users".into(),
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct LoginsCollector {
    files: LoginFiles,
}

#[derive(Serialize)]
struct Small<'a> {
    file: Text<'a>,
    lines: Vec<Text<'a>>,
}

impl LoginsCollector {
    /// Makes one that reads these files.
    #[must_use]
    pub fn new(files: LoginFiles) -> Self {
        Self { files }
    }

    fn write(&self, document: &mut Document<'_>, deadline: Deadline) -> Result<(), Failure> {
        let mut problems = Problems::default();
        let it = &self.files;
        for (name, path) in [("utmp", &it.utmp), ("wtmp", &it.wtmp), ("btmp", &it.btmp)] {
            deadline.check("logins")?;
            match tail(path) {
                Ok((bytes, before)) => {
                    let (records, rest) = parse_logins(&bytes);
                    document.begin_list(name)?;
                    for record in records {
                        document.item(&utmp::Told::from(record))?;
                    }
                    document.end_list();
                    document.field(&format!("{name}_records_before"), &(before / RECORD_BYTES as u64))?;
                    if rest > 0 {
                        problems.add(&format!("{}: {rest} bytes after the last record", path.display()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => document.field(name, &None::<()>)?,
                Err(error) => {
                    document.field(name, &None::<()>)?;
                    problems.add(&format!("cannot read {}: {error}", path.display()));
                }
            }
        }
        for (name, path) in [("sessions", &it.sessions), ("users", &it.users)] {
            match fs::read_dir(path) {
                Ok(entries) => {
                    document.begin_list(name)?;
                    for (taken, entry) in entries.filter_map(Result::ok).enumerate() {
                        if taken == SESSIONS_MAX || deadline.is_over() {
                            problems.add(&format!("{name}: those after the first {taken} are left out"));
                            break;
                        }
                        if let Ok((bytes, _)) = read_regular(&entry.path(), SESSION_BYTES_MAX) {
                            document.item(&Small {
                                file: Text(entry.file_name().as_bytes()),
                                lines: lines(&bytes).map(Text).collect(),
                            })?;
                        }
                    }
                    document.end_list();
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => document.field(name, &None::<()>)?,
                Err(error) => {
                    document.field(name, &None::<()>)?;
                    problems.add(&format!("cannot read {}: {error}", path.display()));
                }
            }
        }
        document.problems(&problems);
        Ok(())
    }
}

impl Collector for LoginsCollector {
    fn describe(&self) -> Collects {
        Collects {
            name: "linux/logins",
            kind: KIND,
            needs: &["to read /var/log/btmp, for logins that failed"],
            changes: &[],
            takes_max: TAKES_MAX,
        }
    }

    fn observe(&mut self, _: &CollectRequest) -> Result<(), Failure> {
        Ok(())
    }

    fn execute(&mut self, request: &CollectRequest, sink: &mut dyn Sink) -> Result<Collected, Failure> {
        let deadline = Deadline::of(request, TAKES_MAX);
        let it = &self.files;
        let files = [&it.utmp, &it.wtmp, &it.btmp, &it.sessions, &it.users];
        let locator: Vec<String> = files.iter().map(|it| it.display().to_string()).collect();
        let about = document::about(KIND, &locator.join(","), "read of the last records of each file");
        document::write(KIND, about, sink, |document| {
            deadline.check("logins")?;
            self.write(document, deadline)
        })?;
        Ok(Collected::default())
    }

    fn undo(&mut self, _: EvidenceId) -> Result<(), Failure> {
        Ok(())
    }
}

/// The last records of a file, and how many bytes stand before them.
fn tail(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    read_tail(path, (RECORDS_MAX * RECORD_BYTES) as u64)
}

fn read_regular(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut file = open(path)?;
    let mut bytes = Vec::new();
    (&mut file).take(bytes_max).read_to_end(&mut bytes)?;
    Ok((bytes, 0))
}

fn read_tail(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    // Records begin at multiples of their length.
    let before = length
        .saturating_sub(bytes_max)
        .next_multiple_of(RECORD_BYTES as u64)
        .min(length);
    file.seek(SeekFrom::Start(before))?;
    let mut bytes = Vec::new();
    file.take(length - before).read_to_end(&mut bytes)?;
    Ok((bytes, before))
}

/// Opens a file, and nothing that would make the reader wait.
fn open(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY | nix::libc::O_CLOEXEC;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(file)
}
