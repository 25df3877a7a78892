//! Tests of the connectors against recorded data, fakes and live systems.

mod accounts;
mod block_ip;
mod block_ip_nftables;
mod block_ip_setting;
mod evidence;
mod exec_job;
mod exec_job_setting;
mod freeze_process;
mod freeze_process_setting;
mod isolate_host;
mod isolate_host_nftables;
mod journald;
mod kill_process;
mod lock_account;
mod lock_account_setting;
mod lock_account_system;
mod logs;
mod notifiers;
mod processes;
mod sinkhole_domain;
mod sinkhole_domain_setting;
mod sources;
mod traffic;
