//! Tests of the connectors against recorded data, fakes and live systems.

mod block_ip;
mod block_ip_nftables;
mod block_ip_setting;
mod journald;
mod sources;
mod traffic;
