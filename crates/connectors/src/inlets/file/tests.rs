use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc;

use tempfile::TempDir;

use super::super::Delivery;
use super::*;

/// A directory with a file that grows, and who reads it.
struct Rig {
    directory: TempDir,
}

impl Rig {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        append(&self.path(name), text);
    }

    fn reader(&self, begin: Begin) -> Reader {
        Reader::new(FileSettings {
            path: self.path("eve.json"),
            place: self.path("places/eve"),
            begin,
        })
    }
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .expect("it is our directory");
    file.write_all(text.as_bytes()).expect("it is our directory");
}

/// Everything that there is at present, taken.
fn all(reader: &mut Reader) -> String {
    let mut text = Vec::new();
    while let Some(lines) = reader.next().expect("it can be read") {
        assert!(lines.ends_with(b"\n"));
        text.extend_from_slice(lines);
        reader.taken();
    }
    reader.rest();
    String::from_utf8(text).expect("text")
}

#[test]
fn whole_lines_are_handed_on_once() {
    let rig = Rig::new();
    let mut reader = rig.reader(Begin::Start);
    assert_eq!(all(&mut reader), "", "it need not be there");
    rig.append("eve.json", "one\ntwo\nthr");
    assert_eq!(all(&mut reader), "one\ntwo\n");
    rig.append("eve.json", "ee\n");
    assert_eq!(all(&mut reader), "three\n");
    assert_eq!(all(&mut reader), "");
}

#[test]
fn what_was_not_taken_is_handed_on_again() {
    let rig = Rig::new();
    let mut reader = rig.reader(Begin::Start);
    rig.append("eve.json", "one\n");
    for _ in 0..3 {
        assert_eq!(reader.next().expect("it can be read"), Some(&b"one\n"[..]));
    }
    reader.taken();
    assert_eq!(reader.next().expect("it can be read"), None);
}

#[test]
fn without_a_place_the_end_is_the_beginning_unless_told_otherwise() {
    let rig = Rig::new();
    rig.append("eve.json", "old\nhalf a li");
    let mut reader = rig.reader(Begin::End);
    assert_eq!(all(&mut reader), "");
    rig.append("eve.json", "ne\nnew\n");
    assert_eq!(all(&mut reader), "new\n", "the line that had begun is passed over");
    let mut again = rig.reader(Begin::Start);
    assert_eq!(all(&mut again), "", "a place was kept by then");
}

#[test]
fn a_restart_goes_on_where_it_was_and_repeats_what_was_not_taken() {
    let rig = Rig::new();
    rig.append("eve.json", "one\n");
    assert_eq!(all(&mut rig.reader(Begin::Start)), "one\n");
    rig.append("eve.json", "two\n");
    let mut killed = rig.reader(Begin::End);
    assert_eq!(killed.next().expect("it can be read"), Some(&b"two\n"[..]));
    drop(killed);
    assert_eq!(all(&mut rig.reader(Begin::End)), "two\n");
}

#[test]
fn rotation_loses_nothing_of_either_file() {
    let rig = Rig::new();
    let mut reader = rig.reader(Begin::Start);
    rig.append("eve.json", "one\n");
    assert_eq!(all(&mut reader), "one\n");
    fs::rename(rig.path("eve.json"), rig.path("eve.json.1")).expect("it is our directory");
    rig.append("eve.json.1", "two\n");
    assert_eq!(all(&mut reader), "two\n", "it has no successor yet");
    rig.append("eve.json", "three\n");
    // Whoever writes has not been told yet.
    assert_eq!(all(&mut reader), "three\n");
    rig.append("eve.json.1", "late\nwithout an end");
    rig.append("eve.json", "four\n");
    assert_eq!(all(&mut reader), "late\nfour\n");
    reader.grace = Duration::ZERO;
    assert_eq!(all(&mut reader), "without an end\n");
    rig.append("eve.json", "five\n");
    assert_eq!(all(&mut reader), "five\n");
}

#[test]
fn a_file_that_was_removed_does_not_hide_the_place_in_the_next() {
    let rig = Rig::new();
    rig.append("eve.json", "1\n");
    let mut reader = rig.reader(Begin::Start);
    assert_eq!(all(&mut reader), "1\n");
    fs::remove_file(rig.path("eve.json")).expect("it is our directory");
    rig.append("eve.json", "2\n");
    assert_eq!(all(&mut reader), "2\n");
    drop(reader);
    // The process ends while the removed file is still looked at; then the next one is rotated.
    rig.append("eve.json", "3\n");
    fs::rename(rig.path("eve.json"), rig.path("eve.json.1")).expect("it is our directory");
    rig.append("eve.json", "4\n");
    assert_eq!(all(&mut rig.reader(Begin::Start)), "3\n4\n");
}

#[test]
fn rotations_while_nobody_reads_are_caught_up_with() {
    let rig = Rig::new();
    rig.append("eve.json", "one\n");
    assert_eq!(all(&mut rig.reader(Begin::Start)), "one\n");
    rig.append("eve.json", "two\n");
    for (from, to) in [("eve.json.1", "eve.json.2"), ("eve.json", "eve.json.1")] {
        drop(fs::rename(rig.path(from), rig.path(to)));
    }
    rig.append("eve.json", "three\n");
    // Rotated once more. The times of the files say which is older.
    for (from, to) in [("eve.json.1", "eve.json.2"), ("eve.json", "eve.json.1")] {
        fs::rename(rig.path(from), rig.path(to)).expect("it is our directory");
    }
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    File::open(rig.path("eve.json.2"))
        .and_then(|file| file.set_modified(old))
        .expect("it is our file");
    rig.append("eve.json", "four\n");
    assert_eq!(all(&mut rig.reader(Begin::End)), "two\nthree\nfour\n");
}

#[test]
fn a_file_that_was_cut_is_read_from_its_start() {
    let rig = Rig::new();
    let mut reader = rig.reader(Begin::Start);
    rig.append("eve.json", "one\ntwo\nthree\n");
    assert_eq!(all(&mut reader), "one\ntwo\nthree\n");
    let cut = || {
        let file = OpenOptions::new().write(true).open(rig.path("eve.json"));
        file.and_then(|file| file.set_len(0)).expect("it is our file");
    };
    cut();
    rig.append("eve.json", "four\n");
    assert_eq!(all(&mut reader), "four\n");
    cut();
    rig.append("eve.json", "it is longer than before by now\n");
    assert_eq!(all(&mut reader), "it is longer than before by now\n");
}

#[test]
fn an_overlong_line_is_passed_over_and_costs_no_other() {
    let rig = Rig::new();
    let mut reader = rig.reader(Begin::Start);
    let long = "x".repeat(3 * PIECE_BYTES_MAX);
    rig.append("eve.json", &format!("one\n{long}\ntwo\n"));
    assert_eq!(all(&mut reader), "one\ntwo\n");
    assert_eq!((reader.lost(), reader.lost()), (1, 0));
    rig.append("eve.json", &long);
    assert_eq!(all(&mut reader), "");
    rig.append("eve.json", "still the same\nthree\n");
    assert_eq!(all(&mut reader), "three\n");
    assert_eq!(reader.lost(), 1, "it is one line");
}

#[test]
fn what_is_gone_before_it_was_read_counts_as_lost() {
    let rig = Rig::new();
    rig.append("eve.json", "one\n");
    assert_eq!(all(&mut rig.reader(Begin::Start)), "one\n");
    rig.append("eve.json", "two\n");
    fs::remove_file(rig.path("eve.json")).expect("it is our directory");
    rig.append("eve.json", "three\n");
    let mut reader = rig.reader(Begin::Start);
    assert_eq!(all(&mut reader), "three\n");
    assert_eq!(reader.lost(), 1);
    // A rotation that is caught up with loses nothing.
    rig.append("eve.json", "four\n");
    fs::rename(rig.path("eve.json"), rig.path("eve.json.1")).expect("it is our directory");
    rig.append("eve.json", "five\n");
    let mut reader = rig.reader(Begin::Start);
    assert_eq!(all(&mut reader), "four\nfive\n");
    assert_eq!(reader.lost(), 0);
}

#[test]
fn what_was_read_to_its_end_before_it_was_removed_is_no_loss() {
    let rig = Rig::new();
    rig.append("eve.json", "an old one\n");
    fs::rename(rig.path("eve.json"), rig.path("eve.json.1")).expect("it is our directory");
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    File::open(rig.path("eve.json.1"))
        .and_then(|file| file.set_modified(old))
        .expect("it is our file");
    rig.append("eve.json", "one\n");
    let remove_while_read = |rig: &Rig, expect: &str| {
        let mut reader = rig.reader(Begin::Start);
        assert_eq!(all(&mut reader), expect);
        fs::remove_file(rig.path("eve.json")).expect("it is our directory");
        assert_eq!(all(&mut reader), "");
        assert_eq!(reader.lost(), 0);
    };
    remove_while_read(&rig, "one\n");
    // The next one begins like it, may have its number, and is rotated before somebody reads again.
    rig.append("eve.json", "one\ntwo\n");
    fs::rename(rig.path("eve.json"), rig.path("eve.json.2")).expect("it is our directory");
    rig.append("eve.json", "three\n");
    remove_while_read(&rig, "one\ntwo\nthree\n");
    let mut reader = rig.reader(Begin::Start);
    assert_eq!((all(&mut reader), reader.lost()), (String::new(), 0));
    // Half a line is one, in whichever of the files that were removed.
    let rig = Rig::new();
    let mut reader = rig.reader(Begin::Start);
    for text in ["one\n", "two\nhalf"] {
        rig.append("eve.json", text);
        assert!(text.starts_with(&all(&mut reader)));
        fs::remove_file(rig.path("eve.json")).expect("it is our directory");
    }
    assert_eq!(all(&mut reader), "");
    drop(reader);
    let mut reader = rig.reader(Begin::Start);
    assert_eq!((all(&mut reader), reader.lost()), (String::new(), 1));
    let rig = Rig::new();
    rig.append("eve.json", "four\nhalf");
    remove_while_read(&rig, "four\n");
    let mut reader = rig.reader(Begin::Start);
    assert_eq!((all(&mut reader), reader.lost()), (String::new(), 1));
}

#[test]
fn many_lines_come_in_pieces_that_a_decoder_takes() {
    let rig = Rig::new();
    let mut reader = rig.reader(Begin::Start);
    let text: String = (0..2 * LINES_MAX + 7).map(|n| format!("{n}\n")).collect();
    rig.append("eve.json", &text);
    let first = reader.next().expect("it can be read").expect("there are lines");
    assert_eq!(memchr::memchr_iter(b'\n', first).count(), LINES_MAX);
    assert_eq!(all(&mut reader), text);
}

#[test]
fn a_place_that_cannot_be_kept_stops_nothing() {
    let rig = Rig::new();
    fs::write(rig.path("places"), "a file where the directory should be").expect("it is our directory");
    let mut reader = rig.reader(Begin::Start);
    rig.append("eve.json", "one\n");
    assert_eq!(all(&mut reader), "one\n");
    rig.append("eve.json", "two\n");
    assert_eq!(all(&mut reader), "two\n");
    assert_eq!(all(&mut rig.reader(Begin::Start)), "one\ntwo\n", "they are read again");
}

#[test]
fn what_is_no_file_is_an_error_and_holds_nobody_up() {
    let rig = Rig::new();
    nix::unistd::mkfifo(&rig.path("eve.json"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let mut reader = rig.reader(Begin::Start);
    assert!(reader.next().is_err());
    fs::remove_file(rig.path("eve.json")).expect("it is our directory");
    rig.append("eve.json", "one\n");
    assert_eq!(all(&mut reader), "one\n", "it is a file by now");
}

#[test]
fn a_damaged_place_is_none() {
    let rig = Rig::new();
    rig.append("eve.json", "one\n");
    fs::create_dir(rig.path("places")).expect("it is our directory");
    fs::write(rig.path("places/eve"), "{\"device\":").expect("it is our directory");
    assert_eq!(all(&mut rig.reader(Begin::Start)), "one\n");
}

#[test]
fn the_thread_hands_on_what_is_appended_and_repeats_what_could_not_be_taken() {
    let rig = Rig::new();
    let (sender, lines) = mpsc::channel();
    let mut refusals = 2;
    let sink: Sink = Box::new(move |text| {
        if refusals > 0 {
            refusals -= 1;
            return Delivery::Again;
        }
        drop(sender.send(String::from_utf8_lossy(text).into_owned()));
        Delivery::Taken
    });
    let settings = FileSettings {
        path: rig.path("eve.json"),
        place: rig.path("places/eve"),
        begin: Begin::Start,
    };
    let tally = Arc::new(InletTally::new("file", "eve.json", "suricata"));
    let inlet = start(settings, tally, sink).expect("a thread");
    rig.append("eve.json", "one\n");
    let long = Duration::from_secs(20);
    assert_eq!(lines.recv_timeout(long).as_deref(), Ok("one\n"));
    rig.append("eve.json", "two\n");
    assert_eq!(lines.recv_timeout(long).as_deref(), Ok("two\n"));
    inlet.stop();
    assert_eq!(all(&mut rig.reader(Begin::End)), "", "the place was kept");
}
