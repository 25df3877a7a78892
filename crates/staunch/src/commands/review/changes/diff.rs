//! Unified diffs of one file: made, read again, and applied as `git apply` does.
//!
//! Never applies a hunk whose lines are not all there, and never one that fits in two places.

use std::fmt::Write as _;
use std::ops::Range;

use similar::utils::diff_slices;
use similar::{Algorithm, ChangeTag};

/// Lines around a change.
const AROUND: usize = 3;

/// Hunks of a diff that is read.
const HUNKS_MAX: usize = 100;

/// What stands behind a last line without an end.
const UNENDED: &str = "\n\\ No newline at end of file\n";

/// A diff of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands::review) struct Patch {
    /// The file, without the `a/` before it.
    pub(in crate::commands::review) file: String,
    hunks: Vec<Hunk>,
}

/// Lines with their ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hunk {
    /// The line at which the old ones stand, from 0.
    at: usize,
    /// The same of the new ones.
    new_at: usize,
    old: Vec<String>,
    new: Vec<String>,
    /// Whether nothing is kept behind what it changes: then it is at the end of the file, as git has it.
    ends: bool,
}

/// A hunk in one direction.
struct Move<'h> {
    at: usize,
    old: &'h [String],
    new: &'h [String],
    ends: bool,
}

/// What became of a diff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands::review) enum Applied {
    /// The text after it.
    To(String),
    /// Its lines are not there.
    Nowhere,
    /// A hunk of it fits in more than one place, and in none of them where it says.
    Anywhere,
}

/// Whether `file` can be named in a diff without quotes: a relative path of plain names.
pub(in crate::commands::review) fn is_plain(file: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    file.split('/')
        .all(|name| !name.is_empty() && name != ".." && name != "." && name.chars().all(plain))
}

/// The diff from `old` to `new` of `file`, which is plain.
pub(in crate::commands::review) fn unified(file: &str, old: &str, new: &str) -> String {
    // Lines end at line feeds only, as git has it: a carriage return alone is a part of one.
    let changes: Vec<(ChangeTag, &str)> = diff_slices(Algorithm::Myers, &lines(old), &lines(new))
        .into_iter()
        .flat_map(|(tag, lines)| lines.iter().map(move |line| (tag, *line)).collect::<Vec<_>>())
        .collect();
    let mut text = format!("--- a/{file}\n+++ b/{file}\n");
    let mut next = 0;
    while let Some(first) = (next..changes.len()).find(|at| changes[*at].0 != ChangeTag::Equal) {
        // A hunk goes on while the next change is near.
        let mut last = first;
        for (at, (tag, _)) in changes.iter().enumerate().skip(first) {
            if *tag != ChangeTag::Equal {
                last = at;
            } else if at - last > 2 * AROUND {
                break;
            }
        }
        let from = first.saturating_sub(AROUND).max(next);
        next = (last + 1 + AROUND).min(changes.len());
        add_hunk(&changes, from..next, &mut text);
    }
    text
}

/// Adds the hunk of the changes in `range`. Its head is counted out of what it holds.
fn add_hunk(changes: &[(ChangeTag, &str)], range: Range<usize>, text: &mut String) {
    let count = |range: &[(ChangeTag, &str)], other: ChangeTag| range.iter().filter(|(tag, _)| *tag != other).count();
    let side = |other: ChangeTag| {
        let (before, lines) = (
            count(&changes[..range.start], other),
            count(&changes[range.clone()], other),
        );
        // Of no lines, the one before them is named.
        (before + usize::from(lines > 0), lines)
    };
    let ((old_at, olds), (new_at, news)) = (side(ChangeTag::Insert), side(ChangeTag::Delete));
    // Writing into a string cannot fail.
    let _ = writeln!(text, "@@ -{old_at},{olds} +{new_at},{news} @@");
    for (tag, line) in &changes[range] {
        let mark = match tag {
            ChangeTag::Equal => ' ',
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        text.push(mark);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str(UNENDED);
        }
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

impl Patch {
    /// Reads a diff of one file.
    ///
    /// # Errors
    /// What of it is not understood.
    pub(in crate::commands::review) fn read(text: &str) -> Result<Self, String> {
        let mut rest = text.split_inclusive('\n').peekable();
        let mut name = |before: &str| {
            let line = rest.next().unwrap_or_default().trim_end();
            let file = line.strip_prefix(before).unwrap_or_default();
            is_plain(file)
                .then(|| file.to_owned())
                .ok_or_else(|| format!("it does not name a file after `{before}`"))
        };
        let file = name("--- a/")?;
        if name("+++ b/")? != file {
            return Err("it is of two files".to_owned());
        }
        let mut hunks = Vec::new();
        while let Some(head) = rest.next() {
            let (mut hunk, mut old_left, mut new_left) =
                hunk_head(head).ok_or_else(|| format!("`{}` begins no hunk", head.trim_end()))?;
            if hunks.len() >= HUNKS_MAX {
                return Err(format!("it has more than {HUNKS_MAX} hunks"));
            }
            let mut last = ' ';
            while old_left > 0 || new_left > 0 || rest.peek().is_some_and(|it| it.starts_with('\\')) {
                let line = rest.next().ok_or("a hunk of it ends early")?;
                let (mark, content) = line.split_at_checked(1).ok_or("a line of it is empty")?;
                let mark = mark.chars().next().unwrap_or_default();
                if mark == '\\' {
                    unend(&mut hunk, last);
                    continue;
                }
                last = mark;
                if matches!(mark, ' ' | '-') {
                    old_left = old_left
                        .checked_sub(1)
                        .ok_or("a hunk of it has more lines than it says")?;
                    hunk.old.push(content.to_owned());
                }
                if matches!(mark, ' ' | '+') {
                    new_left = new_left
                        .checked_sub(1)
                        .ok_or("a hunk of it has more lines than it says")?;
                    hunk.new.push(content.to_owned());
                }
                if !matches!(mark, ' ' | '-' | '+') {
                    return Err("a line of it is neither kept, nor added, nor taken out".to_owned());
                }
            }
            hunk.ends = last != ' ';
            hunks.push(hunk);
        }
        if hunks.is_empty() {
            return Err("it changes nothing".to_owned());
        }
        Ok(Self { file, hunks })
    }

    /// The text after it is applied to `text`.
    pub(in crate::commands::review) fn apply(&self, text: &str) -> Applied {
        let hunks = self.hunks.iter().map(|it| Move {
            at: it.at,
            old: &it.old,
            new: &it.new,
            ends: it.ends,
        });
        patched(text, hunks)
    }

    /// The text before it was applied to what is `text` after it.
    pub(in crate::commands::review) fn take_back(&self, text: &str) -> Applied {
        let hunks = self.hunks.iter().map(|it| Move {
            at: it.new_at,
            old: &it.new,
            new: &it.old,
            ends: it.ends,
        });
        patched(text, hunks)
    }
}

/// `@@ -a,b +c,d @@`: an empty hunk, and how many old and new lines it has.
fn hunk_head(line: &str) -> Option<(Hunk, usize, usize)> {
    let inside = line.strip_prefix("@@ -")?;
    let (ranges, _) = inside.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let range = |text: &str| {
        let (at, count) = text.split_once(',').unwrap_or((text, "1"));
        let (at, count) = (at.parse::<usize>().ok()?, count.parse::<usize>().ok()?);
        // Of no lines, the one before them is named.
        Some((if count == 0 { at } else { at.checked_sub(1)? }, count))
    };
    let ((at, olds), (new_at, news)) = (range(old)?, range(new)?);
    let hunk = Hunk {
        at,
        new_at,
        ..Hunk::default()
    };
    Some((hunk, olds, news))
}

/// Takes the end of the last line away that stood after `mark`.
fn unend(hunk: &mut Hunk, mark: char) {
    let cut = |lines: &mut Vec<String>| {
        if let Some(last) = lines.last_mut() {
            last.truncate(last.trim_end_matches('\n').len());
        }
    };
    if matches!(mark, ' ' | '-') {
        cut(&mut hunk.old);
    }
    if matches!(mark, ' ' | '+') {
        cut(&mut hunk.new);
    }
}

/// `text` with each of `hunks`.
fn patched<'h>(text: &str, hunks: impl Iterator<Item = Move<'h>>) -> Applied {
    let lines = lines(text);
    let mut done = String::new();
    let mut next = 0;
    for Move { at, old, new, ends } in hunks {
        let fits = |place: &usize| {
            let end = place.checked_add(old.len());
            let there = end.and_then(|end| lines.get(*place..end));
            there.is_some_and(|there| there.iter().zip(old).all(|(line, old)| line == old))
                && (at != 0 || *place == 0)
                && (!ends || end == Some(lines.len()))
        };
        let place = if at >= next && fits(&at) {
            at
        } else {
            let mut places = (next..=lines.len()).filter(fits);
            match (places.next(), places.next()) {
                (Some(at), None) => at,
                (None, _) => return Applied::Nowhere,
                (Some(_), Some(_)) => return Applied::Anywhere,
            }
        };
        done.extend(lines[next..place].iter().copied());
        done.extend(new.iter().map(String::as_str));
        next = place + old.len();
    }
    done.extend(lines[next..].iter().copied());
    Applied::To(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "a\nb\nc\nd\ne\nf\ng\nh\n";

    /// What the diff from `old` to `new` does forth and back, and its text.
    fn check(old: &str, new: &str) -> String {
        let text = unified("x/y.yaml", old, new);
        let patch = Patch::read(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
        assert_eq!(patch.file, "x/y.yaml");
        assert_eq!(patch.apply(old), Applied::To(new.to_owned()), "{text}");
        assert_eq!(patch.take_back(new), Applied::To(old.to_owned()), "{text}");
        text
    }

    #[test]
    fn a_diff_leads_forth_and_back() {
        let text = check(OLD, &OLD.replace("e\n", "E\n"));
        assert_eq!(
            text,
            "--- a/x/y.yaml\n+++ b/x/y.yaml\n@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n+E\n f\n g\n h\n"
        );
        check(OLD, &format!("{OLD}\n[more]\nx = 1\n"));
        check("", "a\n");
        check("a\n", "");
        let unended = check("a\nb", "a\nb\nc\n");
        assert!(unended.contains("\n\\ No newline at end of file\n"), "{unended}");
        check("a\nb\n", "a\nb\nc");
        check("a\rb\nc\r\n", "a\rb\nd\r\n");
        check("--- a\n+++ b\n@@ x\n", "--- a\n+++ c\n@@ x\n");
    }

    #[test]
    fn lines_that_have_moved_are_found_and_others_are_not_touched() {
        let patch = Patch::read(&unified("y", OLD, &OLD.replace("e\n", "E\n"))).expect("it is one");
        let moved = format!("x\ny\n{OLD}z\n");
        assert_eq!(patch.apply(&moved), Applied::To(moved.replace("e\n", "E\n")));
        assert_eq!(patch.apply(&OLD.replace("f\n", "F\n")), Applied::Nowhere);
        assert_eq!(patch.take_back(OLD), Applied::Nowhere);
        let twice = format!("x\n{OLD}{OLD}");
        assert_eq!(patch.apply(&twice), Applied::Anywhere);
    }

    #[test]
    fn what_was_added_at_the_end_is_not_added_twice() {
        let new = format!("{OLD}more\n");
        let patch = Patch::read(&unified("y", OLD, &new)).expect("it is one");
        assert_eq!(patch.apply(&new), Applied::Nowhere);
        assert_eq!(patch.take_back(&new), Applied::To(OLD.to_owned()));
        assert_eq!(patch.apply(&format!("x\n{OLD}")), Applied::To(format!("x\n{new}")));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            failure_persistence: None,
            ..proptest::prelude::ProptestConfig::default()
        })]

        #[test]
        fn any_two_texts_are_led_forth_and_back(old in "([ab+@-]{0,2}\\r?\n){0,9}[a ]?", new in "([ab+@-]{0,2}\n){0,9}[a ]?") {
            let text = unified("y", &old, &new);
            if old != new {
                let patch = Patch::read(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
                proptest::prop_assert_eq!(patch.apply(&old), Applied::To(new.clone()));
                proptest::prop_assert_eq!(patch.take_back(&new), Applied::To(old));
            }
        }

        #[test]
        fn no_text_and_no_diff_is_a_panic(diff in "(--- a/x\n\\+\\+\\+ b/x\n)?(@@ -[0-9]{1,3}(,[0-9])? \\+[0-9]{1,3}(,[0-9])? @@\n|[ +\\\\-]{0,2}[ab]?\n){0,9}", text in "([ab]?\n){0,9}") {
            if let Ok(patch) = Patch::read(&diff) {
                let _ = (patch.apply(&text), patch.take_back(&text));
            }
        }
    }

    #[test]
    fn a_place_beyond_all_numbers_is_none() {
        for at in [u64::MAX, u64::MAX - 1, 1 << 63] {
            for hunk in [
                format!("@@ -{at} +{at} @@\n-a\n+b\n"),
                format!("@@ -{at},0 +{at} @@\n+b\n"),
                format!("@@ -{at},3 +{at},3 @@\n-a\n-b\n-c\n+d\n+e\n+f\n"),
            ] {
                let patch = Patch::read(&format!("--- a/x\n+++ b/x\n{hunk}"));
                if let Ok(patch) = patch {
                    let _ = (patch.apply("x\n"), patch.take_back("x\n"));
                }
            }
        }
    }

    #[test]
    fn what_is_no_diff_of_one_plain_file_is_refused() {
        for text in [
            "",
            "--- a/x\n+++ b/x\n",
            "--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n",
            "--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n",
            "--- /etc/x\n+++ /etc/x\n@@ -1 +1 @@\n-a\n+b\n",
            "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n",
            "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n-b\n+c\n",
            "--- a/x\n+++ b/x\n@@ -0 +1 @@\n-a\n+b\n",
            "--- a/x\n+++ b/x\n@@ -1 +1 @@\n!a\n+b\n",
            "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\nmore\n",
            "--- a/x\n+++ b/x\n@@ -1,99999999999999999999 +1 @@\n-a\n+b\n",
        ] {
            assert!(Patch::read(text).is_err(), "{text}");
        }
        assert!(
            !is_plain("a b") && !is_plain("/a") && !is_plain("a//b") && !is_plain("a\"b") && is_plain("p/a-b_1.yml")
        );
    }
}
