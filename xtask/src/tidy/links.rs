//! The links between Markdown pages, and that the list of all pages has each of them.
//!
//! Never asks the network: links to other sites are not judged. Headings with `#` only, links on one line only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use super::Findings;
use crate::workspace::Workspace;

/// Checks every link of every page.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let mut pages = BTreeMap::new();
    for file in workspace.with_extension("md") {
        if let Some(text) = workspace.read(file)? {
            pages.insert(file.to_owned(), Page::parse(&text));
        }
    }
    let mut findings = judge(&pages, &|path| workspace.root.join(path).exists());
    findings.extend(unlisted(&pages));
    Ok(findings)
}

/// The page that lists all pages of the folders that are named with it.
const LIST: &str = "docs/README.md";
const LISTED: [&str; 2] = ["docs/guide", "docs/reference"];

/// Pages that the list does not have.
fn unlisted(pages: &BTreeMap<PathBuf, Page>) -> Findings {
    let list = Path::new(LIST);
    let folder = list.parent().unwrap_or(list);
    let listed: BTreeSet<PathBuf> = pages
        .get(list)
        .iter()
        .flat_map(|page| &page.links)
        .filter_map(|(_, target)| normal(folder, target.split('#').next()?))
        .collect();
    pages
        .keys()
        .filter(|page| LISTED.iter().any(|folder| page.starts_with(folder)) && !listed.contains(*page))
        .map(|page| format!("{}: {LIST} does not list it", page.display()))
        .collect()
}

fn judge(pages: &BTreeMap<PathBuf, Page>, exists: &dyn Fn(&Path) -> bool) -> Findings {
    let mut findings = Findings::new();
    for (file, page) in pages {
        for (line, target) in &page.links {
            if let Err(why) = follow(file, target, pages, exists) {
                findings.push(format!("{}:{line}: {target}: {why}", file.display()));
            }
        }
    }
    findings
}

/// Follows the link `target` on the page `file`.
fn follow(
    file: &Path,
    target: &str,
    pages: &BTreeMap<PathBuf, Page>,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() {
        file.to_owned()
    } else {
        let folder = file.parent().unwrap_or(Path::new(""));
        normal(folder, &path.replace("%20", " ")).ok_or("leads out of the repository")?
    };
    if !exists(&path) {
        return Err(format!("there is no {}", path.display()));
    }
    match pages.get(&path) {
        Some(page) if !anchor.is_empty() && !page.anchors.contains(anchor) => {
            Err(format!("{} has no heading for #{anchor}", path.display()))
        }
        _ => Ok(()),
    }
}

/// `path`, seen from `folder`, without `.` and `..`. A path that begins with `/` begins at the top of the repository.
fn normal(folder: &Path, path: &str) -> Option<PathBuf> {
    let joined = match path.strip_prefix('/') {
        Some(from_top) => PathBuf::from(from_top),
        None => folder.join(path),
    };
    let mut normal = PathBuf::new();
    for component in joined.components() {
        match component {
            Component::ParentDir if !normal.pop() => return None,
            Component::Normal(name) => normal.push(name),
            _ => {}
        }
    }
    Some(normal)
}

/// What a page links to, and what can be linked to on it.
#[derive(Debug, Default)]
struct Page {
    /// Lines, from 1, and targets.
    links: Vec<(usize, String)>,
    anchors: BTreeSet<String>,
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut headings: BTreeMap<String, usize> = BTreeMap::new();
        let mut fence: Option<&str> = None;
        for (index, line) in text.lines().enumerate() {
            let start = line.trim_start();
            if let Some(open) = fence {
                if start.starts_with(open) && start.trim_end().trim_start_matches(&open[..1]).is_empty() {
                    fence = None;
                }
                continue;
            }
            fence = fence_at(start);
            if fence.is_some() {
                continue;
            }
            if let Some(title) = heading(line) {
                let slug = slug(title);
                let before = headings.entry(slug.clone()).or_default();
                page.anchors
                    .insert(if *before == 0 { slug } else { format!("{slug}-{before}") });
                *before += 1;
            }
            let line = without_code(line);
            page.links
                .extend(targets(&line).map(|target| (index + 1, target.to_owned())));
            for attribute in ["id=\"", "name=\""] {
                page.anchors.extend(attributes(&line, attribute).map(str::to_owned));
            }
        }
        page
    }
}

/// The run of marks that opens a code block, if `line` does.
fn fence_at(line: &str) -> Option<&str> {
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let run = line.find(|c| c != mark).unwrap_or(line.len());
    // Marks that come again in the same line are code within a sentence.
    (run >= 3 && !(mark == '`' && line[run..].contains('`'))).then(|| &line[..run])
}

fn heading(line: &str) -> Option<&str> {
    let level = line.find(|c| c != '#')?;
    let title = line[level..].strip_prefix(' ')?;
    (1..=6)
        .contains(&level)
        .then(|| title.trim().trim_end_matches('#').trim_end())
}

/// The anchor that repository hosts give a heading.
fn slug(title: &str) -> String {
    let mut text = String::new();
    let mut rest = title;
    // Of a link in a heading, only its text counts.
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, behind)| behind);
    }
    text.push_str(rest);
    text.to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            _ => c.is_alphanumeric().then_some(c),
        })
        .collect()
}

/// `line` with code spans blanked.
fn without_code(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let run = rest[start..].find(|c| c != '`').unwrap_or(rest.len() - start);
        let marks = &rest[start..start + run];
        let inside = &rest[start + run..];
        out.push_str(&rest[..start]);
        match closing(inside, marks) {
            Some(end) => {
                out.push(' ');
                rest = &inside[end + run..];
            }
            None => {
                out.push_str(marks);
                rest = inside;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Where in `text` a run of exactly these marks begins.
fn closing(text: &str, marks: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find('`') {
        let start = at + found;
        let run = text[start..].find(|c| c != '`').unwrap_or(text.len() - start);
        if run == marks.len() {
            return Some(start);
        }
        at = start + run;
    }
    None
}

/// The targets of `[text](target)`, `[label]: target`, `href="target"` and `src="target"`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let inline = line
        .match_indices("](")
        .filter_map(|(at, open)| inline_target(&line[at + open.len()..]));
    let defined = line.trim_start().strip_prefix('[').and_then(|rest| {
        let (label, target) = rest.split_once("]: ")?;
        (!label.starts_with('^') && !label.contains(']')).then(|| target.split_whitespace().next())?
    });
    inline
        .chain(defined)
        .chain(attributes(line, "href=\""))
        .chain(attributes(line, "src=\""))
}

/// The target at the start of `rest`, up to its closing parenthesis or its title.
fn inline_target(rest: &str) -> Option<&str> {
    if let Some(rest) = rest.strip_prefix('<') {
        return rest.split_once('>').map(|(target, _)| target);
    }
    let mut depth = 0_usize;
    let end = rest.find(|c| match c {
        '(' => {
            depth += 1;
            false
        }
        ')' if depth > 0 => {
            depth -= 1;
            false
        }
        c => c == ')' || c == ' ',
    })?;
    Some(&rest[..end])
}

fn attributes<'l>(line: &'l str, attribute: &'static str) -> impl Iterator<Item = &'l str> {
    line.match_indices(attribute)
        .filter_map(move |(at, _)| line[at + attribute.len()..].split('"').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the pages, of which each is a path and its text; `other.rs` exists besides.
    fn check(pages: &[(&str, &str)], expect: &[&str]) {
        let pages: BTreeMap<PathBuf, Page> = pages
            .iter()
            .map(|(file, text)| (PathBuf::from(file), Page::parse(text)))
            .collect();
        let exists = |path: &Path| {
            path == Path::new("src/other.rs") || pages.keys().any(|page| page == path || page.parent() == Some(path))
        };
        assert_eq!(judge(&pages, &exists), expect);
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        check(
            &[
                (
                    "README.md",
                    "# Top\n[a](docs/a.md) ![b](src/other.rs#L3) [c](#top) [d](https://example.org/x) [e](docs/)\n\
                     [f](<docs/a.md> \"title\") [g](docs/a.md#two-words-1 \"title\")\n[label]: docs/a.md\n\
                     <a href=\"docs/a.md#mark\">h</a>\n",
                ),
                (
                    "docs/a.md",
                    "[up](../README.md#top) [top](/README.md)\n## Two words\n## `Two` words!\n<a id=\"mark\"></a>\n",
                ),
            ],
            &[],
        );
    }

    #[test]
    fn links_that_lead_nowhere_are_named() {
        check(
            &[(
                "docs/a.md",
                "# Top\n[a](b.md)\n[b](../../c.md)\n[c](#bottom)\n[label]: d.md\n[e](e_(f).md) <img src=\"f.png\">\n",
            )],
            &[
                "docs/a.md:2: b.md: there is no docs/b.md",
                "docs/a.md:3: ../../c.md: leads out of the repository",
                "docs/a.md:4: #bottom: docs/a.md has no heading for #bottom",
                "docs/a.md:5: d.md: there is no docs/d.md",
                "docs/a.md:6: e_(f).md: there is no docs/e_(f).md",
                "docs/a.md:6: f.png: there is no docs/f.png",
            ],
        );
    }

    #[test]
    fn a_page_that_the_list_does_not_have_is_named() {
        let pages = [
            ("docs/README.md", "[a](guide/a.md#top) [b](reference/b.md)"),
            ("docs/guide/a.md", "# Top"),
            ("docs/guide/c.md", ""),
            ("docs/reference/b.md", ""),
            ("docs/adr/0001.md", ""),
        ];
        let pages = pages.map(|(file, text)| (PathBuf::from(file), Page::parse(text)));
        assert_eq!(
            unlisted(&pages.into()),
            ["docs/guide/c.md: docs/README.md does not list it"]
        );
    }

    #[test]
    fn code_holds_no_links_and_no_headings() {
        check(
            &[(
                "a.md",
                "`[a](b.md)` and ``[a`](b.md)``\n```sh\n# not a heading\n[a](b.md)\n```\n~~~\n```\n[a](b.md)\n~~~\n\
                 [x](#not-a-heading)\n",
            )],
            &["a.md:10: #not-a-heading: a.md has no heading for #not-a-heading"],
        );
    }

    #[test]
    fn slugs_are_those_of_repository_hosts() {
        assert_eq!(
            slug("What it *does not* do: `block_ip` & more"),
            "what-it-does-not-do-block_ip--more"
        );
        assert_eq!(slug("1. The [heart](heart.md) of it"), "1-the-heart-of-it");
    }
}
