//! What the tests that lock accounts share: password files of their own, and witnesses.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use staunch_connectors::actions::lock_account::{ShadowLockAccount, ShadowOptions};
use staunch_model::{
    AccountName, EffectKey, FailureKind, InstallationId, Observation, Outcome, Owner, Presence, Span, Target,
    TransactionId,
};
use staunch_ports::{Action, ExecuteRequest, UndoRequest};
use tempfile::TempDir;

pub(crate) const OURS: InstallationId = InstallationId([0xa0; 8]);
pub(crate) const THEIRS: InstallationId = InstallationId([0xb0; 8]);

/// A part of every hash in these files, which must never be seen anywhere else.
pub(crate) const SECRET: &str = "S3cretHash";

/// The first number of the accounts in these files.
const FIRST: u32 = 20_000;

/// Password files in a directory of their own.
pub(crate) struct Files {
    dir: TempDir,
    /// A tree of groups; one without any users when there is none.
    cgroups: Option<PathBuf>,
}

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
            cgroups: None,
        };
        files.write("passwd", "root:x:0:0:root:/root:/bin/bash\n");
        files.write("group", "root:x:0:\nsudo:x:27:\n");
        files.write("shadow", "root:*:19000:0:99999:7:::\n");
        fs::set_permissions(files.path("shadow"), fs::Permissions::from_mode(0o640)).unwrap();
        files
    }

    /// The same, with the slices of users in `cgroups`.
    pub(crate) fn with_slices(cgroups: &Path) -> Self {
        Self {
            cgroups: Some(cgroups.to_owned()),
            ..Self::new()
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        let there = fs::read(self.path(name)).unwrap();
        fs::write(self.path(name), [&there, text.as_bytes()].concat()).unwrap();
    }

    pub(crate) fn shadow(&self) -> Vec<u8> {
        fs::read(self.path("shadow")).unwrap()
    }

    pub(crate) fn record(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("accounts").join(name)).ok()
    }

    /// Adds the `number`th account, with this password and expiry, and returns its line.
    pub(crate) fn add(&self, number: u16, password: &str, expiry: &str) -> String {
        let (name, uid) = (name(number), uid(number));
        self.append("passwd", &format!("{name}:x:{uid}:{uid}:,,,:/home/{name}:/bin/bash\n"));
        let line = format!("{name}:{password}:19500:0:99999:7::{expiry}:");
        self.append("shadow", &format!("{line}\n"));
        line
    }

    /// The fields of the line of an account.
    pub(crate) fn fields(&self, name: &str) -> Vec<String> {
        let text = self.shadow();
        let text = String::from_utf8_lossy(&text);
        let mut found = text.lines().filter(|line| line.starts_with(&format!("{name}:")));
        let line = found.next().unwrap();
        assert!(found.next().is_none(), "{name} is there once");
        line.split(':').map(ToOwned::to_owned).collect()
    }

    /// Puts another text in a field of the line of an account, as its tools do.
    pub(crate) fn set(&self, name: &str, field: usize, value: &str) {
        let mut fields = self.fields(name);
        let old = fields.join(":");
        value.clone_into(&mut fields[field]);
        let text = String::from_utf8(self.shadow()).unwrap();
        self.write("shadow", &text.replace(&old, &fields.join(":")));
    }

    pub(crate) fn options(&self, installation: InstallationId) -> ShadowOptions {
        ShadowOptions {
            shadow: self.path("shadow"),
            passwd: self.path("passwd"),
            group: self.path("group"),
            lock: self.path(".pwd.lock"),
            cgroups: Some(self.cgroups.clone().unwrap_or_else(|| self.path("no-cgroups"))),
            ..ShadowOptions::new(installation, self.path("accounts"))
        }
    }

    pub(crate) fn driver(&self, installation: InstallationId) -> ShadowLockAccount {
        ShadowLockAccount::new(self.options(installation))
    }

    /// The files beside the five that are there for good.
    pub(crate) fn others(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path()).unwrap();
        let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
        let known = ["passwd", "group", "shadow", ".pwd.lock", "accounts"];
        names.filter(|name| !known.contains(&name.as_str())).collect()
    }
}

pub(crate) fn name(number: u16) -> String {
    format!("user{number}")
}

pub(crate) fn uid(number: u16) -> u32 {
    FIRST + u32::from(number)
}

pub(crate) fn target(name: &str) -> Target {
    Target::Account(name.parse::<AccountName>().unwrap())
}

pub(crate) fn request(transaction: u64, name: &str) -> ExecuteRequest {
    ExecuteRequest {
        transaction: TransactionId(transaction),
        key: EffectKey::default(),
        target: target(name),
        version: 0,
        hold: Span::from_hours(1),
        renewal: false,
    }
}

pub(crate) fn execute(driver: &mut ShadowLockAccount, transaction: u64, name: &str) -> Outcome {
    driver.execute(&[request(transaction, name)]).remove(0)
}

pub(crate) fn undo(driver: &mut ShadowLockAccount, transaction: u64, name: &str) -> Outcome {
    let request = UndoRequest {
        transaction: TransactionId(transaction),
        key: EffectKey::default(),
        target: target(name),
        lease_ended: false,
    };
    driver.undo(&[request]).remove(0)
}

pub(crate) fn see(driver: &mut ShadowLockAccount, name: &str) -> Observation {
    driver.observe(&[target(name)]).remove(0).unwrap()
}

pub(crate) fn ours(transaction: u64) -> Presence {
    Presence::Present {
        owner: Owner::Ours(TransactionId(transaction)),
        expires_in: None,
    }
}

pub(crate) fn foreign(text: &str) -> Presence {
    Presence::Present {
        owner: Owner::Foreign(text.into()),
        expires_in: None,
    }
}

#[track_caller]
pub(crate) fn assert_refused(outcome: &Outcome, kind: FailureKind, says: &str) {
    match outcome {
        Outcome::DidNotHappen(failure) if failure.kind == kind && failure.what.contains(says) => {
            assert!(!failure.what.contains(SECRET), "{failure}");
        }
        other => panic!("expected a refusal as {kind:?} that says {says:?}, got {other:?}"),
    }
}
