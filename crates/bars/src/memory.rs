//! Resident memory of the real program with 100,000 open leases.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::report::Row;
use crate::server::{Server, alert, in_namespace};

const LEASES: u32 = 100_000;
const PER_POST: u32 = 2_000;

pub(crate) fn measure() -> Result<Vec<Row>, String> {
    in_namespace(run)
}

fn run() -> Result<Vec<Row>, String> {
    let server = Server::start("nftables")?;
    let empty = server.resident_bytes()?;
    let mut connection = server.connect()?;
    for first in (0..LEASES).step_by(PER_POST as usize) {
        let lines: Vec<String> = (first..first + PER_POST)
            .map(|n| alert(Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + n)))
            .collect();
        server.post(&mut connection, lines.join("\n").as_bytes())?;
        server.wait_for("/in_force", u64::from(first + PER_POST), Duration::from_secs(60))?;
    }
    let full = server.resident_bytes()?;
    #[allow(clippy::cast_precision_loss)]
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(vec![Row {
        what: "memory, 100,000 leases",
        figure: format!("{:.1} MiB", mib(full)),
        floor: format!("{:.1} MiB", mib(empty)),
        bar: "< 64 MiB".into(),
        reached: mib(full) < 64.0,
        numbers: vec![("mebibytes", mib(full)), ("empty_mebibytes", mib(empty))],
    }])
}
