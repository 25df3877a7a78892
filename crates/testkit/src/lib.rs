//! Fakes and contract suites that connectors and stores are held to. Development only.
