//! The tables. A change of any of them needs a new [`VERSION`]: an index of another version is thrown away and rebuilt.

/// The version of the tables and of how they are filled.
pub(super) const VERSION: i64 = 8;

/// Marks the file as ours: `STNI`.
pub(super) const APPLICATION_ID: i64 = 0x5354_4e49;

/// Every table and index. Times are microseconds since the Unix epoch; a `BLOB` that is no hash is a value as the
/// journal encodes it.
pub(super) const TABLES: &str = "
CREATE TABLE progress (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    last_now INTEGER NOT NULL
) STRICT;
INSERT INTO progress VALUES (1, 0, 0);

CREATE TABLE playbooks (hash BLOB PRIMARY KEY, name TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE incidents (
    id INTEGER PRIMARY KEY,
    playbook TEXT NOT NULL,
    hash BLOB NOT NULL,
    key TEXT NOT NULL,
    status TEXT NOT NULL,
    opened INTEGER NOT NULL,
    closed INTEGER,
    outcome TEXT,
    events INTEGER NOT NULL,
    system TEXT NOT NULL,
    signature TEXT NOT NULL,
    severity TEXT NOT NULL,
    source TEXT,
    destination TEXT,
    recovered INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX incidents_open ON incidents (id) WHERE status = 'open';
CREATE INDEX incidents_by_playbook ON incidents (playbook, id);
CREATE INDEX incidents_by_time ON incidents (opened, id);

CREATE TABLE transactions (
    id INTEGER PRIMARY KEY,
    incident INTEGER NOT NULL,
    step INTEGER NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    mode TEXT,
    lease INTEGER NOT NULL,
    lease_until INTEGER,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    in_force_at INTEGER,
    released_at INTEGER,
    approved_by TEXT,
    approval_expires INTEGER,
    judgement BLOB,
    hurt INTEGER NOT NULL DEFAULT 0,
    of_recovery INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX transactions_by_state ON transactions (state, id);
CREATE INDEX transactions_by_target ON transactions (target, id);

CREATE TABLE holders (
    incident INTEGER NOT NULL,
    tx INTEGER NOT NULL,
    PRIMARY KEY (incident, tx)
) STRICT, WITHOUT ROWID;

CREATE TABLE incident_events (
    incident INTEGER NOT NULL,
    lsn INTEGER NOT NULL,
    time INTEGER,
    received INTEGER NOT NULL,
    system TEXT NOT NULL,
    signature TEXT NOT NULL,
    severity TEXT NOT NULL,
    source TEXT,
    destination TEXT,
    PRIMARY KEY (incident, lsn)
) STRICT, WITHOUT ROWID;

CREATE TABLE evidence (
    id INTEGER PRIMARY KEY,
    incident INTEGER NOT NULL,
    kind TEXT NOT NULL,
    target TEXT,
    asked INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    sealed_at INTEGER,
    record BLOB,
    bytes INTEGER,
    artefacts INTEGER,
    missed_at INTEGER,
    why TEXT
) STRICT;
CREATE INDEX evidence_by_incident ON evidence (incident, id);

CREATE TABLE timeline (
    id INTEGER PRIMARY KEY,
    lsn INTEGER NOT NULL,
    at INTEGER NOT NULL,
    incident INTEGER,
    tx INTEGER,
    what TEXT NOT NULL,
    detail BLOB NOT NULL
) STRICT;
CREATE INDEX timeline_by_incident ON timeline (incident) WHERE incident IS NOT NULL;
CREATE INDEX timeline_by_tx ON timeline (tx) WHERE tx IS NOT NULL;
CREATE INDEX timeline_by_lsn ON timeline (lsn, id);

CREATE TABLE commands (
    lsn INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    origin TEXT NOT NULL,
    reason TEXT NOT NULL,
    command TEXT NOT NULL,
    affected TEXT NOT NULL,
    refused TEXT
) STRICT;
CREATE INDEX commands_of_mode ON commands (lsn) WHERE command LIKE '{\"setmode\":%' AND refused IS NULL;

CREATE TABLE command_targets (
    lsn INTEGER NOT NULL,
    incident INTEGER,
    tx INTEGER
) STRICT;
CREATE INDEX command_targets_by_incident ON command_targets (incident, lsn) WHERE incident IS NOT NULL;
CREATE INDEX command_targets_by_tx ON command_targets (tx, lsn) WHERE tx IS NOT NULL;

CREATE TABLE notices (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    level TEXT NOT NULL,
    incident INTEGER,
    tx INTEGER,
    text TEXT NOT NULL,
    sent_at INTEGER,
    given_up INTEGER NOT NULL
) STRICT;
";

/// Empties the file before a rebuild, so that connections of readers stay good.
pub(super) const DROP: &str = "
DROP TABLE IF EXISTS progress;
DROP TABLE IF EXISTS playbooks;
DROP TABLE IF EXISTS incidents;
DROP TABLE IF EXISTS transactions;
DROP TABLE IF EXISTS holders;
DROP TABLE IF EXISTS incident_events;
DROP TABLE IF EXISTS evidence;
DROP TABLE IF EXISTS timeline;
DROP TABLE IF EXISTS commands;
DROP TABLE IF EXISTS command_targets;
DROP TABLE IF EXISTS notices;
";
