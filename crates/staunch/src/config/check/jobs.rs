//! Jobs that could not be run as they are described.

use std::path::Path;

use staunch_connectors::actions::exec_job::{PLACEHOLDERS, unknown_placeholder};
use staunch_model::{Printable, Span, is_job_name};

use super::super::Config;
use super::super::jobs::JobSettings;
use super::Checker;

/// The most jobs.
const JOBS_MAX: usize = 64;

/// The most arguments of one verb, and variables of the environment.
const LIST_MAX: usize = 64;

impl Checker<'_> {
    pub(super) fn jobs(&mut self, config: &Config) {
        if config.jobs.len() > JOBS_MAX {
            let what = format!("there are {} jobs, and at most {JOBS_MAX}", config.jobs.len());
            self.add(&["jobs"], what, "leave out some of them");
        }
        for (name, job) in &config.jobs {
            if !is_job_name(name) {
                let what = format!("{} cannot be the name of a job", Printable(name));
                let hint = "a name has 1 to 64 lower-case letters, digits and -, and begins with a letter";
                self.add(&["jobs", name], what, hint);
            }
            self.job(name, job);
        }
    }

    fn job(&mut self, name: &str, job: &JobSettings) {
        if !job.program.is_absolute() {
            let what = "this is not the whole path of a program".to_owned();
            self.add(
                &["jobs", name, "program"],
                what,
                "write for example \"/usr/local/bin/quarantine\"",
            );
        }
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        if job.sha256.as_deref().is_some_and(|it| !is_hash(it)) {
            let what = "this is no SHA-256".to_owned();
            self.add(
                &["jobs", name, "sha256"],
                what,
                "write the 64 small digits that sha256sum prints",
            );
        }
        for (verb, arguments, known) in [
            ("observe", &job.observe, &PLACEHOLDERS[..1]),
            ("execute", &job.execute, &PLACEHOLDERS[..]),
            ("undo", &job.undo, &PLACEHOLDERS[..]),
        ] {
            if arguments.is_empty() || arguments.len() > LIST_MAX {
                let what = format!("there are {} arguments, and must be 1 to {LIST_MAX}", arguments.len());
                self.add(
                    &["jobs", name, verb],
                    what,
                    "write for example [\"observe\", \"{subject}\"]",
                );
            }
            for argument in arguments {
                if let Some(unknown) = unknown_placeholder(argument, known) {
                    let what = format!("{} is not replaced here", Printable(unknown));
                    let known: Vec<String> = known.iter().map(|it| format!("{{{it}}}")).collect();
                    let hint = format!("what is replaced here: {}", known.join(", "));
                    self.add(&["jobs", name, verb], what, &hint);
                }
                if argument.contains('\0') {
                    let what = "an argument cannot hold the character 0".to_owned();
                    self.add(&["jobs", name, verb], what, "leave it out");
                }
            }
        }
        self.bounds_of_job(name, job);
        let of_paths = [("read", &job.read), ("write", &job.write)];
        for (key, path) in of_paths
            .iter()
            .flat_map(|(key, paths)| paths.iter().map(move |it| (*key, it)))
        {
            if !path.is_absolute() || path == Path::new("/") {
                let shown = path.display().to_string();
                let what = format!("{} is no whole path of a file or directory below /", Printable(&shown));
                self.add(&["jobs", name, key], what, "write for example \"/var/lib/quarantine\"");
            }
        }
        for variable in job.environment.keys() {
            if variable.is_empty() || variable.contains(['=', '\0']) {
                let what = format!("{} is no name of a variable", Printable(variable));
                self.add(
                    &["jobs", name, "environment"],
                    what,
                    "write for example STATE = \"/var/lib/quarantine\"",
                );
            }
        }
        if job.environment.len() > LIST_MAX || job.environment.values().any(|it| it.contains('\0')) {
            let what = format!("there are more than {LIST_MAX} variables, or one holds the character 0");
            self.add(&["jobs", name, "environment"], what, "leave some out");
        }
    }

    fn bounds_of_job(&mut self, name: &str, job: &JobSettings) {
        let (second, most) = (Span::from_secs(1), Span::from_mins(5));
        if job.timeout < second || job.timeout > most {
            let what = format!("the time is {}, and must be from {second} to {most}", job.timeout);
            self.add(&["jobs", name, "timeout"], what, "write for example \"10s\"");
        }
        if job.in_flight_max > Span::from_hours(1) {
            let what = format!("the time is {}, and must be at most 1h", job.in_flight_max);
            self.add(&["jobs", name, "in_flight_max"], what, "write for example \"1s\"");
        }
        for (key, value, least, most) in [
            ("memory_mib_max", job.memory_mib_max, 16, 65_536),
            ("processes_max", job.processes_max, 1, 4_096),
            ("cpu_percent_max", job.cpu_percent_max, 1, 10_000),
            ("output_kib_max", job.output_kib_max, 1, 1_024),
        ] {
            if !(least..=most).contains(&value) {
                let what = format!("it is {value}, and must be from {least} to {most}");
                self.add(&["jobs", name, key], what, "leave it out for the default");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    /// The mistakes of a job that is `text` beside what every job has.
    fn mistakes(text: &str) -> String {
        let base = "[jobs.a]\nprogram = \"/bin/x\"\nobserve = [\"o\"]\nundo = [\"u\"]\n";
        let execute = if text.starts_with("execute") {
            ""
        } else {
            "execute = [\"e\", \"{label}\"]\n"
        };
        match parse(&format!("{base}{execute}{text}")) {
            Ok(_) => String::new(),
            Err(mistakes) => format!("{mistakes:?}"),
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        assert_eq!(mistakes("read = [\"/srv\"]\nuser = \"nobody\""), "");
        for (text, expect) in [
            ("sha256 = \"AB\"", "no SHA-256"),
            ("execute = [\"{subjekt}\"]", "{subjekt} is not replaced"),
            ("execute = []", "0 arguments"),
            ("timeout = \"6m\"", "from 1s to 5m"),
            ("in_flight_max = \"2h\"", "at most 1h"),
            ("memory_mib_max = 1", "from 16 to"),
            ("processes_max = 0", "from 1 to"),
            ("cpu_percent_max = 0", "from 1 to"),
            ("output_kib_max = 2000", "from 1 to"),
            ("write = [\"/\"]", "no whole path"),
            ("read = [\"srv\"]", "no whole path"),
            ("environment = { \"A=B\" = \"c\" }", "no name of a variable"),
            (
                "[jobs.Big]\nprogram = \"x\"\nobserve = [\"{key}\"]\nundo = [\"u\"]\nexecute = [\"e\"]",
                "cannot be the name",
            ),
            (
                "[jobs.b]\nprogram = \"x\"\nobserve = [\"o\"]\nundo = [\"u\"]\nexecute = [\"e\"]",
                "not the whole path",
            ),
            (
                "[jobs.b]\nprogram = \"/x\"\nobserve = [\"{key}\"]\nundo = [\"u\"]\nexecute = [\"e\"]",
                "{key} is not replaced",
            ),
        ] {
            let found = mistakes(text);
            assert!(found.contains(expect), "{text}: {found}");
        }
    }
}
