//! Every code has a page and stands in the reference.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The codes of the form `P010` in the texts of the source files under `folder`.
fn codes_in_sources(folder: &Path, codes: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            codes_in_sources(&path, codes);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source file");
        let quoted = text
            .split('"')
            .filter(|it| it.len() == 4 && it.starts_with('P') && it[1..].bytes().all(|b| b.is_ascii_digit()));
        codes.extend(quoted.map(str::to_owned));
    }
}

#[test]
fn every_code_has_a_page() {
    let mut codes = BTreeSet::new();
    codes_in_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut codes);
    assert!(codes.len() > 30, "{codes:?}");
    let reference = std::fs::read_to_string(root().join("docs/reference/playbooks.md")).expect("the reference");
    for code in &codes {
        let page = root().join(format!("docs/errors/{code}.md"));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(text.starts_with(&format!("# {code}: ")), "{code}");
        assert_eq!(staunch_playbook::page(code), Some(text.as_str()), "{code}");
        assert!(
            reference.contains(&format!("[{code}](../errors/{code}.md)")),
            "{code} is not in the reference"
        );
    }
    for entry in std::fs::read_dir(root().join("docs/errors")).expect("a folder") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let stem = name.trim_end_matches(".md");
        let ours = stem.len() == 4 && stem.starts_with('P') && stem[1..].bytes().all(|byte| byte.is_ascii_digit());
        assert!(
            !ours || codes.contains(stem),
            "{name} is about a code that does not exist"
        );
    }
}

#[test]
fn the_example_of_the_reference_is_a_playbook() {
    let reference = std::fs::read_to_string(root().join("docs/reference/playbooks.md")).expect("the reference");
    let example = reference
        .split("```")
        .find_map(|it| it.strip_prefix("yaml\n"))
        .expect("an example");
    let compiled = crate::check(example).unwrap_or_else(|found| panic!("{found:#?}"));
    assert_eq!(compiled.warnings, []);
}
