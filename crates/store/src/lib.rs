//! Durable things: the segment journal, the snapshot store and the SQLite index.
