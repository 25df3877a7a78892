use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use super::super::testing::Taker;
use super::*;

struct Lines;

impl Opens for Lines {
    fn open(&mut self, message: &[u8], batch: &mut Batch) -> Added {
        batch.add(message)
    }
}

/// An attendant that nobody runs, and that closes for another one who was silent for `idle_min`.
fn attendant(listener: Listener, connections_max: usize, idle_min: Duration) -> Attendant {
    let limits = Limits {
        connections_max,
        connections_per_peer_max: 2,
        idle_min,
        message_bytes_max: 100,
        framing: Framing::Lines,
    };
    let (taker, sink) = Taker::new();
    Attendant::new(listener, limits, Box::new(Lines), taker.tally, sink)
}

/// An attendant of a network of addresses of this machine.
fn network(connections_max: usize, idle_min: Duration) -> (Attendant, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("it is bound");
    let from = vec!["127.0.0.0/8".parse().expect("a network")];
    (
        attendant(Listener::Tcp(listener, from), connections_max, idle_min),
        address,
    )
}

/// Connects from `127.0.0.n`.
fn connect_from(n: u8, to: SocketAddr) -> TcpStream {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
    let flags = SockFlag::SOCK_CLOEXEC;
    let stream = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("a socket");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&stream);
    bind(fd, &SockaddrIn::new(127, 0, 0, n, 0)).expect("an address of this machine");
    connect(fd, &SockaddrIn::new(127, 0, 0, 1, to.port())).expect("it listens");
    stream.into()
}

fn unix(connections_max: usize, idle_min: Duration) -> (tempfile::TempDir, Attendant) {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = UnixListener::bind(directory.path().join("s")).expect("it is our directory");
    listener.set_nonblocking(true).expect("a socket");
    (
        directory,
        attendant(Listener::Unix(listener), connections_max, idle_min),
    )
}

/// The ports of those that are connected.
fn ports(attendant: &Attendant) -> Vec<u16> {
    use nix::sys::socket::{SockaddrIn, getpeername};
    let connections = attendant.connections.iter();
    let mut ports: Vec<u16> = connections
        .map(|it| {
            let fd = std::os::fd::AsRawFd::as_raw_fd(&it.stream);
            getpeername::<SockaddrIn>(fd).expect("it is connected").port()
        })
        .collect();
    ports.sort_unstable();
    ports
}

fn port(stream: &TcpStream) -> u16 {
    stream.local_addr().expect("it is bound").port()
}

#[test]
fn who_is_silent_makes_room_on_a_socket_that_knows_no_addresses() {
    let (directory, mut attendant) = unix(3, Duration::ZERO);
    let connect = || UnixStream::connect(directory.path().join("s")).expect("it listens");
    let streams: Vec<UnixStream> = (0..3).map(|_| connect()).collect();
    assert!(attendant.accept());
    assert_eq!(attendant.connections.len(), 3, "no limit of one address holds here");
    // The first is heard of last.
    attendant.connections[0].heard_at = Instant::now();
    let mut further = connect();
    assert!(attendant.accept());
    assert_eq!(attendant.connections.len(), 3);
    assert!(further.write_all(b"x").is_ok(), "it was taken up");
    let is_open = |mut stream: &UnixStream| stream.write_all(b"x").is_ok();
    assert_eq!(streams.iter().map(is_open).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn who_was_heard_of_just_now_makes_no_room() {
    let (directory, mut attendant) = unix(2, IDLE_MIN);
    let connect = || UnixStream::connect(directory.path().join("s")).expect("it listens");
    let streams: Vec<UnixStream> = (0..3).map(|_| connect()).collect();
    assert!(attendant.accept());
    let is_open = |mut stream: &UnixStream| stream.write_all(b"x").is_ok();
    assert_eq!(streams.iter().map(is_open).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn at_the_limit_of_one_address_only_its_own_connections_make_room() {
    let (mut attendant, address) = network(8, Duration::ZERO);
    let another = connect_from(2, address);
    assert!(attendant.accept());
    let (first, second) = (connect_from(1, address), connect_from(1, address));
    assert!(attendant.accept());
    let third = connect_from(1, address);
    assert!(attendant.accept());
    let mut expect = vec![port(&another), port(&second), port(&third)];
    expect.sort_unstable();
    assert_eq!(
        ports(&attendant),
        expect,
        "{} was silent longest of its address",
        port(&first)
    );

    attendant.limits.idle_min = IDLE_MIN;
    let _fourth = connect_from(1, address);
    assert!(attendant.accept());
    assert_eq!(ports(&attendant), expect);
}

#[test]
fn taking_up_connections_has_an_end() {
    let (directory, mut attendant) = unix(2 * ACCEPTS_MAX, IDLE_MIN);
    let connect = |_| UnixStream::connect(directory.path().join("s")).expect("it listens");
    let _streams: Vec<UnixStream> = (0..=ACCEPTS_MAX).map(connect).collect();
    assert!(attendant.accept());
    assert_eq!(attendant.connections.len(), ACCEPTS_MAX);
    assert!(attendant.accept());
    assert_eq!(attendant.connections.len(), ACCEPTS_MAX + 1);
}
