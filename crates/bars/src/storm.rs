//! 1,000 offenders in one write: until all are in force and verified.

use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use staunch_netlink::nftables::{NewElement, Nft, TableOptions};

use crate::report::{Row, quantile};
use crate::server::{Server, alert, in_namespace};

const OFFENDERS: u32 = 1_000;
const ROUNDS: u32 = 5;

pub(crate) fn measure() -> Result<Vec<Row>, String> {
    in_namespace(run)
}

fn run() -> Result<Vec<Row>, String> {
    let mut floor = Vec::new();
    let mut nft = Nft::open("floor", Duration::from_secs(2)).map_err(|error| error.to_string())?;
    nft.ensure_table(TableOptions {
        elements_max: 65_536,
        track_flows: false,
    })
    .map_err(|error| error.to_string())?;
    for round in 0..ROUNDS {
        let addresses: Vec<_> = (0..OFFENDERS).map(|n| std::net::IpAddr::V4(source(round, n))).collect();
        let timeout = Duration::from_secs(3_600);
        let elements: Vec<_> = addresses
            .iter()
            .map(|address| NewElement {
                address: *address,
                timeout,
                comment: "floor",
            })
            .collect();
        let begun = Instant::now();
        nft.add_elements(&elements).map_err(|error| error.to_string())?;
        nft.get_elements(&addresses).map_err(|error| error.to_string())?;
        floor.push(begun.elapsed().as_secs_f64());
    }
    let server = Server::start("nftables")?;
    let mut connection = server.connect()?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        times.push(burst(&server, &mut connection, round)?);
    }
    let (figure, floor) = (quantile(&mut times, 0.5), quantile(&mut floor, 0.5));
    Ok(vec![Row {
        what: "1,000 offenders, one write",
        figure: format!("{:.0} ms", figure * 1e3),
        floor: format!("{:.1} ms", floor * 1e3),
        bar: "< 500 ms".into(),
        reached: figure < 0.5,
        numbers: vec![("seconds", figure), ("floor_seconds", floor)],
    }])
}

/// Seconds from one write with the alerts of `round` until as many blocks as in all rounds so far are verified.
pub(crate) fn burst(server: &Server, connection: &mut TcpStream, round: u32) -> Result<f64, String> {
    let lines: Vec<String> = (0..OFFENDERS).map(|n| alert(source(round, n))).collect();
    let body = lines.join("\n");
    let begun = Instant::now();
    server.post(connection, body.as_bytes())?;
    let end = server.wait_for("/in_force", u64::from((round + 1) * OFFENDERS), Duration::from_secs(30))?;
    Ok((end - begun).as_secs_f64())
}

fn source(round: u32, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + round * OFFENDERS + n)
}
