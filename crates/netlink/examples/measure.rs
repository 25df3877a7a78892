//! Measures single and batched changes of elements, in a network namespace of its own. It needs root.

use std::error::Error;
use std::io::{Write, stdout};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use staunch_netlink::namespace::run_in_new_net;
use staunch_netlink::nftables::{NewElement, Nft, TableOptions};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: u32 = 2_000;
const BATCH: u32 = 1_000;

fn main() -> Outcome<()> {
    run_in_new_net(|| {
        let mut nft = Nft::open("staunch", Duration::from_secs(10))?;
        nft.ensure_table(TableOptions {
            elements_max: 300_000,
            track_flows: false,
        })?;
        measure(&mut nft, "empty sets")?;
        for start in 0..100 {
            nft.add_elements(&elements(&addresses(0x0b00_0000 + start * BATCH)))?;
        }
        measure(&mut nft, "100,000 elements")?;
        let mut list = Vec::new();
        for _ in 0..9 {
            list.push(timed(|| nft.list_elements())?);
        }
        report("list", 100_000, &mut list)
    })?
}

fn measure(nft: &mut Nft, state: &str) -> Outcome<()> {
    writeln!(stdout(), "{state}:")?;
    let address = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
    let one = [NewElement {
        address,
        timeout: Duration::from_secs(3_600),
        comment: "t-1",
    }];
    let [mut add, mut get, mut intact, mut delete, mut absent] = [const { Vec::new() }; 5];
    for _ in 0..ROUNDS {
        add.push(timed(|| nft.add_elements(&one))?);
        get.push(timed(|| nft.get_element(address))?);
        intact.push(timed(|| nft.chains_intact())?);
        delete.push(timed(|| nft.delete_elements(&[address]))?);
        absent.push(timed(|| nft.get_element(address))?);
    }
    report("add", 1, &mut add)?;
    report("get present", 1, &mut get)?;
    report("get absent", 1, &mut absent)?;
    report("delete", 1, &mut delete)?;
    report("chains_intact", 1, &mut intact)?;
    let many = addresses(0x0a00_0000);
    let elements = elements(&many);
    let [mut add, mut get, mut delete] = [const { Vec::new() }; 3];
    for _ in 0..20 {
        add.push(timed(|| nft.add_elements(&elements))?);
        get.push(timed(|| nft.get_elements(&many))?);
        delete.push(timed(|| nft.delete_elements(&many))?);
    }
    report("add", many.len(), &mut add)?;
    report("get", many.len(), &mut get)?;
    report("delete", many.len(), &mut delete)
}

fn addresses(start: u32) -> Vec<IpAddr> {
    (start..start + BATCH).map(|it| Ipv4Addr::from(it).into()).collect()
}

fn elements(addresses: &[IpAddr]) -> Vec<NewElement<'static>> {
    let timeout = Duration::from_secs(3_600);
    addresses
        .iter()
        .map(|address| NewElement {
            address: *address,
            timeout,
            comment: "t-1",
        })
        .collect()
}

fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<Duration, E> {
    let started = Instant::now();
    work().map(|_| started.elapsed())
}

fn report(what: &str, count: usize, times: &mut [Duration]) -> Outcome<()> {
    times.sort_unstable();
    let micros = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    Ok(writeln!(
        stdout(),
        "  {what} x{count}: p50 {:.1} us, p99 {:.1} us",
        micros(50),
        micros(99)
    )?)
}
