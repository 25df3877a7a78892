//! A bucket of S3 in memory, which locks what is put there, or only says so.
//!
//! Never opens a connection: a test hands requests over, from a socket or without one. What it holds them to is what S3
//! and moto 5.2 hold them to; the signature itself is held against published ones by the tests of who signs.

mod uploads;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use staunch_model::{Sha256Hash, Timestamp};

use uploads::{LISTED_MAX, PART_BYTES_MIN, Upload};

/// How a bucket behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// As S3 does.
    Locks,
    /// It takes the headers of a lock and deletes all the same.
    Deletes,
    /// It refuses to delete anything, and keeps nothing of a lock.
    Forgets,
    /// It locks, and forgets that there was to be a legal hold.
    ForgetsHolds,
    /// It locks, and tells nobody of legal holds.
    HidesHolds,
    /// It locks, and takes no other mode for what is there.
    KeepsModes,
    /// It has no versions.
    Plain,
    /// It says nothing of a lock in its answers to HEAD.
    SaysNothing,
    /// It tells no hash of what it has.
    TellsNoHash,
    /// It lets nobody list, and so refuses to say whether a name is taken by nothing.
    Unlisted,
    /// It is busy.
    Busy,
    /// It has 400 for what a lock forbids, as MinIO does.
    Worm,
    /// It takes no key.
    Refuses,
    /// It says that the clock of who asks is wrong.
    Skewed,
    /// It says that it has waited too long for a request.
    TimesOut,
}

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub version: String,
    /// Its bytes.
    pub body: Vec<u8>,
    /// The headers of its lock, and the hash that was sent with it.
    pub headers: BTreeMap<String, String>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// The body; there as well for HEAD, and not to be sent then.
    pub body: Vec<u8>,
}

/// The bucket.
#[derive(Debug)]
pub struct FakeBucket(Mutex<State>);

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    /// All versions of each object, the newest last, by its path.
    objects: BTreeMap<String, Vec<Object>>,
    versions: usize,
    asked: usize,
    /// The uploads in parts that have begun and did not end, by their names.
    uploads: BTreeMap<String, Upload>,
    part_bytes_min: usize,
    /// The most uploads that are listed at once.
    listed_max: usize,
}

impl FakeBucket {
    /// An empty one.
    #[must_use]
    pub fn new(behaviour: Behaviour) -> Self {
        Self(Mutex::new(State {
            behaviour,
            objects: BTreeMap::new(),
            versions: 0,
            asked: 0,
            uploads: BTreeMap::new(),
            part_bytes_min: PART_BYTES_MIN,
            listed_max: LISTED_MAX,
        }))
    }

    /// Lists so many uploads at once from now on, whatever is asked for; S3 at most 1,000.
    pub fn list_at_most(&self, uploads: usize) {
        self.state().listed_max = uploads;
    }

    /// The same, which takes parts of so many bytes; S3 takes none below 5 MiB but the last.
    #[must_use]
    pub fn with_parts_of(self, bytes_min: usize) -> Self {
        self.state().part_bytes_min = bytes_min;
        self
    }

    /// How many uploads in parts have begun and did not end.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.state().uploads.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an upload in parts that nobody goes on with, as a crash leaves it.
    pub fn leave_upload(&self, path: &str) {
        self.state().leave(path, BTreeMap::new());
    }

    /// Behaves otherwise from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    /// The paths of all objects.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// How many requests there were.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.state().asked
    }

    /// All versions of an object.
    #[must_use]
    pub fn of(&self, path: &str) -> Vec<Object> {
        self.state().objects.get(path).cloned().unwrap_or_default()
    }

    /// Changes all versions of an object behind the lock; removes it when none is left.
    pub fn change(&self, path: &str, change: impl FnOnce(&mut Vec<Object>)) {
        let mut state = self.state();
        let versions = state.objects.entry(path.to_owned()).or_default();
        change(versions);
        if versions.is_empty() {
            state.objects.remove(path);
        }
    }

    /// Answers.
    ///
    /// # Panics
    /// When the request is none that S3 would look at.
    pub fn answer(&self, asked: &Asked) -> Answered {
        is_signed(asked);
        let mut state = self.state();
        state.asked += 1;
        match state.behaviour {
            Behaviour::Busy => return refused(503, "SlowDown"),
            Behaviour::Skewed => return refused(403, "RequestTimeTooSkewed"),
            Behaviour::TimesOut => return refused(400, "RequestTimeout"),
            Behaviour::Refuses => return refused(403, "InvalidAccessKeyId"),
            _ => {}
        }
        if asked.headers.get("x-amz-content-sha256") != Some(&Sha256Hash::of(&asked.body).to_string()) {
            return refused(400, "XAmzContentSHA256Mismatch");
        }
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let query: BTreeMap<String, String> = query
            .split('&')
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect();
        let known = |name: &str| query.get(name).map(String::as_str);
        let version = known("versionId");
        if let Some(id) = known("uploadId") {
            return match &*asked.method {
                "PUT" => state.part(path, id, known("partNumber").expect("it is a part"), asked),
                "POST" => state.complete(path, id, asked),
                "DELETE" => state.abort(path, id),
                other => panic!("nobody asks an upload for {other}"),
            };
        }
        let about = ["uploads", "retention", "legal-hold"]
            .into_iter()
            .find(|it| query.contains_key(*it));
        match (&*asked.method, about) {
            ("POST", Some("uploads")) => state.begin(path, asked),
            ("GET", Some("uploads")) => state.list(path, &query),
            ("PUT", None) => state.put(path, asked),
            ("PUT", Some(what)) => state.lock(path, version, what, asked),
            ("GET", Some(what)) => state.locked(path, version, what),
            ("GET" | "HEAD", None) => state.get(path, version, asked),
            ("DELETE", None) => state.delete(path, version),
            other => panic!("nobody asks for {other:?}"),
        }
    }
}

impl State {
    fn put(&mut self, path: &str, asked: &Asked) -> Answered {
        let headers = &asked.headers;
        if headers.get("if-none-match").is_some_and(|it| it == "*") && self.objects.contains_key(path) {
            return refused(412, "PreconditionFailed");
        }
        if headers
            .get("x-amz-sdk-checksum-algorithm")
            .is_none_or(|it| it != "SHA256")
        {
            return refused(400, "MissingUploadObjectWithObjectLockHeaders");
        }
        if headers.get("x-amz-checksum-sha256") != Some(&checksum(&asked.body)) {
            return refused(400, "BadDigest");
        }
        self.keep(path, asked.body.clone(), headers)
    }

    /// Keeps a further version, as these headers ask for.
    fn keep(&mut self, path: &str, body: Vec<u8>, headers: &BTreeMap<String, String>) -> Answered {
        self.versions += 1;
        let version = format!("v{}", self.versions);
        let behaviour = self.behaviour;
        let kept = |name: &str| match behaviour {
            Behaviour::Forgets => name == "x-amz-checksum-sha256",
            Behaviour::ForgetsHolds if name == "x-amz-object-lock-legal-hold" => false,
            _ => name.starts_with("x-amz-object-lock-") || name == "x-amz-checksum-sha256",
        };
        let object = Object {
            version: version.clone(),
            body,
            headers: headers
                .iter()
                .filter(|(name, _)| kept(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        };
        self.objects.entry(path.to_owned()).or_default().push(object);
        let said = (behaviour != Behaviour::Plain).then(|| ("x-amz-version-id".to_owned(), version));
        Answered {
            status: 200,
            headers: said.into_iter().collect(),
            body: Vec::new(),
        }
    }

    fn find(&mut self, path: &str, version: Option<&str>) -> Option<&mut Object> {
        let versions = self.objects.get_mut(path)?;
        versions
            .iter_mut()
            .rev()
            .find(|it| version.is_none_or(|version| version == it.version))
    }

    /// Has a version kept longer, or held.
    fn lock(&mut self, path: &str, version: Option<&str>, what: &str, asked: &Asked) -> Answered {
        if asked.headers.get("x-amz-checksum-sha256") != Some(&checksum(&asked.body)) {
            return refused(400, "InvalidRequest");
        }
        let forgets = self.behaviour == Behaviour::ForgetsHolds;
        let keeps_modes = self.behaviour == Behaviour::KeepsModes;
        let text = String::from_utf8_lossy(&asked.body).into_owned();
        let Some(object) = self.find(path, version) else {
            return refused(404, "NoSuchVersion");
        };
        match what {
            "retention" => {
                let until = element(&text, "RetainUntilDate");
                let mode = object.headers.get("x-amz-object-lock-mode");
                if mode.is_some_and(|it| it == "COMPLIANCE") && element(&text, "Mode") != "COMPLIANCE" {
                    return refused(403, "AccessDenied");
                }
                if keeps_modes && object.headers.get("x-amz-object-lock-mode") != Some(&element(&text, "Mode")) {
                    return refused(403, "AccessDenied");
                }
                let mut set =
                    |name: &str, value: String| object.headers.insert(format!("x-amz-object-lock-{name}"), value);
                let before = set("retain-until-date", until.clone());
                if before.is_some_and(|before| time(&before) > time(&until)) {
                    return refused(403, "AccessDenied");
                }
                set("mode", element(&text, "Mode"));
            }
            "legal-hold" if !forgets => {
                let status = element(&text, "Status");
                object.headers.insert("x-amz-object-lock-legal-hold".into(), status);
            }
            "legal-hold" => {}
            other => panic!("nobody asks for {other}"),
        }
        Answered {
            status: 200,
            headers: BTreeMap::new(),
            body: Vec::new(),
        }
    }

    /// What `?retention` and `?legal-hold` say.
    fn locked(&mut self, path: &str, version: Option<&str>, what: &str) -> Answered {
        if what == "legal-hold" && self.behaviour == Behaviour::HidesHolds {
            return refused(403, "AccessDenied");
        }
        let Some(object) = self.find(path, version) else {
            return refused(404, "NoSuchVersion");
        };
        let said = |name: &str| object.headers.get(&format!("x-amz-object-lock-{name}")).cloned();
        let text = match what {
            "retention" => said("retain-until-date").map(|until| {
                let mode = said("mode").unwrap_or_default();
                format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>")
            }),
            _ => said("legal-hold").map(|status| format!("<LegalHold><Status>{status}</Status></LegalHold>")),
        };
        text.map_or_else(
            || refused(404, "NoSuchObjectLockConfiguration"),
            |text| Answered {
                status: 200,
                headers: BTreeMap::new(),
                body: text.into_bytes(),
            },
        )
    }

    fn get(&mut self, path: &str, version: Option<&str>, asked: &Asked) -> Answered {
        let says_nothing = self.behaviour == Behaviour::SaysNothing;
        let wants_checksum =
            asked.headers.contains_key("x-amz-checksum-mode") && self.behaviour != Behaviour::TellsNoHash;
        let Some(object) = self.find(path, version).map(|it| it.clone()) else {
            return match (self.behaviour, version) {
                (Behaviour::Unlisted, None) => refused(403, "AccessDenied"),
                _ => refused(404, "NoSuchKey"),
            };
        };
        let hides_holds = self.behaviour == Behaviour::HidesHolds;
        let is_said = |name: &str| match name {
            "x-amz-checksum-sha256" => wants_checksum,
            "x-amz-object-lock-legal-hold" if hides_holds => false,
            _ => !says_nothing,
        };
        let mut headers: BTreeMap<_, _> = object.headers.into_iter().filter(|(name, _)| is_said(name)).collect();
        if self.behaviour != Behaviour::Plain {
            headers.insert("x-amz-version-id".into(), object.version);
        }
        Answered {
            status: 200,
            headers,
            body: object.body,
        }
    }

    fn delete(&mut self, path: &str, version: Option<&str>) -> Answered {
        let behaviour = self.behaviour;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp::from_micros(u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
        let Some(object) = self.find(path, version) else {
            return refused(404, "NoSuchVersion");
        };
        let said = |name: &str| object.headers.get(&format!("x-amz-object-lock-{name}"));
        let is_locked = said("retain-until-date").is_some_and(|it| time(it) > now)
            || said("legal-hold").is_some_and(|it| it == "ON");
        if behaviour == Behaviour::Forgets || is_locked && behaviour != Behaviour::Deletes {
            return match behaviour {
                Behaviour::Worm => refused(400, "InvalidRequest"),
                _ => refused(403, "AccessDenied"),
            };
        }
        self.objects.remove(path);
        Answered {
            status: 204,
            headers: BTreeMap::new(),
            body: Vec::new(),
        }
    }
}

fn refused(status: u16, code: &str) -> Answered {
    Answered {
        status,
        headers: BTreeMap::new(),
        body: format!("<Error><Code>{code}</Code></Error>").into_bytes(),
    }
}

fn checksum(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256Hash::of(bytes).0)
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a bucket is sent times")
}

fn element(text: &str, name: &str) -> String {
    let inner = text.split(&format!("<{name}>")).nth(1).expect("it is sent");
    inner.split("</").next().expect("it ends").to_owned()
}

/// A value of a query as it was before it was encoded.
fn decoded(value: &str) -> String {
    let mut parts = value.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = u8::from_str_radix(&part[..2], 16).expect("two digits follow");
        assert!(byte.is_ascii(), "names are ASCII here");
        text.push(char::from(byte));
        text.push_str(&part[2..]);
    }
    text
}

/// What S3 wants of every request.
fn is_signed(asked: &Asked) {
    let headers = &asked.headers;
    let signed = &headers["authorization"];
    assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential="), "{signed}");
    assert!(signed.contains("/s3/aws4_request,SignedHeaders="), "{signed}");
    let names = signed.split("SignedHeaders=").nth(1).expect("they follow");
    let names: Vec<&str> = names.split(',').next().expect("they end").split(';').collect();
    for name in headers
        .keys()
        .filter(|it| it.starts_with("x-amz-") || *it == "host" || *it == "if-none-match")
    {
        assert!(names.contains(&name.as_str()), "{name} is not signed");
    }
}
