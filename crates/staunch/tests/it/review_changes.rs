//! The changes that a review suggests: each from a record, as a diff that `git apply` takes, with what it comes to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command as Program;

use serde_json::Value;
use staunch_model::{
    Command, ContentHash, Effect, EvidenceId, Failure, FailureKind, Found, Input, Mode, Operator, Outcome,
    ReleaseScope, Sealed, Span, TargetFacts, Timestamp, TransactionId,
};

use crate::backtest::{alert, at, record_with, world};
use crate::harness::{Home, stderr};

/// Words that would be markup, structure of YAML or TOML, a hunk or a command to a terminal if they were let.
const HOSTILE: &str =
    "benign\n@@ -1 +1 @@\n-a\n+b\n[x]\n  - c: d <script>alert(1)</script> \"q\" [x](http://e) \u{1b}[31m\u{2028}";

/// What of it may stand nowhere.
const UNSAFE: [&str; 4] = ["\u{1b}", "\u{2028}", "\n+b\n", "\n[x]"];

/// A playbook with comments, of which `limits` and `steps` are chosen.
pub(crate) fn playbook(limits: &str, steps: &str) -> String {
    format!(
        "# What is blocked.\nplaybook: share # its name\nsummary: Blocks in tests.\ntrigger:\n  sources: [suricata]\n  \
         when: event.signature.contains(\"Brute\")\n  incident: event.source.ip\n  deduplicate: 10m\n{limits}\
         # What is done.\ncontain:\n{steps}"
    )
}

pub(crate) const BLOCK: &str = "  - block-ip: { target: event.source.ip, lease: 1h } # an hour\n\
    mode: { low: enforce, medium: approve } # and no more\n";

/// An installation with the playbook `text`, and what was recorded of `events`, each an attacker with its minute.
fn recorded(text: &str, events: &[(&str, u64)], commands: &[(Timestamp, Input)], flows: u64) -> Home {
    let events: Vec<_> = events
        .iter()
        .map(|(address, minute)| (at(*minute), alert(address, at(*minute), "Brute force")))
        .collect();
    recorded_as(text, &events, commands, &|effect| {
        world(effect, flows, &Outcome::Landed)
    })
}

pub(crate) fn recorded_as(
    text: &str,
    events: &[(Timestamp, String)],
    commands: &[(Timestamp, Input)],
    world: &dyn Fn(&Effect) -> Option<Input>,
) -> Home {
    let home = Home::new(
        "# The configuration.\n[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[evidence]\nimmutable = false\n\
         [limits]\nlease_max = \"24h\" # a day\n",
    );
    home.playbook("share.yaml", text);
    fs::create_dir_all(home.data()).expect("it is our directory");
    record_with(&home.data().join("journal"), text, events, commands, world);
    home
}

fn asks(minute: u64, command: Command, reason: &str) -> (Timestamp, Input) {
    let by = Operator {
        name: "ann".into(),
        from: "".into(),
        reason: reason.into(),
    };
    (at(minute), Input::Operator { by, command })
}

pub(crate) struct Review<'h> {
    home: &'h Home,
    dir: String,
    said: Value,
}

impl<'h> Review<'h> {
    pub(crate) fn of(home: &'h Home, id: &str) -> Self {
        let dir = home.path(&format!("review-{id}")).display().to_string();
        let output = home.run(&["review", id, "--output", &dir, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        Self {
            home,
            said: serde_json::from_slice(&output.stdout).expect("it is JSON"),
            dir,
        }
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(Path::new(&self.dir).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The one change that is suggested, and its diff.
    fn only(&self) -> (&Value, String) {
        let all = self.said["changes"].as_array().expect("a list");
        assert_eq!(all.len(), 1, "{}", self.said);
        (&all[0], self.text(all[0]["diff"].as_str().expect("a name")))
    }

    /// The exit code of `review check`, and what it says of the diffs.
    fn check(&self) -> (Option<i32>, Vec<String>) {
        let output = self.home.run(&["review", "check", &self.dir, "--json"]);
        let answer: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        let checks = answer["checks"].as_array().expect("a list").iter();
        let diffs = checks.filter(|it| it["what"].as_str().is_some_and(|name| name.ends_with(".diff")));
        let said = diffs.map(|it| it["why"].as_str().expect("a text").to_owned());
        (output.status.code(), said.collect())
    }

    /// Applies every diff as a person would.
    fn git_apply(&self) {
        self.git_apply_some(usize::MAX);
    }

    /// Applies the first diffs in their order.
    fn git_apply_some(&self, count: usize) {
        let dir = self.home.config();
        let dir = dir.parent().expect("it has one");
        for change in self.said["changes"].as_array().expect("a list").iter().take(count) {
            let output = Program::new("git")
                .args(["apply", "--verbose"])
                .arg(Path::new(&self.dir).join(change["diff"].as_str().expect("a name")))
                .current_dir(dir)
                .env("GIT_CEILING_DIRECTORIES", dir)
                .output()
                .expect("git starts");
            assert!(output.status.success(), "{}", stderr(&output));
        }
    }
}

/// The lines that a diff takes out and puts in.
fn lines(diff: &str) -> Vec<&str> {
    let body = diff.lines().skip(2);
    body.filter(|line| line.starts_with(['+', '-'])).collect()
}

fn has_git() -> bool {
    Program::new("git").arg("--version").output().is_ok()
}

/// What a backtest says: over the incident's own events, and over all of the journal.
fn backtest(change: &Value, key: &str) -> Vec<u64> {
    let all = change["backtest"].as_array().expect("a list").iter();
    all.map(|it| it[key].as_u64().expect("a number")).collect()
}

#[test]
fn a_share_that_crossed_the_limit_is_a_diff_of_one_line_that_is_checked_until_it_is_taken() {
    let text = playbook(
        "context: [traffic-share]\nguards:\n  impact: { traffic_share_max: 5% } # a twentieth\n",
        BLOCK,
    );
    let home = recorded(&text, &[("203.0.113.1", 0)], &[], 7);
    let review = Review::of(&home, "INC-1");
    let (change, diff) = review.only();
    assert_eq!(
        lines(&diff),
        [
            "-  impact: { traffic_share_max: 5% } # a twentieth",
            "+  impact: { traffic_share_max: 7% } # a twentieth"
        ]
    );
    assert!(
        diff.starts_with("--- a/playbooks/share.yaml\n+++ b/playbooks/share.yaml\n"),
        "{diff}"
    );
    assert_eq!(backtest(change, "newly_contained"), [1, 1], "{change}");
    assert_eq!(backtest(change, "newly_spared"), [0, 0], "{change}");
    let unmet = change["changes_expectations"].as_array().expect("a list");
    assert_eq!(unmet.len(), 1, "{change}");
    assert!(
        unmet[0]
            .as_str()
            .is_some_and(|it| it.contains("refused: { \"203.0.113.1\": impact }")),
        "{change}"
    );
    let told = review.text("changes/01-traffic-share-max.md");
    assert!(told.contains("this would stop 7 % of the traffic"), "{told}");
    let record = change["records"][0].as_u64().expect("a number");
    assert!(told.contains(&format!("| {record} | TX-1 was refused")), "{told}");
    assert!(review.text("report.md").contains("changes/01-traffic-share-max.diff"));
    assert!(review.text("README.md").contains("`changes/01-traffic-share-max.diff`"));
    for (name, expected) in [
        ("changes", 0o700),
        ("changes/01-traffic-share-max.diff", 0o600),
        ("changes/changes.json", 0o600),
    ] {
        let metadata = fs::metadata(Path::new(&review.dir).join(name)).expect("it was written");
        assert_eq!(metadata.permissions().mode() & 0o777, expected, "{name}");
    }

    let (code, said) = review.check();
    assert_eq!(code, Some(0), "{said:?}");
    assert_eq!(
        said,
        ["it applies to playbooks/share.yaml; one expectation of the test changes, as it says"]
    );
    // An expectation that is not said to change is told.
    let index = Path::new(&review.dir).join("changes/changes.json");
    let whole = fs::read_to_string(&index).expect("it was written");
    fs::write(&index, whole.replace("refused: {", "other: {")).expect("it is our directory");
    let (code, said) = review.check();
    assert_eq!(code, Some(13), "{said:?}");
    assert!(
        said[0].starts_with("with it the test fails where it is not said to"),
        "{said:?}"
    );
    fs::write(&index, whole).expect("it is our directory");

    home.playbook(
        "share.yaml",
        &text.replace("{ traffic_share_max: 5% }", "{ traffic_share_max: 6% }"),
    );
    let (code, said) = review.check();
    assert_eq!(code, Some(13), "{said:?}");
    assert!(said[0].starts_with("it does not apply any more"), "{said:?}");
    home.playbook("share.yaml", &format!("# One line more.\n{text}"));
    let (code, said) = review.check();
    assert_eq!(code, Some(0), "{said:?}");

    if !has_git() {
        return staunch_testkit::skip("git apply of a suggested change", "there is no git");
    }
    review.git_apply();
    let taken = fs::read_to_string(home.path("playbooks/share.yaml")).expect("it is there");
    assert_eq!(taken, format!("# One line more.\n{}", text.replace("5% }", "7% }")));
    assert_eq!(
        review.check(),
        (Some(0), vec!["already applied to playbooks/share.yaml".to_owned()])
    );
}

#[test]
fn a_backtest_goes_as_far_as_people_had_allowed_then() {
    let text = playbook(
        "context: [traffic-share]\nguards:\n  impact: { traffic_share_max: 5% }\n",
        BLOCK,
    );
    let events = [
        (at(0), alert("203.0.113.1", at(0), "Nothing")),
        (at(2), alert("203.0.113.1", at(2), "Brute force")),
    ];
    let asking = asks(1, Command::SetMode(Mode::Approve), "");
    let home = recorded_as(&text, &events, &[asking], &|effect| world(effect, 7, &Outcome::Landed));
    let review = Review::of(&home, "INC-1");
    let (change, _) = review.only();
    assert_eq!(backtest(change, "newly_contained"), [0, 0], "{change}");
    assert_eq!(backtest(change, "otherwise_different"), [1, 1], "{change}");
    let test = review.text("tests/share.review-INC-1.test.yaml");
    assert!(test.contains("mode: approve"), "{test}");

    // Archived events are a past of their own. Of one that matches after all, the share of traffic is not known.
    let archive = home.path("events");
    fs::create_dir_all(&archive).expect("it is our directory");
    let lines = [
        alert("203.0.113.8", at(3), "Brute"),
        alert("203.0.113.9", at(4), "Nothing"),
    ]
    .join("\n");
    let packed = zstd::encode_all(lines.as_bytes(), 3).expect("it packs");
    fs::write(archive.join("suricata-20260301T120000.000000Z.ndjson.zst"), packed).expect("it is our directory");
    let archive = archive.display().to_string();
    let output = home.run(&[
        "review",
        "INC-1",
        "--output",
        &review.dir,
        "--force",
        "--archive",
        &archive,
        "--json",
    ]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let change = &said["changes"][0];
    assert_eq!(backtest(change, "events"), [1, 2, 2], "{change}");
    assert_eq!(backtest(change, "unchanged"), [0, 0, 1], "{change}");
    assert_eq!(
        change["backtest"][2]["over"],
        "archived events that matched no playbook"
    );
}

#[test]
fn what_cannot_be_a_diff_is_a_question_with_the_reason() {
    let text = playbook(
        "context: [traffic-share]\nguards:\n  impact: { traffic_share_max: 5% }\n",
        BLOCK,
    );
    let home = recorded(&text, &[("203.0.113.1", 0)], &[], 7);
    fs::rename(home.path("playbooks/share.yaml"), home.path("playbooks/a \"b\".yaml")).expect("it is our directory");
    let review = Review::of(&home, "INC-1");
    assert_eq!(review.said["changes"], Value::Array(Vec::new()));
    let questions = review.said["questions"].to_string();
    assert!(
        questions.contains("Let an act stop 7% of the traffic instead of 5%"),
        "{questions}"
    );
    assert!(
        questions.contains("the name of the file would need quotes in a diff"),
        "{questions}"
    );
    assert!(!Path::new(&review.dir).join("changes").exists());

    // A playbook that was changed since is no longer the one that the record speaks of.
    let home = recorded(&text, &[("203.0.113.1", 0)], &[], 7);
    home.playbook("share.yaml", &text.replace("a twentieth", "").replace("5%", "6%"));
    let review = Review::of(&home, "INC-1");
    let questions = review.said["questions"].to_string();
    assert!(
        questions.contains("no configured playbook has the recorded hash"),
        "{questions}"
    );
    assert_eq!(review.said["changes"], Value::Array(Vec::new()));
}

#[test]
fn an_event_that_was_too_old_and_a_budget_that_was_spent_name_their_numbers() {
    let text = playbook("", BLOCK);
    let old = [(at(20), alert("203.0.113.1", at(0), "Brute force"))];
    let home = recorded_as(&text, &old, &[], &|effect| world(effect, 0, &Outcome::Landed));
    let review = Review::of(&home, "INC-1");
    let (change, diff) = review.only();
    assert_eq!(lines(&diff), ["+guards: { event_age_max: 20m }"]);
    assert!(
        diff.contains("+guards: { event_age_max: 20m }\n # What is done.\n contain:"),
        "{diff}"
    );
    assert_eq!(backtest(change, "newly_contained"), [1, 1], "{change}");
    assert_eq!(review.check().0, Some(0));

    let text = playbook("guards: { acts_per_hour_max: 1 }\n", BLOCK);
    let home = recorded(&text, &[("203.0.113.1", 0), ("198.51.100.1", 1)], &[], 0);
    assert_eq!(Review::of(&home, "INC-1").said["changes"], Value::Array(Vec::new()));
    let review = Review::of(&home, "INC-2");
    let (change, diff) = review.only();
    assert_eq!(
        lines(&diff),
        ["-guards: { acts_per_hour_max: 1 }", "+guards: { acts_per_hour_max: 2 }"]
    );
    // Alone, it would have had the budget for itself.
    assert_eq!(backtest(change, "newly_contained"), [0, 1], "{change}");
}

#[test]
fn a_budget_of_the_configuration_is_a_diff_of_that() {
    let addresses: Vec<String> = (1..=21).map(|last| format!("203.0.113.{last}")).collect();
    let events: Vec<(&str, u64)> = addresses.iter().map(|it| (it.as_str(), 1)).collect();
    let home = recorded(&playbook("", BLOCK), &events, &[], 0);
    let review = Review::of(&home, "INC-21");
    let (change, diff) = review.only();
    assert_eq!(change["changes"], "staunch.toml");
    assert_eq!(lines(&diff), ["+acts_per_group_hour_max = 21"]);
    assert!(
        diff.contains(" [limits]\n+acts_per_group_hour_max = 21\n lease_max = \"24h\" # a day\n"),
        "{diff}"
    );
    assert_eq!(backtest(change, "newly_contained"), [0, 1], "{change}");
    let (code, said) = review.check();
    assert_eq!(code, Some(0), "{said:?}");
    assert_eq!(said, ["it applies to staunch.toml, which can be used with it"]);
}

#[test]
fn a_question_that_lapsed_and_one_of_which_nobody_was_told_are_reasons_that_no_backtest_judges() {
    let text = playbook("", &BLOCK.replace("low: enforce", "low: approve"));
    let late = asks(75, Command::Approve(TransactionId(1)), "");
    let home = recorded(&text, &[("203.0.113.1", 0)], &[late], 0);
    let review = Review::of(&home, "INC-1");
    let (change, diff) = review.only();
    assert_eq!(lines(&diff), ["+approval_expiry = \"1h15m\""]);
    assert_eq!(change["backtest"], Value::Array(Vec::new()));
    let told = review.text("changes/01-longer-approval-expiry.md");
    assert!(told.contains("It cannot judge this change."), "{told}");
    assert!(
        told.contains("ann approved TX-1 after 1h15m") && !told.contains("guess"),
        "{told}"
    );
    assert_eq!(review.check().0, Some(0));

    let text = playbook(
        "",
        &format!("{}notify: []\n", BLOCK.replace("low: enforce", "low: approve")),
    );
    let soon = asks(1, Command::Approve(TransactionId(1)), "");
    let home = recorded(&text, &[("203.0.113.1", 0)], &[soon], 0);
    let review = Review::of(&home, "INC-1");
    let (_, diff) = review.only();
    assert_eq!(lines(&diff), ["-notify: []", "+notify: [page]"]);
    let (code, said) = review.check();
    assert_eq!(code, Some(0), "{said:?}");
    assert_eq!(said, ["it applies to playbooks/share.yaml; the test passes with it"]);
}

#[test]
fn what_a_person_released_as_benign_is_never_touched_and_its_words_stay_words() {
    let release = Command::Release(ReleaseScope::Transaction(TransactionId(1)));
    let signature = format!("Brute {HOSTILE}");
    let events = [(at(0), alert("203.0.113.1", at(0), &signature))];
    let home = recorded_as(&playbook("", BLOCK), &events, &[asks(5, release, HOSTILE)], &|effect| {
        world(effect, 0, &Outcome::Landed)
    });
    let review = Review::of(&home, "INC-1");
    let (change, diff) = review.only();
    let record = change["records"][0].as_u64().expect("a number");
    assert_eq!(
        lines(&diff),
        [
            "+".to_owned(),
            "+[[never_touch.networks]]".to_owned(),
            "+network = \"203.0.113.1/32\"".to_owned(),
            format!("+reason = \"INC-1: TX-1 was released, for the reason in record {record}\""),
        ]
    );
    assert_eq!(backtest(change, "newly_spared"), [1, 1], "{change}");
    for name in review.said["files"].as_array().expect("a list") {
        let name = name.as_str().expect("a name");
        let text = review.text(name);
        // The record itself is data, in which line ends and markup are escaped by its form or stand as they came.
        if !name.ends_with(".json") && !name.ends_with(".html") {
            for hostile in UNSAFE {
                assert!(!text.contains(hostile), "{name}: {hostile:?} in {text}");
            }
            // In Markdown it would be markup; in quotes of YAML it is text.
            assert!(!name.ends_with(".md") || !text.contains(" <script"), "{name}: {text}");
        }
    }
    let (code, said) = review.check();
    assert_eq!(code, Some(0), "{said:?}");
    if !has_git() {
        return staunch_testkit::skip("git apply of a protected network", "there is no git");
    }
    review.git_apply();
    assert_eq!(review.check().1, ["already applied to staunch.toml"]);
    let name = Path::new(&review.dir).join("changes/notes.md");
    fs::write(&name, "mine").expect("it is our directory");
    let again = home.run(&["review", "INC-1", "--output", &review.dir, "--force", "--json"]);
    let said: Value = serde_json::from_slice(&again.stdout).expect("it is JSON");
    assert_eq!(said["changes"], Value::Array(Vec::new()), "it is protected already");
    let left: Vec<_> = fs::read_dir(Path::new(&review.dir).join("changes"))
        .expect("it is there")
        .collect();
    assert_eq!(
        left.len(),
        1,
        "what an earlier review wrote is gone, and nothing else: {left:?}"
    );

    let trusting = Command::ReleaseTrusting {
        scope: ReleaseScope::Transaction(TransactionId(1)),
        trust: Span::from_hours(1),
    };
    let home = recorded(&playbook("", BLOCK), &[("203.0.113.1", 0)], &[asks(5, trusting, "")], 0);
    let review = Review::of(&home, "INC-1");
    let (change, diff) = review.only();
    assert_eq!(change["title"], "Never touch 203.0.113.1");
    // Nobody has said that it was a mistake.
    assert!(diff.contains("TX-1 was released and trusted for 1h (record "), "{diff}");
    for reason in ["done", "released by mistake: block it again"] {
        let plain = Command::Release(ReleaseScope::Transaction(TransactionId(1)));
        let asked = [asks(5, plain, reason)];
        let home = recorded(&playbook("", BLOCK), &[("203.0.113.1", 0)], &asked, 0);
        let said = &Review::of(&home, "INC-1").said;
        assert_eq!(said["changes"], Value::Array(Vec::new()), "{reason}");
    }
}

#[test]
fn who_comes_back_after_a_lease_is_a_reason_for_one_that_grows() {
    let home = recorded(&playbook("", BLOCK), &[("203.0.113.1", 0), ("203.0.113.1", 90)], &[], 0);
    for id in ["INC-1", "INC-2"] {
        let review = Review::of(&home, id);
        let (change, diff) = review.only();
        assert_eq!(
            lines(&diff),
            [
                "-  - block-ip: { target: event.source.ip, lease: 1h } # an hour",
                "+  - block-ip: { target: event.source.ip, lease: { first: 1h, then: [6h, 1d] } } # an hour"
            ]
        );
        assert_eq!(backtest(change, "unchanged"), [1, 1], "{change}");
        assert_eq!(change["changes_expectations"], Value::Array(Vec::new()), "{change}");
        let (code, said) = review.check();
        assert_eq!(code, Some(0), "{said:?}");
    }
    let grows = BLOCK.replace("lease: 1h", "lease: { first: 1h, then: [6h] }");
    let home = recorded(
        &playbook("", &grows),
        &[("203.0.113.1", 0), ("203.0.113.1", 90)],
        &[],
        0,
    );
    assert_eq!(Review::of(&home, "INC-2").said["changes"], Value::Array(Vec::new()));
}

#[test]
fn evidence_that_came_late_tells_how_long_it_takes() {
    let steps = format!("preserve:\n  - network # the sockets\n  - flows: {{ target: event.source.ip }}\n{BLOCK}");
    let text = playbook("", BLOCK).replace("# What is done.\ncontain:\n", "# What is done.\n");
    let text = text.replace(BLOCK, &steps.replace("  - block-ip", "contain:\n  - block-ip"));
    let sealed = Input::Collected {
        evidence: EvidenceId(1),
        result: Ok(Sealed {
            hash: ContentHash::default(),
            artefacts: 1,
            bytes: 1,
        }),
    };
    let late = (at(0) + Span::from_millis(4_200), sealed);
    let home = recorded(&text, &[("203.0.113.1", 0)], &[late], 0);
    let review = Review::of(&home, "INC-1");
    let all = review.said["changes"].as_array().expect("a list");
    let diffs: Vec<String> = all
        .iter()
        .map(|it| review.text(it["diff"].as_str().expect("a name")))
        .collect();
    let changed: Vec<_> = diffs.iter().flat_map(|it| lines(it)).collect();
    assert_eq!(
        changed,
        [
            "-  - network # the sockets",
            "+  - network: { deadline: 5s } # the sockets",
            "-  - flows: { target: event.source.ip }",
            "+  - flows: { target: event.source.ip, deadline: 4s }"
        ]
    );
    let told = review.text("changes/01-evidence-deadline.md");
    assert!(told.contains("sealed after all, 4s after it was asked for"), "{told}");
    assert!(
        !review
            .text("changes/02-evidence-deadline.md")
            .contains("sealed after all")
    );
    // The lines stand beside each other: the second was made for the file with the first.
    assert_eq!(all[0].get("after"), None, "{}", all[0]);
    assert_eq!(
        all[1]["after"],
        serde_json::json!(["changes/01-evidence-deadline.diff"])
    );
    let told = review.text("changes/02-evidence-deadline.md");
    assert!(
        told.contains("Apply these before it, in this order: changes/01-evidence-deadline.diff"),
        "{told}"
    );
    let (code, said) = review.check();
    assert_eq!(code, Some(0), "{said:?}");
    assert!(
        said[1].starts_with("it applies to playbooks/share.yaml after changes/01-evidence-deadline.diff; "),
        "{said:?}"
    );
    if !has_git() {
        return staunch_testkit::skip("git apply of two changes beside each other", "there is no git");
    }
    // One is taken, then the other.
    let whole = fs::read_to_string(home.path("playbooks/share.yaml")).expect("it is there");
    review.git_apply_some(1);
    let (code, said) = review.check();
    assert_eq!(code, Some(0), "{said:?}");
    assert_eq!(said[0], "already applied to playbooks/share.yaml");
    assert!(said[1].starts_with("it applies to playbooks/share.yaml; "), "{said:?}");
    home.playbook("share.yaml", &whole);
    review.git_apply();
    let taken = fs::read_to_string(home.path("playbooks/share.yaml")).expect("it is there");
    assert!(
        taken.contains(
            "  - network: { deadline: 5s } # the sockets\n  - flows: { target: event.source.ip, deadline: 4s }\n"
        ),
        "{taken}"
    );
    let (code, said) = review.check();
    assert_eq!(code, Some(0), "{said:?}");
    assert_eq!(said, ["already applied to playbooks/share.yaml"; 2]);
    // Neither stands there.
    home.playbook(
        "share.yaml",
        &whole.replace("  - network # the sockets\n", "  - network\n"),
    );
    let (code, said) = review.check();
    assert_eq!(code, Some(13), "{said:?}");
    assert!(
        said.iter().all(|it| it.starts_with("it does not apply any more")),
        "{said:?}"
    );
}

#[test]
fn a_job_that_was_killed_for_its_time_may_run_for_longer() {
    let job = "  - exec-job: { job: cut-off, target: event.source.ip, lease: 1h }\nmode: { high: enforce }\n";
    let text = playbook("", job);
    let slow = |effect: &Effect| {
        let late = Failure::new(FailureKind::TimedOut, "it took too long and was killed");
        world(effect, 0, &Outcome::InDoubt(late))
    };
    // What the job is about is looked up before it is needed.
    let known = Input::Found(Found {
        target: "job:cut-off:203.0.113.1".parse().expect("a target"),
        facts: Ok(TargetFacts {
            what: "an address".into(),
            protected: None,
        }),
    });
    let events = [
        (at(0), alert("203.0.113.1", at(0), "Nothing")),
        (at(2), alert("203.0.113.1", at(2), "Brute force")),
    ];
    let home = recorded_as(&text, &events, &[(at(1), known)], &slow);
    let config = fs::read_to_string(home.config()).expect("it is there");
    let job = "[jobs.cut-off]\nprogram = \"/bin/true\"\nobserve = [\"a\"]\nexecute = [\"b\"]\nundo = [\"c\"]\ntimeout = \"20s\" # enough\n";
    fs::write(home.config(), format!("{config}{job}")).expect("it is our directory");
    let review = Review::of(&home, "INC-1");
    let (change, diff) = review.only();
    assert_eq!(change["title"], "Let the job cut-off run for 40s instead of 20s");
    assert_eq!(
        lines(&diff),
        ["-timeout = \"20s\" # enough", "+timeout = \"40s\" # enough"]
    );
    assert_eq!(change["backtest"], Value::Array(Vec::new()));
    assert_eq!(review.check().0, Some(0));
}
