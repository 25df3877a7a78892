//! The HTTP API: event intake, queries and operator commands, with bearer tokens, signatures and TLS.
//!
//! Never decides anything: it asks the runtime and the index, and passes commands on with the name of who asks.

mod api;
mod app;
pub mod auth;
mod body;
mod connection;
mod convert;
pub mod dto;
mod etag;
mod files;
mod limits;
mod openapi;
mod problem;
mod routes;
pub mod senders;
mod service;
mod sometimes;
pub mod tls;
pub mod unpack;
mod view;

pub use auth::{Identity, Role, TokenEntry, Tokens, TokensError};
pub use files::{FileError, Stamp, read_secret, stamp};
pub use limits::HttpLimits;
pub use senders::{Scheme, SenderSettings, Senders, SendersError};
pub use service::{
    BLOCKING_THREADS_MAX, Configured, Drills, NotRecorded, NotReloaded, RecordReload, ReloadDone, Reloads, Server,
    ServerFuture, Service, WORKERS, in_process, serve, serve_with_operators,
};
pub use tls::{ClientAuth, ClientIdentity, Subject, Tls, TlsError, TlsSettings};
