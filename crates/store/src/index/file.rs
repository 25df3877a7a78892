//! The file of the index: how it is opened, made, told apart and set aside.
//!
//! Never reads or enters a frame.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::{IndexError, schema};

/// How long a write waits for another process that has the file open, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The log that SQLite keeps is cut back to this after a checkpoint.
const WAL_BYTES_KEPT: i64 = 16 << 20;

/// KiB of pages that a connection keeps. SQLite's own default is 2,000, which a server has for as long as it runs; what
/// is not kept is in the kernel's cache of the file.
const CACHE_KIB: i64 = 512;

/// Which file is at `path`: its device and number.
pub(super) fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    let found = path.metadata()?;
    Ok((found.dev(), found.ino()))
}

/// Opens the file at `path` and makes its tables when they are not there or of another version.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // SQLite would make it readable for everybody, and gives its logs the mode that the file has. Where it cannot be
    // made, SQLite says why.
    let mut private = OpenOptions::new();
    private.write(true).create(true).truncate(false).mode(0o600);
    drop(private.custom_flags(nix::libc::O_NOFOLLOW).open(path));
    // Nor may whoever owns the directory have root write elsewhere, which rebuilds the index say. SQLite takes a link
    // anywhere on the way for one.
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    let direct = folder.zip(path.file_name()).map(|(folder, name)| folder.join(name));
    let flags = OpenFlags::default().union(OpenFlags::SQLITE_OPEN_NOFOLLOW);
    let db = Connection::open_with_flags(direct.as_deref().unwrap_or(path), flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(64);
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if (pragma("application_id")?, pragma("user_version")?) != (schema::APPLICATION_ID, schema::VERSION) {
        let foreign: i64 = db.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'",
            params![],
            |row| row.get(0),
        )?;
        if foreign > 0 {
            // An older version may have other tables, so the file is replaced as a damaged one would be.
            return Err(other_version());
        }
        db.execute_batch(&format!("BEGIN IMMEDIATE; {} COMMIT;", schema::TABLES))?;
        db.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
        db.pragma_update(None, "user_version", schema::VERSION)?;
    }
    Ok(db)
}

fn other_version() -> rusqlite::Error {
    let code = rusqlite::ffi::Error {
        code: ErrorCode::NotADatabase,
        extended_code: rusqlite::ffi::SQLITE_NOTADB,
    };
    rusqlite::Error::SqliteFailure(code, Some("it is of another version or not an index".to_owned()))
}

/// Opens the file at `path`, or sets it aside and makes a new one when it is damaged.
pub(super) fn connect_or_replace(path: &Path) -> Result<Connection, IndexError> {
    connect(path).or_else(|error| {
        if !is_corrupt(&error) {
            return Err(IndexError::Open {
                path: path.to_owned(),
                source: error,
            });
        }
        tracing::warn!(%error, "the index is damaged and is set aside");
        replace(path)
    })
}

/// Sets the file at `path` aside and makes a new one.
pub(super) fn replace(path: &Path) -> Result<Connection, IndexError> {
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let gone = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(IndexError::SetAside {
            path: path.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    };
    // The logs go first: SQLite would apply those of the old file to the new one.
    gone(std::fs::remove_file(beside("-wal")))?;
    gone(std::fs::remove_file(beside("-shm")))?;
    gone(std::fs::rename(path, beside(".damaged")))?;
    connect(path).map_err(|source| IndexError::Open {
        path: path.to_owned(),
        source,
    })
}

/// True when the file itself is at fault, so that only a new one helps.
pub(super) fn is_corrupt(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => match code.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => true,
            ErrorCode::Unknown => message.as_ref().is_some_and(|it| it.starts_with("no such")),
            _ => false,
        },
        rusqlite::Error::QueryReturnedNoRows
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::InvalidColumnName(_) => true,
        _ => false,
    }
}
