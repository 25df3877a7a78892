//! Tests of the connectors against recorded data, fakes and live systems.

mod block_ip;
mod block_ip_nftables;
mod block_ip_setting;
mod freeze_process;
mod freeze_process_setting;
mod isolate_host;
mod isolate_host_nftables;
mod journald;
mod kill_process;
mod processes;
mod sources;
mod traffic;
