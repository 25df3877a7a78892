//! What the kernel says of a process whose name is of an attacker's choosing.
//!
//! What holds: the number stands before the name, and nothing of the name is a field: whatever bytes it has, all else
//! of the process is as it is without them.

use staunch_connectors::proc::Stat;

/// What the kernel counts.
const REST: &[u8] = b") S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 153452 41070592 2837\n";

/// Reads the bytes as a line, and then as the name in one.
pub fn run(data: &[u8]) {
    if let Some(stat) = Stat::parse(data) {
        let name = Stat::name(data).expect("a process has a name");
        let open = data
            .iter()
            .position(|byte| *byte == b'(')
            .expect("a name is in parentheses");
        let number = std::str::from_utf8(&data[..open]).expect("a number is text");
        assert_eq!(number.trim().parse(), Ok(stat.pid));
        let after = &data[open + 1 + name.len()..];
        assert!(
            after[0] == b')' && !after[1..].contains(&b')'),
            "a part of the name is read"
        );
        let plain = [&data[..=open], b"plain", after].concat();
        assert_eq!(Stat::parse(&plain), Some(stat), "the name decides");
        assert!(!stat.has_ended() || stat.threads() <= 1);
    }
    let line = [b"4242 (", data, REST].concat();
    let stat = Stat::parse(&line).expect("a process");
    assert_eq!((stat.pid, stat.parent, stat.started), (4242, 7, 153_452));
    assert_eq!((stat.state(), stat.threads()), ('S', 3));
    assert!(!stat.has_ended() && !stat.is_kernel_thread());
    assert_eq!(Stat::name(&line), Some(data));
}
