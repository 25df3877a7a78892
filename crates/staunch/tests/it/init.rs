//! `staunch init`: what it writes works, and what is there stays.

use std::fs;
use std::path::Path;

use crate::harness::{in_namespace, names_in, on_a_full_disk, staunch, stderr, wait_until};

fn init(words: &[&str]) -> std::process::Output {
    let mut all = vec!["init"];
    all.extend(words);
    staunch(&all).output().expect("the binary starts")
}

#[test]
fn a_part_of_a_file_never_passes_for_one_that_was_there() {
    on_a_full_disk("init::full_disk", |small| {
        // Room for the first page.
        let filler = fs::OpenOptions::new().write(true).open(small.join("filler"));
        filler.and_then(|it| it.set_len(4_096)).expect("it is ours");
        let etc = small.join("etc").display().to_string();
        let full = init(&[&etc, "--data-dir", "/var/lib/staunch-2"]);
        assert!(!full.status.success(), "{full:?}");
        let usual = tempfile::tempdir().expect("a temporary directory");
        let whole = usual.path().join("etc");
        assert!(
            init(&[&whole.display().to_string(), "--data-dir", "/var/lib/staunch-2"])
                .status
                .success()
        );
        for folder in [".", "playbooks"] {
            for name in names_in(&small.join("etc").join(folder)) {
                let read = |dir: &Path| fs::read(dir.join(folder).join(&name)).ok();
                assert_eq!(read(&small.join("etc")), read(&whole), "{folder}/{name}");
            }
        }
    });
}

#[test]
fn what_init_writes_is_valid_with_and_without_its_comments() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (etc, unit) = (at("etc"), at("staunch.service"));
    let refused = init(&[&etc, "--data-dir", &at("data"), "--unit", &unit]);
    assert_eq!(
        refused.status.code(),
        Some(2),
        "the service could not write there: {refused:?}"
    );
    let written = init(&[&etc, "--data-dir", "/var/lib/staunch-2", "--unit", &unit, "--json"]);
    assert!(written.status.success(), "{written:?}");
    let config = at("etc/staunch.toml");
    let check = |config: &str| {
        let checked = staunch(&["check", "--config", config])
            .output()
            .expect("the binary starts");
        assert!(checked.status.success(), "{checked:?}");
    };
    check(&config);
    // Nobody is warned of what was written for them.
    let checked = staunch(&["check", "--config", &config])
        .output()
        .expect("the binary starts");
    let said = String::from_utf8(checked.stderr).expect("it is text");
    assert!(
        said.contains("0 errors, 0 warnings") && !said.contains("P031"),
        "{said}"
    );
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("crypto-miner-freeze") && words.contains("under [processes]"),
        "{said}"
    );
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    // One that was changed was meant.
    let miner = etc + "/playbooks/crypto-miner-freeze.yaml";
    let text = fs::read_to_string(&miner).expect("it is there");
    fs::write(&miner, text.clone() + "# ours\n").expect("it is ours");
    let checked = staunch(&["check", "--config", &config])
        .output()
        .expect("the binary starts");
    let said = String::from_utf8(checked.stderr).expect("it is text");
    assert!(said.contains("1 warning\n") && said.contains("P031"), "{said}");
    fs::write(&miner, text).expect("it is ours");
    let tests = staunch(&["test", "--config", &config])
        .output()
        .expect("the binary starts");
    assert!(tests.status.success(), "{tests:?}");

    // Each key that is commented out is one, with a value that works.
    let text = fs::read_to_string(&config).expect("it is there");
    let is_key = |line: &str| line.starts_with('#') && !line.starts_with("# ");
    let shown = text.lines().filter(|line| is_key(line)).count();
    assert!(shown >= 12, "{shown} examples");
    let lines: Vec<_> = text
        .lines()
        .map(|line| if is_key(line) { &line[1..] } else { line })
        .collect();
    let tls = lines.join("\n").replace("/etc/staunch/tls", &at("tls"));
    let all = at("etc/all.toml");
    fs::write(&all, tls).expect("it is our directory");
    check(&all);

    let unit = fs::read_to_string(unit).expect("it is there");
    assert!(unit.contains(&format!("serve --config {config}\n")), "{unit}");
    assert!(
        unit.contains(&format!("reload --yes --config {config} --reason ")),
        "{unit}"
    );
    assert!(unit.contains("StateDirectory=staunch-2\n"), "{unit}");
    assert!(text.contains("data_dir = \"/var/lib/staunch-2\"\n"), "{text}");
    for placeholder in ["@BINARY@", "@CONFIG@", "@STATE@", "@DATA_DIR@"] {
        assert!(
            !unit.contains(placeholder) && !text.contains(placeholder),
            "{unit}{text}"
        );
    }
}

/// The unit has a `/tmp` of its own and hides homes: what it names there, it does not find.
#[test]
fn a_unit_whose_service_would_not_see_its_configuration_is_warned_of() {
    let unit_for = |dir: &Path, more: &[&str]| {
        let at = |name: &str| dir.join(name).display().to_string();
        let written = init(&[&[&*at("etc"), "--unit", &at("staunch.service")], more].concat());
        assert!(written.status.success(), "{written:?}");
        stderr(&written).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let hidden = tempfile::tempdir_in("/tmp").expect("a temporary directory");
    let said = unit_for(hidden.path(), &[]);
    let config = hidden.path().join("etc/staunch.toml");
    let expected = format!(
        "the service will not start: the configuration is {}, and the unit keeps /tmp of this machine from it",
        config.display()
    );
    assert!(
        said.contains(&expected) && said.contains("hint: name a directory such as /etc/staunch"),
        "{said}"
    );
    fs::remove_dir_all(hidden.path().join("etc")).expect("it is ours");
    fs::remove_file(hidden.path().join("staunch.service")).expect("it is ours");
    let json = unit_for(hidden.path(), &["--json"]);
    assert!(
        json.contains("\"warning\":\"the service will not start: the configuration is"),
        "{json}"
    );

    let seen = tempfile::tempdir_in("/dev/shm").expect("a directory that the unit does not hide");
    let said = unit_for(seen.path(), &[]);
    assert!(!said.contains("the configuration is"), "{said}");
    // Without a unit, nothing hides it.
    let alone = init(&[&hidden.path().join("alone").display().to_string()]);
    assert!(!stderr(&alone).contains("will not start"), "{alone:?}");
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let etc = dir.path().join("etc");
    fs::create_dir(&etc).expect("it is our directory");
    fs::write(etc.join("staunch.toml"), "mode = \"enforce\"\n").expect("it is our directory");
    let again = || init(&[&etc.display().to_string()]);
    let first = String::from_utf8(again().stdout).expect("it is text");
    assert!(first.contains("kept") && first.contains("written"), "{first}");
    let second = String::from_utf8(again().stdout).expect("it is text");
    assert!(second.contains("kept") && !second.contains("written"), "{second}");
    let kept = fs::read_to_string(etc.join("staunch.toml")).expect("it is there");
    assert_eq!(kept, "mode = \"enforce\"\n");
}

#[test]
fn a_path_that_would_mean_something_to_systemd_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for name in ["a b", "100%", "new\nline", "quo\"te"] {
        let refused = init(&[&dir.path().join(name).display().to_string()]);
        assert_eq!(refused.status.code(), Some(2), "{name}: {refused:?}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 0);
}

#[test]
fn a_server_runs_with_what_init_wrote() {
    in_namespace("init::serves", || {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let written = init(&[&at("etc"), "--data-dir", &at("data")]);
        assert!(written.status.success(), "{written:?}");
        let config = at("etc/staunch.toml");
        let run = |words: &[&str]| {
            let mut command = staunch(words);
            command.args(["--config", &config]).output().expect("the binary starts")
        };
        assert!(run(&["token", "create", "ann", "--role", "operator"]).status.success());
        let mut server = staunch(&["serve", "--config", &config, "--listen", "127.0.0.1:0"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the binary starts");
        wait_until("the server", || {
            let status = run(&["status"]);
            status.status.success() && String::from_utf8_lossy(&status.stdout).contains("observe")
        });
        server.kill().expect("it is ours");
        server.wait().expect("it is ours");
    });
}

/// Root makes tokens for a server that runs as another user, who must be able to read them.
#[test]
fn a_token_that_root_makes_belongs_to_the_user_of_the_server() {
    use std::os::unix::fs::{MetadataExt as _, chown};

    let dir = tempfile::tempdir().expect("a temporary directory");
    // Only root may give files away; anybody else makes them for themselves.
    let nobody = 65_534;
    let owner = match chown(dir.path(), Some(nobody), Some(nobody)) {
        Ok(()) => nobody,
        Err(_) => fs::metadata(dir.path()).expect("it is there").uid(),
    };
    let path = dir.path().display().to_string();
    for name in ["ann", "bob"] {
        let created = staunch(&["token", "create", name, "--role", "operator", "--data-dir", &path]);
        assert!({ created }.output().expect("the binary starts").status.success());
        for file in ["tokens", "tokens.lock"] {
            let metadata = fs::metadata(dir.path().join(file)).expect("it is there");
            assert_eq!((metadata.uid(), metadata.mode() & 0o777), (owner, 0o600), "{file}");
        }
    }
}
