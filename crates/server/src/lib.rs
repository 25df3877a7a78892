//! The HTTP API: event intake, queries and operator commands, with bearer tokens.
