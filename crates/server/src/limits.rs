//! Every bound of the API, with the reason for its number.

use std::time::Duration;

/// What one client, and all of them together, may take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes of the body of one request for events. Default 8 MiB: a thousand events of 8 KiB.
    pub body_bytes_max: usize,
    /// Bytes of all bodies that are being read at the same time. Default 64 MiB. Beyond it the answer is "try again".
    pub buffered_bytes_max: usize,
    /// Connections at the same time. Default 1,024. Further ones are answered with 503 and closed.
    pub connections_max: usize,
    /// Of those, connections of one peer: an IPv4 address or an IPv6 /64. Default 256, so that nobody takes all of them
    /// alone.
    pub connections_per_peer_max: usize,
    /// How long a client may take for the head of a request, from its first byte on; and for that byte, on a new
    /// connection. Default 5 s: a head fits into a packet or two.
    pub head_timeout: Duration,
    /// How long a client may take for the body of a request. Default 30 s.
    pub body_timeout: Duration,
    /// How long a connection may be idle between two requests. Default 60 s.
    pub idle_timeout: Duration,
    /// How long a client may take no byte of an answer. Default 30 s.
    pub write_timeout: Duration,
    /// How long a request waits for the engine. Default 30 s. After that it is open whether it was carried out.
    pub answer_timeout: Duration,
    /// How often a stream that has nothing to tell says so, and how soon it ends after its token was revoked. Default
    /// 15 s: well below the minute after which much in between cuts a silent connection.
    pub keep_alive: Duration,
    /// How long requests that are under way may take when the server is stopped. Default 5 s.
    pub stop_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 8 << 20,
            buffered_bytes_max: 64 << 20,
            connections_max: 1_024,
            connections_per_peer_max: 256,
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            stop_timeout: Duration::from_secs(5),
        }
    }
}

impl HttpLimits {
    /// Bytes of all bodies that are being read before it is known who has sent them: a quarter of all, and one body at
    /// least. They are beside those of senders that have shown a token.
    pub(crate) fn strangers_bytes_max(&self) -> usize {
        (self.buffered_bytes_max / 4).max(self.body_bytes_max)
    }
}

/// Connections to the operators' socket: several times what people at one machine use. They are no part of
/// [`HttpLimits::connections_max`].
pub(crate) const OPERATOR_CONNECTIONS_MAX: usize = 32;

/// Bytes of the head of a request: eight times what common clients send at the most.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;

/// Bytes of the body of a command: a reason and two ids, with room for escapes.
pub(crate) const COMMAND_BYTES_MAX: usize = 16 << 10;

/// Bodies below this are decoded where they were read: that takes less than a tenth of a millisecond.
pub(crate) const DECODE_INLINE_BYTES_MAX: usize = 64 << 10;

/// Questions to the engine that may wait at the same time; each takes a thread.
pub(crate) const QUESTIONS_MAX: usize = 16;

/// Questions to the index that may be asked at the same time; each takes a thread.
pub(crate) const QUESTIONS_TO_INDEX_MAX: usize = 16;

/// Plans that may be made at the same time; each takes a thread and waits for a driver.
pub(crate) const PLANS_MAX: usize = 4;

/// How long a question waits for its turn and for the answer. A loop that takes longer is not healthy.
pub(crate) const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the index may take for an answer: a little less, so that who asks is told what was slow.
pub(crate) const INDEX_ANSWER_MAX: Duration = Duration::from_secs(4);

const _: () = assert!(
    INDEX_ANSWER_MAX.as_millis() < QUESTION_TIMEOUT.as_millis(),
    "it says so in time"
);

/// The longest time that a question waits for the index to take in what was durable when it was asked. It follows
/// within milliseconds. After a start, or on a slow disk, it may need longer, and the answer says how far behind it is.
pub(crate) const INDEX_WAIT_MAX: Duration = Duration::from_millis(500);

/// How often a question that waits for the index looks at it: a transaction of the index takes about as long.
pub(crate) const INDEX_LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// How long the removal of what former installations have left is waited for.
pub(crate) const LIFT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a reload is waited for. Reading 200,000 listed networks takes less than a second; what waits before it may
/// take as long again.
pub(crate) const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// After an error, how long the rest of a body is read and dropped, so that the client sees the answer.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// See [`LINGER`]: at most this many bytes.
pub(crate) const LINGER_BYTES_MAX: usize = 64 << 20;

/// Transactions looked at in one question, so that the engine is not held up: about a millisecond.
pub(crate) const TRANSACTIONS_PER_QUESTION_MAX: usize = 2_000;

/// Streams of what happens, of all clients together. Each takes a look at a counter ten times a second, and a question
/// to the index when something has happened.
pub(crate) const STREAMS_MAX: usize = 32;

/// Of those, streams of one who asks, by name: a console in some tabs and a program, so that no viewer can take all of
/// them.
pub(crate) const STREAMS_OF_ONE_MAX: usize = 8;

const _: () = assert!(
    STREAMS_OF_ONE_MAX * 4 <= STREAMS_MAX,
    "one leaves most of them to others"
);

/// How often a stream that has nothing to tell looks whether something has happened.
pub(crate) const STREAM_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long a stream waits after the index did not answer.
pub(crate) const STREAM_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long a stream that cannot tell what has happened says nothing of it. An index that is slow for a moment is no
/// news.
pub(crate) const STREAM_BEHIND_MAX: Duration = Duration::from_secs(3);

/// Entries that a stream reads at once.
pub(crate) const STREAM_PAGE: u32 = 200;

/// Rows of an answer when the request does not say.
pub(crate) const ROWS_DEFAULT: u32 = 100;

const _: () = assert!(
    QUESTIONS_MAX + QUESTIONS_TO_INDEX_MAX + PLANS_MAX < 64,
    "threads are left for decoding large bodies"
);

/// Networks of lists that are named when all protections are asked for: what a person reads through.
pub(crate) const LISTED_SHOWN_MAX: usize = 1_000;

/// The shortest prefix of an IPv4 network that a responder may protect. 10,000 networks can be protected by command
/// (`EXEMPTIONS_MAX` of the engine), so that no number of such commands takes more than a seventh of the address space
/// away from containment: to turn it off is for who may set the mode.
pub(crate) const RESPONDER_PREFIX_MIN_V4: u8 = 16;

/// The same of IPv6: the least that the registries allocate to a provider. 10,000 of the 2^32 there are are next to
/// nothing.
pub(crate) const RESPONDER_PREFIX_MIN_V6: u8 = 32;

/// How long the index may take to say who set the mode, which is then said without a name.
pub(crate) const WHO_TIMEOUT: Duration = Duration::from_secs(1);
