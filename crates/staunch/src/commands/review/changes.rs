//! Changes of the playbook and of the configuration that the record gives a reason for, each as a diff with what it
//! comes to.
//!
//! Never writes to a playbook or to the configuration, and never puts a word of an event or of a person into a diff.

mod diff;
mod reasons;
mod settings;
mod subject;
mod trial;
pub(super) mod verify;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use staunch_model::{Playbook, Program};
use staunch_playbook::{Compiled, edit};

use super::folder::Folder;
use super::page::{self, Block};
use super::record::Recorded;
use super::regression::{self, Kept};
use crate::config::{self, Config};
use crate::exit::{Exit, Fault};
use crate::playbooks::Texts;
use crate::wiring;
use diff::{Applied, Patch};
use reasons::{Reason, Wish};
use subject::{Subject, Subjects, What};
use trial::{Candidate, Outcome};

/// The directory of changes in the folder.
const DIR: &str = "changes";

/// The file that says of each diff what it is, for `review check` and for other programs.
pub(super) const INDEX: &str = "changes/changes.json";

/// Changes of one review.
const CHANGES_MAX: usize = 20;

/// A change that is suggested.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Suggested {
    /// The diff, by its name in the folder.
    pub(super) diff: String,
    /// The file that it changes.
    pub(super) changes: String,
    /// The diffs of the same file that are to be applied before it, because its lines stand beside theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) after: Vec<String>,
    /// What it does.
    pub(super) title: String,
    /// The records of the journal that speak for it.
    pub(super) records: Vec<u64>,
    /// What it comes to over events of the past; none when that cannot be judged.
    pub(super) backtest: Vec<Outcome>,
    /// Why that cannot be judged.
    pub(super) unjudged: Option<String>,
    /// Expectations of the incident's test that do not hold with it, line by line, which is what it is for. `None` when
    /// there is no test, or when the change is none of the playbook.
    pub(super) changes_expectations: Option<Vec<String>>,
}

/// A change that can be made.
struct Made {
    reason: Reason,
    subject: Subject,
    /// The text after it.
    text: String,
    candidate: Option<Candidate>,
}

/// Writes the changes, and gives back what they are. What cannot be written as a diff becomes a question.
///
/// # Errors
/// When a file cannot be written, or the past cannot be read.
pub(super) fn write(
    folder: &mut Folder,
    recorded: &Recorded,
    config: &Config,
    archive: &Path,
    kept: Option<&Kept>,
    questions: &mut Vec<String>,
) -> Result<Vec<Suggested>, Fault> {
    folder.clear(DIR, &|name| is_of_an_earlier_review(name))?;
    let texts = Texts::configured(config);
    let subjects = Subjects::of(config, &texts);
    let hash = recorded.detail.incident.playbook_hash;
    let policy = recorded.policy.as_ref();
    let playbook = policy.and_then(|it| it.playbooks.iter().find(|it| it.hash == hash));
    let reasons = reasons::all(recorded, playbook, config, questions);
    if reasons.is_empty() {
        return Ok(Vec::new());
    }
    let today = texts.compile(&wiring::check_context(config));
    let programs: Vec<Program> = today.compiled.iter().map(|it| it.program.clone()).collect();
    let mut made = Vec::new();
    for reason in bounded(reasons, questions) {
        let title = reason.title.clone();
        match make(reason, recorded, config, &texts, &subjects, &today.compiled) {
            Ok(Some(it)) => made.push(it),
            Ok(None) => {}
            Err(why) => questions.push(format!(
                "Is this to be changed by hand? {title}. There is no diff: {why}."
            )),
        }
    }
    let mut judged: Vec<Candidate> = Vec::new();
    let mut places = Vec::new();
    for it in &mut made {
        places.push(it.candidate.take().map(|candidate| {
            judged.push(candidate);
            judged.len() - 1
        }));
    }
    let outcomes = trial::run(&judged, &programs, recorded, config, archive)?;
    let mut all: Vec<Suggested> = Vec::new();
    let mut series = Series::default();
    for (at, (it, place)) in made.into_iter().zip(places).enumerate() {
        let name = format!("changes/{:02}-{}", at + 1, it.reason.slug);
        let diff = series.next(&it, &texts, config);
        let alone = Patch::read(&diff).is_ok_and(|patch| patch.apply(&it.subject.text) == Applied::To(it.text.clone()));
        let before = all.iter().filter(|other| !alone && other.changes == it.subject.file);
        let after = before.map(|other| other.diff.clone()).collect();
        let changes_expectations = match (&it.subject.what, kept) {
            (What::Configuration, _) | (_, None) => None,
            (_, Some(kept)) => Some(regression::unmet(kept, &it.text, config)?),
        };
        let mut records: Vec<u64> = it.reason.because.iter().map(|(record, _)| *record).collect();
        records.sort_unstable();
        records.dedup();
        let suggested = Suggested {
            diff: format!("{name}.diff"),
            changes: it.subject.file.clone(),
            after,
            title: it.reason.title.clone(),
            records,
            backtest: place.map(|place| outcomes[place].clone()).unwrap_or_default(),
            unjudged: it.reason.unjudged.map(ToOwned::to_owned),
            changes_expectations,
        };
        folder.write(&suggested.diff, diff.as_bytes())?;
        let told = told(&suggested, &it, config);
        folder.write(&format!("{name}.md"), told.as_bytes())?;
        all.push(suggested);
    }
    if !all.is_empty() {
        let mut json = serde_json::to_string_pretty(&all)
            .map_err(|error| Fault::doing(Exit::Failed, "cannot write the changes as JSON", &error))?;
        json.push('\n');
        folder.write(INDEX, json.as_bytes())?;
    }
    Ok(all)
}

/// As many of `reasons` as become changes; that there are more is a question.
fn bounded(mut reasons: Vec<Reason>, questions: &mut Vec<String>) -> Vec<Reason> {
    if reasons.len() > CHANGES_MAX {
        let left_out: Vec<&str> = reasons[CHANGES_MAX..].iter().map(|it| it.title.as_str()).collect();
        questions.push(format!(
            "What else is to be changed? The record gives {} reasons; the first {CHANGES_MAX} became changes. Left out: {}.",
            reasons.len(),
            left_out.join("; ")
        ));
        reasons.truncate(CHANGES_MAX);
    }
    reasons
}

/// The diffs of each file, one after the other: each leads on from where those before it have led.
#[derive(Default)]
struct Series {
    /// The text of each file with the diffs so far.
    texts: BTreeMap<String, String>,
}

impl Series {
    /// The diff of `made`, behind those of the same file before it.
    fn next(&mut self, made: &Made, texts: &Texts, config: &Config) -> String {
        let Subject { file, text, .. } = &made.subject;
        let before = self.texts.get(file).unwrap_or(text).clone();
        let after = rewritten(&made.reason.wish, &before).ok().filter(|after| {
            *after != before
                && match made.subject.known_as() {
                    None => config_of(after).is_ok(),
                    Some(name) => {
                        texts
                            .changed(name, after)
                            .compile(&wiring::check_context(config))
                            .usable
                    }
                }
        });
        match after {
            Some(after) => {
                let diff = diff::unified(file, &before, &after);
                self.texts.insert(file.clone(), after);
                diff
            }
            // With the others it says nothing or would be a mistake: it stands for itself.
            None => diff::unified(file, text, &made.text),
        }
    }
}

/// `text` with what is wished for.
///
/// # Errors
/// Why that is not possible.
fn rewritten(wish: &Wish, text: &str) -> Result<String, &'static str> {
    match wish {
        Wish::Playbook(path, value) => {
            edit::set(text, path, value).ok_or("the value does not stand on a line of its own in the playbook")
        }
        Wish::Settings(table, values) => {
            let table: Vec<&str> = table.iter().map(String::as_str).collect();
            values.iter().try_fold(text.to_owned(), |text, (key, value)| {
                settings::set(&text, &table, key, value).ok_or("the configuration cannot be read")
            })
        }
        Wish::NeverTouch(network, why) => {
            settings::protect(text, *network, why).ok_or("the configuration cannot be read")
        }
    }
}

/// Whether a file among the changes has a name that a review gives: `01-never-touch.diff`.
fn is_of_an_earlier_review(name: &str) -> bool {
    let stem = name.strip_suffix(".diff").or_else(|| name.strip_suffix(".md"));
    let numbered = stem.and_then(|it| it.split_once('-')).is_some_and(|(number, slug)| {
        let digits = number.len() == 2 && number.bytes().all(|it| it.is_ascii_digit());
        digits && slug.bytes().all(|it| it.is_ascii_lowercase() || it == b'-')
    });
    numbered || INDEX.strip_prefix("changes/") == Some(name)
}

/// The text after a change; nothing when it is made already.
///
/// # Errors
/// Why it is no diff.
fn make(
    reason: Reason,
    recorded: &Recorded,
    config: &Config,
    texts: &Texts,
    subjects: &Subjects,
    today: &[Compiled],
) -> Result<Option<Made>, &'static str> {
    match &reason.wish {
        Wish::Playbook(..) => {
            let hash = recorded.detail.incident.playbook_hash;
            let source = texts
                .files()
                .zip(today)
                .find(|(_, it)| it.program.playbook.hash == hash)
                .ok_or("no configured playbook has the recorded hash")?;
            let ((name, _), before) = source;
            let subject = subjects
                .playbook(name)
                .ok_or("the name of the file would need quotes in a diff")?
                .clone();
            let text = rewritten(&reason.wish, &subject.text)?;
            let programs = changed_alone(texts, name, &text, before, config)?;
            let candidate = reason.unjudged.is_none().then(|| Candidate {
                programs,
                config: config.clone(),
                wish: reason.wish.clone(),
            });
            Ok(Some(Made {
                candidate,
                text,
                subject,
                reason,
            }))
        }
        Wish::Settings(table, _) => {
            let subject = configuration(subjects)?;
            let text = rewritten(&reason.wish, &subject.text)?;
            let changed = config_of(&text)?;
            // What was configured otherwise since is no longer what was too little then.
            if let ([table], Some(policy)) = (&table[..], &recorded.policy)
                && table == "limits"
                && staunch_model::Limits::from(config.limits) != policy.limits
            {
                return Err("the limits are others at present than those of the record");
            }
            configured(reason, subject, text, changed, today)
        }
        Wish::NeverTouch(network, _) => {
            let subject = configuration(subjects)?;
            if config
                .never_touch
                .networks
                .iter()
                .any(|it| it.network.contains(network))
            {
                return Ok(None);
            }
            let text = rewritten(&reason.wish, &subject.text)?;
            let changed = config_of(&text)?;
            if changed.never_touch.networks.len() != config.never_touch.networks.len() + 1 {
                return Err("the networks that are never touched do not stand where one more could be added");
            }
            configured(reason, subject, text, changed, today)
        }
    }
}

fn configuration(subjects: &Subjects) -> Result<&Subject, &'static str> {
    subjects
        .configuration()
        .ok_or("there is no configuration file, or its name would need quotes in a diff")
}

/// A configuration out of its text. Paths in it do not matter here.
fn config_of(text: &str) -> Result<Config, &'static str> {
    config::parse(text).map_err(|_| "the configuration with it would have a mistake")
}

fn configured(
    reason: Reason,
    subject: &Subject,
    text: String,
    changed: Config,
    today: &[Compiled],
) -> Result<Option<Made>, &'static str> {
    let candidate = reason.unjudged.is_none().then(|| Candidate {
        programs: today.iter().map(|it| it.program.clone()).collect(),
        config: changed,
        wish: reason.wish.clone(),
    });
    Ok(Some(Made {
        candidate,
        text,
        subject: subject.clone(),
        reason,
    }))
}

/// All playbooks, of which the one named `name` has `text`, if that changes it and leaves it a playbook.
fn changed_alone(
    texts: &Texts,
    name: &str,
    text: &str,
    before: &Compiled,
    config: &Config,
) -> Result<Vec<Program>, &'static str> {
    let outcome = texts.changed(name, text).compile(&wiring::check_context(config));
    if !outcome.usable {
        return Err("the playbook with it would have a mistake");
    }
    let after = texts
        .files()
        .zip(&outcome.compiled)
        .find(|((file, _), _)| *file == name)
        .map(|(_, it)| &it.program.playbook);
    let unhashed = |it: &Arc<Playbook>| Playbook {
        hash: staunch_model::ContentHash::default(),
        ..(**it).clone()
    };
    match after {
        Some(after) if unhashed(after) != unhashed(&before.program.playbook) => {
            Ok(outcome.compiled.iter().map(|it| it.program.clone()).collect())
        }
        _ => Err("another value of the playbook or of the configuration stands above it"),
    }
}

/// What is said of a change beside its diff.
fn told(suggested: &Suggested, made: &Made, config: &Config) -> String {
    let mut blocks = vec![
        Block::Heading("Why"),
        Block::Table(
            vec!["Record", "What it says"],
            made.reason
                .because
                .iter()
                .map(|(record, says)| vec![record.to_string(), says.clone()])
                .collect(),
        ),
        Block::Text(
            "Numbers are frames of the journal: staunch journal cat shows them. They speak for this change; whether it is right \
             is for people to say."
                .to_owned(),
        ),
    ];
    blocks.extend(made.reason.guessed.map(|it| Block::Text(it.to_owned())));
    blocks.push(Block::Heading("What a backtest says"));
    match &suggested.unjudged {
        Some(why) => blocks.push(Block::Text(format!("It cannot judge this change. {why}"))),
        None => {
            blocks.push(Block::Table(
                outcome_head(),
                suggested.backtest.iter().map(outcome_row).collect(),
            ));
            blocks.push(Block::Text(
                "Targets are counted. Who was asked then says the same again, else nobody answers; commands of operators are \
                 not given again."
                    .to_owned(),
            ));
        }
    }
    if let Some(unmet) = &suggested.changes_expectations {
        blocks.push(Block::Heading("What it changes in the test of this incident"));
        if unmet.is_empty() {
            blocks.push(Block::Text("Nothing: the test passes with it.".to_owned()));
        } else {
            blocks.push(Block::Text(
                "These expectations are what was recorded, and do not hold with it. Write them anew when you take the change."
                    .to_owned(),
            ));
            blocks.push(Block::List(unmet.clone()));
        }
    }
    blocks.push(Block::Heading("To take it"));
    blocks.push(Block::Text(how_to_take(made, config)));
    if !suggested.after.is_empty() {
        blocks.push(Block::Text(format!(
            "Its lines stand beside those of other changes of the file. Apply these before it, in this order: {}",
            suggested.after.join(", ")
        )));
    }
    let mut text = page::markdown(&suggested.title, &blocks);
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        "\n```sh\ngit apply {}\n```\n",
        Path::new(&suggested.diff).display()
    );
    text
}

fn how_to_take(made: &Made, config: &Config) -> String {
    let file = &made.subject.file;
    match &made.subject.what {
        What::Configuration => {
            format!("The diff is of {file}. Apply it where that file is, with the path to the diff:")
        }
        What::BuiltIn(_) => format!(
            "The playbook comes with the program, so there is no file of it. Copy the one in tests/ into a directory of your \
             playbooks as {file}, give it a name of its own, or leave those that come with the program out (built_in = false), \
             and apply the diff there:"
        ),
        What::Playbook(_) if config.playbooks.require_signature => format!(
            "The diff is of {file}, as seen from the directory of the configuration. The playbook has to be signed anew \
             afterwards. With the path to the diff:"
        ),
        What::Playbook(_) => {
            format!(
                "The diff is of {file}, as seen from the directory of the configuration. With the path to the diff:"
            )
        }
    }
}

/// The heads of what backtests say.
fn outcome_head() -> Vec<&'static str> {
    vec![
        "Over",
        "Events",
        "Newly contained",
        "Newly spared",
        "Otherwise different",
        "Unchanged",
        "In force before, after",
    ]
}

fn outcome_row(it: &Outcome) -> Vec<String> {
    let (before, after) = it.containments;
    vec![
        it.over.clone(),
        it.events.to_string(),
        it.newly_contained.to_string(),
        it.newly_spared.to_string(),
        it.otherwise_different.to_string(),
        it.unchanged.to_string(),
        format!("{before}, {after}"),
    ]
}

/// What backtests say of a change, in one line.
fn outcome_line(it: &Suggested) -> String {
    if it.unjudged.is_some() {
        return "a backtest cannot judge it".to_owned();
    }
    let lines = it.backtest.iter().map(|it| {
        let otherwise = match it.otherwise_different {
            0 => String::new(),
            count => format!("{count} otherwise different, "),
        };
        format!(
            "{}: {} newly contained, {} newly spared, {otherwise}{} unchanged",
            it.over, it.newly_contained, it.newly_spared, it.unchanged
        )
    });
    lines.collect::<Vec<_>>().join("; ")
}

/// The part of the report about them.
pub(super) fn blocks(all: &[Suggested]) -> Vec<Block> {
    vec![
        Block::Heading("Changes that the record gives a reason for"),
        Block::Table(
            vec!["Diff", "Of", "What", "Records", "Backtest"],
            all.iter()
                .map(|it| {
                    let records: Vec<String> = it.records.iter().map(ToString::to_string).collect();
                    vec![
                        it.diff.clone(),
                        it.changes.clone(),
                        it.title.clone(),
                        records.join(", "),
                        outcome_line(it),
                    ]
                })
                .collect(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_beyond_the_bound_are_asked_about() {
        let reason = |at: usize| Reason {
            slug: "job-timeout",
            title: format!("Let the job j{at} run"),
            because: Vec::new(),
            wish: Wish::Settings(vec!["jobs".into()], Vec::new()),
            unjudged: None,
            guessed: None,
        };
        for (count, left_out) in [
            (CHANGES_MAX, None),
            (
                CHANGES_MAX + 2,
                Some(
                    "What else is to be changed? The record gives 22 reasons; the first 20 became changes. Left out: Let the \
                     job j20 run; Let the job j21 run.",
                ),
            ),
        ] {
            let mut questions = Vec::new();
            let kept = bounded((0..count).map(reason).collect(), &mut questions);
            assert_eq!(kept.len(), CHANGES_MAX);
            assert_eq!(
                questions.iter().map(String::as_str).collect::<Vec<_>>(),
                Vec::from_iter(left_out)
            );
        }
    }
}
