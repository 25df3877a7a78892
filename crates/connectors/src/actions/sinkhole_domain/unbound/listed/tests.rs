//! Lists as Unbound writes them, and as it does not.

use std::fmt::Write as _;
use std::io;

use proptest::prelude::*;

use super::lines::LINE_BYTES_MAX;
use super::*;

const LABEL: &str = "staunch:a0a0a0a0a0a0a0a0:TX-7";

fn domain(name: &str) -> DomainName {
    name.parse().expect("a domain")
}

fn listed(zones: &str, data: &str, wanted: &[&str]) -> Listed {
    let wanted: Vec<DomainName> = wanted.iter().map(|it| domain(it)).collect();
    let mut listed = Listed::of(&wanted);
    listed.read_data(data.as_bytes()).expect("it is data");
    listed.read_zones(zones.as_bytes()).expect("they are zones");
    listed
}

fn standing(zones: &str, data: &str, name: &str) -> Standing {
    listed(zones, data, &[name]).standing(&domain(name))
}

fn held(kind: Option<&str>) -> Standing {
    Standing::Held {
        label: Label::parse(LABEL).expect("a label"),
        kind: kind.map(Into::into),
    }
}

#[test]
fn a_label_says_whose_a_name_is_and_a_zone_what_is_around_it() {
    let ours = format!("evil.example.\t10\tIN\tTXT\t\"{LABEL}\"\n\n");
    let zone = "evil.example. always_nxdomain\n";
    assert_eq!(standing(zone, &ours, "evil.example"), held(Some("always_nxdomain")));
    assert_eq!(
        standing("EVIL.example. static\n", &ours, "evil.example"),
        held(Some("static"))
    );
    assert_eq!(standing("example. transparent\n", &ours, "evil.example"), held(None));
    assert_eq!(
        standing("evil2.example. static\nle. static\n", "", "evil.example"),
        Standing::Absent
    );
    let within = standing(zone, &ours, "www.evil.example");
    assert!(
        matches!(within, Standing::Within { label, .. } if label.to_string() == LABEL),
        "{within:?}"
    );
    assert_eq!(standing(zone, &ours, "notevil.example"), Standing::Absent);
    // One of Staunch's below leaves the name free; somebody else's does not.
    let below = format!("a.evil.example.\t10\tIN\tTXT\t\"{LABEL}\"\n");
    let zones = "a.evil.example. always_nxdomain\n";
    assert_eq!(standing(zones, &below, "evil.example"), Standing::Absent);
    let foreign = |zones: &str, data: &str, says: &str| match standing(zones, data, "evil.example") {
        Standing::Foreign(text) => assert!(text.contains(says), "{text}"),
        other => panic!("{other:?} is to be somebody else's"),
    };
    foreign(zones, "", "the zone a.evil.example. of type always_nxdomain below it");
    foreign(zone, "", "a zone of type always_nxdomain");
    foreign("example. static\n", "", "the zone example. of type static above it");
    foreign(". static\n", "", "the zone . of type static above it");
    foreign(zone, "evil.example. 10 IN TXT \"somebody\"\n", "somebody");
    foreign(
        zone,
        "evil.example.\t10\tIN\tTXT\t\"staunch:\" \"a0a0a0a0a0a0a0a0:TX-7\"\n",
        "a zone",
    );
    foreign(zone, &ours.replace("TX-7", "TX-07"), "TX-07");
    foreign(
        zone,
        &format!("{ours}{}", ours.replace("TX-7", "TX-8")),
        "TX-7 and staunch",
    );
}

#[test]
fn only_what_is_ours_is_lifted() {
    let ours = format!("evil.example.\t10\tIN\tTXT\t\"{LABEL}\"\n\n");
    let lift = |zones: &str, more: &str| {
        let name = "evil.example";
        listed(zones, &format!("{ours}{more}"), &[name]).lift(&domain(name))
    };
    let zone = "evil.example. always_nxdomain\n";
    assert_eq!(lift(zone, ""), Lift::Zone);
    assert_eq!(lift("example. static\n", ""), Lift::Data);
    assert_eq!(lift(zone, "www.evil.example.\t10\tIN\tA\t192.0.2.1\n"), Lift::Label);
    let below = format!("{zone}a.evil.example. static\n");
    assert_eq!(lift(&below, "b.a.evil.example.\t10\tIN\tA\t192.0.2.1\n"), Lift::Zone);
    let address = "evil.example.\t10\tIN\tA\t192.0.2.1\n";
    assert_eq!(lift(zone, address), Lift::InTheWay);
    assert_eq!(lift("evil.example. redirect\n", address), Lift::Zone);
    assert_eq!(lift(zone, "evil.example. 9 IN TXT \"a note\"\n"), Lift::InTheWay);
}

#[test]
fn what_is_no_list_is_not_read_as_an_empty_one() {
    let wanted = [domain("evil.example")];
    let zones = |bytes: &[u8]| Listed::of(&wanted).read_zones(bytes);
    let data = |bytes: &[u8]| Listed::of(&wanted).read_data(bytes);
    assert!(zones(b"").is_ok() && data(b"\n\nBADRR\n").is_ok());
    for bytes in [
        &b"error unknown command 'list'\n"[..],
        b"evil.example.\n",
        b"evil.example static\n",
        b"\n",
        b"\xff. x\n",
    ] {
        assert!(matches!(zones(bytes), Err(Unreadable::Garbled)), "{bytes:?}");
    }
    for bytes in [
        &b"error unknown command\n"[..],
        b"evil.example.\tten\tIN\tA\tx\n",
        b"\xff\n",
    ] {
        assert!(matches!(data(bytes), Err(Unreadable::Garbled)), "{bytes:?}");
    }
    for cut in [zones(b"evil.example. sta"), data(b"evil.example.\t10\tIN\tTXT\t\"stau")] {
        assert!(matches!(cut, Err(Unreadable::Io(_))), "{cut:?}");
    }
    assert!(matches!(zones(&[b'a'; LINE_BYTES_MAX + 2]), Err(Unreadable::Io(_))));
    let long = format!(
        "evil.example.\t9\tIN\tTXT\t\"{}\"\nb.example.\t1\tIN\tA\tx\n",
        "x".repeat(70_000)
    );
    assert!(data(long.as_bytes()).is_ok(), "a long value is left out");
    // A label behind what is no text is none.
    let line = [
        b"evil.example.\t9\tIN\tTXT\t\"\xff".as_slice(),
        LABEL.as_bytes(),
        b"\"\n",
    ]
    .concat();
    let mut read = Listed::of(&wanted);
    read.read_data(line.as_slice()).expect("it is data");
    assert_eq!(read.labels().count(), 0);
}

#[test]
fn more_than_the_bound_is_not_kept() {
    let mut text = String::new();
    for at in 0..=KEPT_MAX {
        writeln!(text, "n{at}.evil.example. static").expect("a string takes all");
    }
    let read = Listed::of([&domain("evil.example")]).read_zones(text.as_bytes());
    assert!(matches!(read, Err(Unreadable::TooMuch(_))));
    assert!(
        Listed::of([&domain("other.example")])
            .read_zones(text.as_bytes())
            .is_ok()
    );
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_are_read_alike(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1_usize..40) {
        struct Pieces<'a>(&'a [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let size = self.1.min(buffer.len());
                self.0.read(&mut buffer[..size])
            }
        }
        let lines = |from: &mut dyn Read| {
            let mut lines = Vec::new();
            let read = each_line(from, |line, whole| {
                lines.push((line.to_vec(), whole));
                Ok(())
            });
            (lines, read.is_ok())
        };
        prop_assert_eq!(lines(&mut Pieces(&bytes, size)), lines(&mut bytes.as_slice()));
    }

    #[test]
    fn a_name_turned_around_twice_is_itself(name in "([a-z0-9_-]{1,9}\\.){1,6}") {
        prop_assert_eq!(Turned::new(&name).name(), name);
    }
}
