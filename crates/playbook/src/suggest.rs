//! "Did you mean": the nearest known word.

/// The word of `known` that `written` is probably a misspelling of.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written: Vec<char> = written.chars().take(65).map(|c| c.to_ascii_lowercase()).collect();
    if written.len() > 64 {
        return None;
    }
    let near = |word: &'a str| {
        let target: Vec<char> = word.chars().map(|c| c.to_ascii_lowercase()).collect();
        (distance(&written, &target), word)
    };
    known
        .into_iter()
        .map(near)
        .filter(|(distance, word)| *distance <= (word.chars().count().max(written.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// The hint for a word that is not in `known`: the nearest one if there is one, and all of them.
pub(crate) fn hint(written: &str, known: &[&str], all: &str) -> String {
    let list = known.join(", ");
    match nearest(written, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`? {all}: {list}"),
        None => format!("{all}: {list}"),
    }
}

/// The edit distance with transpositions of neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found() {
        let keys = ["playbook", "summary", "trigger", "contain", "lease"];
        for (written, expect) in [
            ("trigegr", Some("trigger")),
            ("Playbook", Some("playbook")),
            ("leese", Some("lease")),
            ("contains", Some("contain")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, keys), expect, "{written}");
        }
    }
}
