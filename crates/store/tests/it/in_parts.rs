//! What is put in parts, held to the same by a bucket in memory and by a server that others wrote. Also a part of the
//! example `vault_s3`.

use std::io::{Cursor, Read as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use staunch_model::{Failure, FailureKind, Sha256Hash, Storage, Taken, WriteOnce};
use staunch_ports::{SealedManifest, Vault as _};
use staunch_store::s3::{Answer, BucketSettings, Credentials, Link, PartSizes, Request};
use staunch_store::vault::unfinished;
use staunch_testkit::contract::vault::{Subject as _, artefact, noise, store};

use crate::in_bucket::{Damage, InBucket};

const WITHIN: Duration = Duration::from_secs(60);

/// What S3 may say after it has said 200.
pub(crate) const INTERNAL_ERROR: &str = "  \n<Error><Code>InternalError</Code></Error>";

/// What becomes of a request.
pub(crate) enum Way {
    /// It arrives, and is answered.
    Through,
    /// It arrives, and its answer is lost.
    Lost,
    /// It does not arrive.
    Away,
    /// It does not arrive, and this is the answer.
    Answered(u16, &'static str),
}

/// What is asked, as far as parts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Begin,
    Part,
    Complete,
    Abort,
    List,
    /// To put an object at once.
    Put,
    Other,
}

impl Asks {
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let has = |text: &str| request.target.contains(text);
        match request.method {
            "POST" if has("uploadId=") => Self::Complete,
            "POST" => Self::Begin,
            "PUT" if has("partNumber=") => Self::Part,
            "DELETE" if has("uploadId=") => Self::Abort,
            "GET" if has("uploads=") => Self::List,
            "PUT" if !has("?") => Self::Put,
            _ => Self::Other,
        }
    }
}

/// Says what becomes of a request.
type Rule = Box<dyn FnMut(Asks) -> Way + Send>;

/// A link in whose way something is.
#[derive(Clone)]
pub(crate) struct Meddled<L> {
    link: L,
    rule: Arc<Mutex<Rule>>,
}

impl<L> Meddled<L> {
    pub(crate) fn new(link: L) -> Self {
        Self {
            link,
            rule: Arc::new(Mutex::new(Box::new(|_| Way::Through))),
        }
    }

    /// Does so from now on.
    pub(crate) fn by(&self, rule: impl FnMut(Asks) -> Way + Send + 'static) {
        *self.rule.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
    }

    pub(crate) fn unhindered(&self) {
        self.by(|_| Way::Through);
    }
}

impl<L: Link> Link for Meddled<L> {
    fn credentials(&self) -> Result<Credentials, Failure> {
        self.link.credentials()
    }

    fn ask(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let way = (self.rule.lock().unwrap_or_else(PoisonError::into_inner))(Asks::of(&request));
        let lost = || Failure::new(FailureKind::Unavailable, "the connection broke");
        match way {
            Way::Through => self.link.ask(request),
            Way::Lost => self.link.ask(request).and_then(|_| Err(lost())),
            Way::Away => Err(lost()),
            Way::Answered(status, text) => Ok(Answer {
                status,
                headers: [("x-amz-version-id".to_owned(), "none".to_owned())].into(),
                body: Box::new(Cursor::new(text)),
            }),
        }
    }
}

/// Settings by which artefacts of more than a part are put in parts.
pub(crate) fn cut(settings: BucketSettings, part_bytes: u64) -> BucketSettings {
    let parts = PartSizes {
        above: part_bytes,
        least: part_bytes,
        pause: Duration::ZERO,
    };
    BucketSettings { parts, ..settings }
}

/// A vault in such a bucket.
pub(crate) fn vault_in<L: Link + 'static>(settings: BucketSettings, link: L) -> InBucket {
    let nobody_damages: Damage = Box::new(|_, _| ());
    let most = settings.parts.least * 8;
    InBucket::new(settings, Box::new(link), most, nobody_damages)
}

/// Bytes that are two parts and a half.
pub(crate) fn bytes(seed: u64, part_bytes: u64) -> Vec<u8> {
    noise(seed, usize::try_from(part_bytes * 5 / 2).expect("it is small"))
}

pub(crate) fn storage_of(sealed: &SealedManifest) -> &Storage {
    match &sealed.manifest.taken {
        Taken::Stored { storage, .. } => storage,
        Taken::Missed(why) => panic!("it was stored: {why}"),
    }
}

fn read(subject: &InBucket, artefact: Sha256Hash) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = subject.dir_vault().open(artefact).expect("it is there");
    reader.read_to_end(&mut bytes).expect("it is whole");
    bytes
}

pub(crate) fn left_behind(subject: &InBucket) -> usize {
    let found = unfinished(&subject.bucket, Instant::now() + WITHIN).expect("they can be listed");
    assert!(found.uploads.iter().all(|it| it.since.is_some()), "{found:?}");
    found.uploads.len()
}

/// What is put in parts is kept as what is put at once, whatever is lost on the way. `server` begins anew with each
/// settings that it is asked for.
pub(crate) fn contract<L: Link + Clone + 'static>(link: &L, settings: &mut dyn FnMut() -> BucketSettings, part: u64) {
    let link = Meddled::new(link.clone());
    it_is_kept_and_read(&mut vault_in(cut(settings(), part), link.clone()), &link, part);
    link.unhindered();
    an_answer_that_was_lost_is_looked_for(&vault_in(cut(settings(), part), link.clone()), &link, part);
    link.unhindered();
    an_error_in_an_answer_of_200_is_none_of_success(&vault_in(cut(settings(), part), link.clone()), &link, part);
    link.unhindered();
    what_a_crash_leaves_is_named_and_aborted(&mut vault_in(cut(settings(), part), link.clone()), &link, part);
}

fn it_is_kept_and_read<L>(subject: &mut InBucket, link: &Meddled<L>, part: u64) {
    let counted = Arc::new(Mutex::new(Vec::new()));
    let counting = Arc::clone(&counted);
    link.by(move |asks| {
        counting.lock().expect("nobody panics").push(asks);
        Way::Through
    });
    let bytes = bytes(1, part);
    let sealed = store(&*subject.vault(), 1, 1, &bytes);
    assert_eq!(
        storage_of(&sealed).version,
        None,
        "who seals does not wait for what is in parts"
    );
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
    let asked = |asks: Asks| {
        counted
            .lock()
            .expect("nobody panics")
            .iter()
            .filter(|it| **it == asks)
            .count()
    };
    let counts = [Asks::Begin, Asks::Part, Asks::Complete, Asks::Abort].map(asked);
    assert_eq!(counts, [1, 3, 1, 0]);

    let receipt = subject.receipt(artefact(&sealed)).expect("it has one");
    let storage = &receipt.storage;
    assert_eq!(
        storage.sha256,
        storage_of(&sealed).sha256,
        "it is the hash of all its bytes"
    );
    assert_eq!(storage.write_once, WriteOnce::LockGovernance);
    let name = staunch_store::DirVault::object_name(storage.sha256);
    let version = storage.version.as_deref().expect("it has one");
    let until = storage.retain_until.expect("it is kept");
    subject
        .bucket
        .check_kept(&name, version, until, storage.sha256, Instant::now() + WITHIN)
        .expect("it is kept as it was asked to be");
    assert!(read(subject, artefact(&sealed)) == bytes, "it is what was sealed");
    subject.reopen();
    assert!(read(subject, artefact(&sealed)) == bytes, "it is what was sealed");

    // The same again is what is there, and is sent no second time.
    store(&*subject.vault(), 1, 2, &bytes);
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
    assert_eq!(sent.artefacts[0].receipt, receipt);
    assert_eq!((asked(Asks::Begin), left_behind(subject)), (1, 0));
}

fn an_answer_that_was_lost_is_looked_for<L>(subject: &InBucket, link: &Meddled<L>, part: u64) {
    let bytes = bytes(2, part);
    let sealed = store(&*subject.vault(), 1, 1, &bytes);
    let mut begun = 0;
    link.by(move |asks| {
        begun += usize::from(asks == Asks::Begin);
        assert!(begun < 2, "it is there, and is sent again");
        match asks {
            Asks::Complete => Way::Lost,
            _ => Way::Through,
        }
    });
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
    assert!(read(subject, artefact(&sealed)) == bytes, "it is what was sealed");
    assert_eq!(left_behind(subject), 0);
}

fn an_error_in_an_answer_of_200_is_none_of_success<L>(subject: &InBucket, link: &Meddled<L>, part: u64) {
    let bytes = bytes(4, part);
    let sealed = store(&*subject.vault(), 1, 1, &bytes);
    let mut completions = 0;
    link.by(move |asks| {
        completions += usize::from(asks == Asks::Complete);
        match asks {
            Asks::Complete if completions == 1 => Way::Answered(200, INTERNAL_ERROR),
            _ => Way::Through,
        }
    });
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
    assert!(read(subject, artefact(&sealed)) == bytes, "it is what was sealed");
    assert_eq!(left_behind(subject), 0);
}

fn what_a_crash_leaves_is_named_and_aborted<L>(subject: &mut InBucket, link: &Meddled<L>, part: u64) {
    let bytes = bytes(3, part);
    let sealed = store(&*subject.vault(), 1, 1, &bytes);
    let mut parts = 0;
    link.by(move |asks| {
        parts += usize::from(asks == Asks::Part);
        if parts > 1 { Way::Away } else { Way::Through }
    });
    let sent = subject.dir_vault().send().expect("what waits can be listed");
    let failure = sent.failure.expect("the bucket is away");
    assert_eq!(
        (failure.kind, sent.artefacts.len()),
        (FailureKind::Unavailable, 0),
        "{failure}"
    );
    assert!(read(subject, artefact(&sealed)) == bytes, "it is kept here");
    link.unhindered();
    assert_eq!(left_behind(subject), 1, "nobody could abort it");
    // The next start aborts it before anything is sent.
    subject.reopen();
    link.by(|asks| match asks {
        Asks::Begin | Asks::Other => Way::Away,
        _ => Way::Through,
    });
    let sent = subject.dir_vault().send().expect("what waits can be listed");
    assert_eq!(sent.artefacts.len(), 0);
    link.unhindered();
    assert_eq!(left_behind(subject), 0);
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
    assert!(read(subject, artefact(&sealed)) == bytes, "it is what was sealed");
}
