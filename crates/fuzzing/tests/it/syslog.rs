//! The target of syslog, over streams that are made of what messages are made of.

use proptest::prelude::*;

const PARTS: &[&str] = &[
    "<13>",
    "<191>",
    "<192>",
    "<",
    ">",
    "1 ",
    "5 ",
    "17 ",
    "301 ",
    "- ",
    "-",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\0",
    "[",
    "]",
    "[a b=\"c\"]",
    "=",
    "\"",
    "\\",
    "\\\"",
    "\u{feff}",
    "@cee:",
    "Nov  6 03:00:00",
    "Nov  6 2026 03:00:00.5:",
    "2026-11-06T03:00:00Z",
    "host",
    "2001:db8::1",
    "app:",
    "app[7]:",
    "app[7]",
    "%X:",
    "{\"a\": 1}",
    "é",
    "12345678901",
];

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => prop::sample::select(PARTS).prop_map(|part| part.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
        1 => (200_usize..400).prop_map(|count| vec![b'x'; count]),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn streams_are_cut_and_read_the_same_however_they_arrive(bytes in stream()) {
        staunch_fuzzing::syslog::run(&bytes);
    }
}
