//! The way to a running Staunch: its HTTP API.
//!
//! Never goes through a proxy and never shows the token. Where no address is named it goes to the server of this
//! machine, by the operators' socket in its data directory when this user may open that: senders cannot take that way
//! away.

mod local;
pub(crate) mod secure;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use staunch_model::{Printable, Span};
use staunch_server::auth::Right;
use staunch_server::dto::{CommandReply, INDEX_LAG_HEADER, INDEX_TROUBLE_HEADER, Problem, is_blank};
use ureq::http::{Response, StatusCode};
use ureq::typestate::WithoutBody;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Body, RequestBuilder, Timeout};

use crate::cli::ServerArgs;
use crate::commands::told_mistake;
use crate::config::{self, Config, Unusable};
use crate::exit::{Exit, Fault};
use crate::files::{data_dir_must_be_there, is_missing, must_be_there, read_bounded};
use crate::output::{say, warn_wrapped};
use local::LocalConnector;
pub(crate) use local::is_served;

/// The variable that names the address of a server.
pub(crate) const URL_VARIABLE: &str = "STAUNCH_URL";

/// The largest answer that is read: a list of 100,000 containments has about 50 MB.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// How long an answer may take to begin, also one that has no end: longer than the server waits for its engine.
const ANSWER_BEGINS_WITHIN: Duration = Duration::from_secs(45);

/// After how long people are told that there is no answer yet.
const TOLD_AFTER: Duration = Duration::from_secs(3);

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    connect: Duration,
    /// Until the end of the answer; `None` for an answer that has none.
    whole: Option<Duration>,
}

impl Patience {
    /// For everyday commands.
    pub(crate) const USUAL: Self = Self {
        connect: Duration::from_secs(3),
        whole: Some(Duration::from_secs(60)),
    };
    /// For the big red button: somebody is waiting for the bleeding of the business to stop.
    pub(crate) const SHORT: Self = Self {
        connect: Duration::from_secs(1),
        whole: Some(Duration::from_secs(5)),
    };
    /// For what has no end.
    pub(crate) const ENDLESS: Self = Self {
        connect: Duration::from_secs(3),
        whole: None,
    };
}

/// A client of one Staunch.
pub(crate) struct Client {
    agent: Agent,
    url: String,
    /// How people are told where it is.
    shown: String,
    token: Option<String>,
    patience: Patience,
    /// What the command needs that this client looks for.
    purpose: Right,
    /// Whether people were told that the index is behind: once is enough for a command that asks several times.
    told_of_lag: AtomicBool,
}

/// `text` as one part of a path, or one value in a query (RFC 3986, section 2.3).
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

impl Client {
    /// # Errors
    /// When the address or the token cannot be used.
    pub(crate) fn new(args: &ServerArgs, patience: Patience) -> Result<Self, Fault> {
        let config = match args.url {
            Some(_) => Config::default(),
            None => local_config(args)?,
        };
        named_data_dir_must_be_there(args)?;
        Self::with(args, &config, patience)
    }

    /// A client that goes to the server of `config` when `args` name no other.
    ///
    /// # Errors
    /// When the address or the token cannot be used.
    pub(crate) fn with(args: &ServerArgs, config: &Config, patience: Patience) -> Result<Self, Fault> {
        named_url_must_not_be_blank(args)?;
        let socket = config.operators_socket();
        // Who shows a certificate wants to be known by it, and not as whoever may open the socket.
        let named = args.url.is_some() || args.client_cert.is_some();
        let socket = (!named && is_served(&socket)).then_some(socket);
        let url = match &args.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            // The operators' socket is in the clear: nobody is in between.
            None if config.http.tls.is_some() && socket.is_none() => {
                format!("https://{}", reachable(config.http.listen))
            }
            None => format!("http://{}", reachable(config.http.listen)),
        };
        let is_secure = url.starts_with("https://");
        if !is_secure && !url.starts_with("http://") {
            let what = format!("cannot use the address {}", Printable(&url));
            return Err(Fault::new(Exit::Usage, what).hint("write https://HOST:PORT or http://HOST:PORT"));
        }
        if !is_secure && args.client_cert.is_some() {
            let what = format!("{} is plain HTTP, where no certificate can be shown", Printable(&url));
            return Err(
                Fault::new(Exit::Usage, what).hint("name an https:// address with --url, or leave out --client-cert")
            );
        }
        let token = match &args.token_file {
            Some(path) => {
                let shown = path.display().to_string();
                let text = read_bounded(path, 4_096).map_err(|error| {
                    let exit = if is_missing(&error) {
                        Exit::NotFound
                    } else {
                        Exit::Usage
                    };
                    Fault::doing(exit, format!("cannot read the token in {}", Printable(&shown)), &error)
                        .hint("name the file that holds the output of `staunch token create`")
                })?;
                Some(text.trim().to_owned())
            }
            None => std::env::var("STAUNCH_TOKEN").ok(),
        };
        let token = token.filter(|token| !token.is_empty());
        if token
            .as_ref()
            .is_some_and(|token| !token.chars().all(|c| c.is_ascii_graphic()))
        {
            let fault = Fault::new(Exit::Usage, "the token holds characters that no token has");
            return Err(fault.hint("give it exactly as `staunch token create` printed it"));
        }
        let mut settings = Agent::config_builder();
        if is_secure {
            settings = settings.tls_config(secure::config(args)?);
        }
        let agent = settings
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(patience.connect))
            .timeout_global(patience.whole)
            .timeout_recv_response(Some(ANSWER_BEGINS_WITHIN))
            .build()
            .new_agent();
        let (agent, shown) = match socket {
            Some(path) => (
                Agent::with_parts(
                    agent.config().clone(),
                    LocalConnector(path.clone()),
                    DefaultResolver::default(),
                ),
                path.display().to_string(),
            ),
            None => (agent, url.clone()),
        };
        Ok(Self {
            agent,
            url,
            shown,
            token,
            patience,
            purpose: Right::Look,
            told_of_lag: AtomicBool::new(false),
        })
    }

    /// The same, for a command that needs `right`: who may not even look before it is told whose token the command
    /// takes.
    #[must_use]
    pub(crate) const fn meaning_to(mut self, right: Right) -> Self {
        self.purpose = right;
        self
    }

    /// Asks for `path` with the fields of `query` as its query string.
    ///
    /// # Errors
    /// See [`Client::post`].
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, Fault> {
        self.read(self.waiting(|| self.asking(path, query).call()))
    }

    /// Opens the stream of server-sent events at `path`, from behind the event `last` on if there is one.
    ///
    /// # Errors
    /// See [`Client::post`].
    pub(crate) fn stream(&self, path: &str, query: &impl Serialize, last: Option<&str>) -> Result<Body, Fault> {
        let mut request = self.asking(path, query);
        if let Some(id) = last {
            request = request.header("last-event-id", id);
        }
        let answer = self
            .waiting(|| request.call())
            .map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let mut body = answer.into_body();
        if status.is_success() {
            return Ok(body);
        }
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        Err(self.problem(status, &body.map_err(|error| self.unreachable(&error))?))
    }

    fn asking(&self, path: &str, query: &impl Serialize) -> RequestBuilder<WithoutBody> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(query) {
            for (key, value) in fields {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                request = request.query(key, text);
            }
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request
    }

    /// Sends `body` as JSON to `path`.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] when there is no answer, otherwise what the answer says.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Fault> {
        let bytes =
            serde_json::to_vec(body).map_err(|error| Fault::doing(Exit::Failed, "cannot write the request", &error))?;
        self.post_bytes(path, &bytes)
    }

    /// Sends `body` as it is to `path`.
    ///
    /// # Errors
    /// See [`Client::post`].
    pub(crate) fn post_bytes<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T, Fault> {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.read(self.waiting(|| request.send(body)))
    }

    /// What `ask` brings. Who waits for longer than an answer usually takes is told what for.
    fn waiting<T>(&self, ask: impl FnOnce() -> T) -> T {
        let (answered, answer) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if answer.recv_timeout(TOLD_AFTER) == Err(RecvTimeoutError::Timeout) {
                    say(&format!("waiting for {} to answer", Printable(&self.shown)));
                }
            });
            let asked = ask();
            drop(answered);
            asked
        })
    }

    /// Sends a command.
    ///
    /// # Errors
    /// As for [`Client::post`], and [`Exit::Refused`] when the engine refused it.
    pub(crate) fn command(&self, path: &str, body: &impl Serialize) -> Result<CommandReply, Fault> {
        let reply: CommandReply = self.post(path, body)?;
        match &reply.refused {
            Some(why) => Err(Fault::new(Exit::Refused, format!("refused: {why}")).hint(
                "`staunch containment list` shows what is in force, `staunch containment list --awaiting` what waits",
            )),
            None => Ok(reply),
        }
    }

    fn read<T: DeserializeOwned>(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<T, Fault> {
        let mut answer = answer.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let lag = answer.headers().get(INDEX_LAG_HEADER);
        let lag = lag.and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
        let trouble = answer.headers().get(INDEX_TROUBLE_HEADER);
        let trouble = trouble.and_then(|it| Some(it.to_str().ok()?.to_owned()));
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| self.unreachable(&error))?;
        if !status.is_success() {
            return Err(self.problem(status, &body));
        }
        if let Some(frames) = lag.filter(|frames| *frames > 0)
            && !self.told_of_lag.swap(true, Ordering::Relaxed)
        {
            let line = match trouble {
                Some(why) => format!(
                    "the index cannot be written: {}. {frames} frames of the journal are not in it, and what is \
                     newest is missing here; `staunch doctor` says what is wrong",
                    Printable(&why)
                ),
                None => {
                    format!(
                        "{frames} frames of the journal are not in the index yet: what is newest may be missing here"
                    )
                }
            };
            warn_wrapped(&line);
        }
        serde_json::from_slice(&body).map_err(|error| {
            Fault::doing(
                Exit::Failed,
                format!("{} gave an answer that cannot be read", Printable(&self.shown)),
                &error,
            )
            .hint("is the same version of Staunch running there? compare with `staunch version`")
        })
    }

    fn unreachable(&self, error: &ureq::Error) -> Fault {
        use std::io::ErrorKind as Kind;
        if let Some(fault) = secure::told(&self.shown, error) {
            return fault;
        }
        // Somebody is there: a server that has all its connections taken says so and closes, which may overtake its
        // words.
        if let ureq::Error::Io(cut) = error
            && matches!(
                cut.kind(),
                Kind::BrokenPipe | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::UnexpectedEof
            )
        {
            let what = format!("{} has cut the connection", Printable(&self.shown));
            return Fault::doing(Exit::Busy, what, error)
                .hint("it may have too many connections: try again in a moment");
        }
        if let ureq::Error::Timeout(at) = error
            && !matches!(at, Timeout::Resolve | Timeout::Connect)
        {
            let what = format!("{} takes connections and does not answer", Printable(&self.shown));
            let fault = Fault::new(Exit::Unreachable, what).because(self.waited(*at)).hint(
                "its process may be stopped, or wait for its disk. A command may still be carried out when it goes on: look \
                 with `staunch containment list` then",
            );
            return fault.silence();
        }
        let what = format!("no Staunch answers at {}", Printable(&self.shown));
        let fault = match error {
            ureq::Error::Timeout(at) => Fault::new(Exit::Unreachable, what).because(self.waited(*at)),
            _ => Fault::doing(Exit::Unreachable, what, error),
        };
        fault.hint("start it with `staunch serve`, or name its address with --url or STAUNCH_URL")
    }

    /// What was waited for, and for how long.
    fn waited(&self, at: Timeout) -> String {
        let (what, time) = match at {
            Timeout::Resolve | Timeout::Connect => ("there was no connection", Some(self.patience.connect)),
            Timeout::RecvResponse => ("no answer has begun", Some(ANSWER_BEGINS_WITHIN)),
            _ => ("there was no whole answer", self.patience.whole),
        };
        match time {
            Some(time) => format!("{what} within {}", span_of(time)),
            None => format!("{what} in time"),
        }
    }

    fn problem(&self, status: StatusCode, body: &[u8]) -> Fault {
        let problem = serde_json::from_slice::<Problem>(body).unwrap_or_default();
        let exit = match status.as_u16() {
            422 if !problem.mistakes.is_empty() => Exit::Usage,
            401 | 403 => Exit::Denied,
            404 => Exit::NotFound,
            409 | 422 => Exit::Refused,
            400 | 405 | 413 | 415 => Exit::Usage,
            // A proxy whose server is just starting says 502 or 504.
            429 | 502..=504 => Exit::Busy,
            _ => Exit::Failed,
        };
        let mut detail = match (problem.detail.is_empty(), problem.title.is_empty()) {
            (false, _) => problem.detail,
            (true, false) => problem.title,
            (true, true) => format!("{} answered with status {status}", Printable(&self.shown)),
        };
        if let Some(position) = problem.position {
            detail.push_str(&format!(" (at byte {position})"));
        }
        for error in problem.errors.iter().take(3) {
            detail.push_str(&format!(
                "\n  element {}, byte {}: {}",
                error.index, error.offset, error.what
            ));
        }
        for mistake in &problem.mistakes {
            detail.push_str(&format!("\n  {}", told_mistake(mistake)));
        }
        let fault = Fault::new(exit, detail);
        // The server's hint is for those who write requests; here the program writes them.
        if status == StatusCode::UNAUTHORIZED && self.token.is_none() {
            return fault.hint(
                "put an operator's token into STAUNCH_TOKEN; or, on its own machine, run this as the user of the server, with \
                 STAUNCH_CONFIG set to its configuration",
            );
        }
        let looks = problem.hint.as_deref() == Some(Right::Look.hint());
        if status == StatusCode::FORBIDDEN && looks {
            return fault.hint(self.purpose.hint());
        }
        match (problem.hint, exit) {
            (Some(hint), _) => fault.hint(hint),
            (None, Exit::Denied) => fault.hint("put a token with the role operator into STAUNCH_TOKEN"),
            (None, Exit::Usage) if !problem.known.is_empty() => {
                fault.hint(format!("known: {}", problem.known.join(", ")))
            }
            (None, Exit::Busy) => fault.hint("try again in a moment"),
            (None, _) => fault,
        }
    }
}

/// The configuration of the server of this machine. A file that was named must be readable. That of the machine may be
/// for its server's user alone: others, who come with a token, find the server where one is by default. Of one with
/// mistakes it is enough that it tells where the server is, which runs with what it read at its start.
fn local_config(args: &ServerArgs) -> Result<Config, Fault> {
    let named = args.data.config.config.as_deref();
    let data_dir = args.data.data_dir.as_ref();
    let with_data_dir = |mut config: Config| {
        if let Some(dir) = data_dir {
            config.data_dir.clone_from(dir);
        }
        config
    };
    let unusable = match config::read(named) {
        Ok(loaded) => return Ok(with_data_dir(loaded.config)),
        Err(Unusable::Unreadable(fault)) if named.is_none() && fault.exit == Exit::Denied => {
            return Ok(with_data_dir(Config::default()));
        }
        Err(unusable) => unusable,
    };
    let found = unusable.salvage().filter(|it| {
        let knows_data_dir = it.knows_data_dir || data_dir.is_some();
        let is_served = || is_served(&with_data_dir(it.config.clone()).operators_socket());
        knows_data_dir && (it.knows_address || is_served())
    });
    match found {
        Some(found) => {
            unusable.say_going_on();
            Ok(with_data_dir(found.config))
        }
        // Its socket is in the data directory, which they have named.
        None if data_dir.is_some() => {
            unusable.say_going_on();
            Ok(with_data_dir(Config::default()))
        }
        None => Err(unusable
            .fault()
            .hint("mend it; meanwhile --data-dir or --url reaches a server that runs")),
    }
}

/// Makes sure that the files which say how a server is reached are there, for who could do without the server.
///
/// # Errors
/// [`Exit::NotFound`] with the first that is not.
pub(crate) fn named_files_must_be_there(args: &ServerArgs) -> Result<(), Fault> {
    let files = [&args.token_file, &args.ca, &args.client_cert, &args.client_key];
    let hint = "name a file that is there, or leave out the option";
    files.iter().try_for_each(|file| must_be_there(file.as_slice(), hint))
}

/// Makes sure that an address that is given is one: an empty variable is a slip in a script or a unit, and says neither
/// that this machine is meant nor which other.
///
/// # Errors
/// [`Exit::Usage`] when it is blank.
pub(crate) fn named_url_must_not_be_blank(args: &ServerArgs) -> Result<(), Fault> {
    if !args.url.as_deref().is_some_and(is_blank) {
        return Ok(());
    }
    let of_environment = std::env::var(URL_VARIABLE).is_ok_and(|it| is_blank(&it));
    let (what, hint) = if of_environment {
        (
            format!("{URL_VARIABLE} is set but empty"),
            format!("`unset {URL_VARIABLE}` to reach the Staunch of this machine, or set it to https://HOST:PORT"),
        )
    } else {
        (
            "--url is given but empty".to_owned(),
            "leave it out to reach the Staunch of this machine, or write https://HOST:PORT".to_owned(),
        )
    };
    Err(Fault::new(Exit::Usage, what).hint(hint))
}

/// Makes sure that the data directory is there that is named on the command line. Who names one wants the server that
/// has it, and not the one at the usual address.
///
/// # Errors
/// [`Exit::NotFound`] when it is not.
pub(crate) fn named_data_dir_must_be_there(args: &ServerArgs) -> Result<(), Fault> {
    match &args.data.data_dir {
        Some(dir) if args.url.is_none() => data_dir_must_be_there(dir),
        _ => Ok(()),
    }
}

/// As a span, to be shown.
fn span_of(time: Duration) -> Span {
    Span::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Where a server that listens at `listen` is reached from its own machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use crate::cli::DataArgs;

    use super::*;

    #[test]
    fn a_server_that_stands_still_is_told_from_one_that_is_not_there() {
        const HASTY: Patience = Patience {
            connect: Duration::from_secs(3),
            whole: Some(Duration::from_millis(200)),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let address = listener.local_addr().expect("it has one");
        let args = ServerArgs {
            url: Some(format!("http://{address}")),
            token_file: None,
            ca: None,
            client_cert: None,
            client_key: None,
            data: DataArgs {
                config: crate::cli::ConfigArgs { config: None },
                data_dir: None,
            },
        };
        let ask = || {
            let client = Client::with(&args, &Config::default(), HASTY).expect("a client");
            let fault = client
                .get::<serde_json::Value>("/v1/status", &())
                .expect_err("no answer");
            assert_eq!(fault.exit, Exit::Unreachable);
            fault.told()
        };
        // The kernel takes the connection, and nobody answers.
        let told = ask();
        assert!(
            told.ends_with("takes connections and does not answer: there was no whole answer within 200ms"),
            "{told}"
        );
        drop(listener);
        let told = ask();
        assert!(told.contains("no Staunch answers at"), "{told}");
    }
}
