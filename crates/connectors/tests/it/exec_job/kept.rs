//! A job that keeps files, as the contract suite wants it.

use std::fs;
use std::path::PathBuf;

use staunch_model::{InstallationId, Target};
use staunch_ports::Action;
use staunch_testkit::contract::action::{ActionWorld, Family};

use crate::exec_job_setting::{Place, target};

/// The files of `keep.sh`.
pub(super) struct Kept(pub(super) Place);

impl Kept {
    fn file(&self, target: &Target) -> PathBuf {
        let Target::Job(job) = target else { panic!("{target}") };
        self.0.state().join(job.subject())
    }

    fn set_works(&self, works: &str) {
        for entry in fs::read_dir(self.0.state()).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let label = text.lines().next().unwrap();
            fs::write(&path, format!("{label}\n{works}\n")).unwrap();
        }
    }
}

impl ActionWorld for Kept {
    fn driver(&self, installation: InstallationId) -> Box<dyn Action> {
        Box::new(self.0.driver(installation, self.0.job("keep.sh")))
    }
    fn label(&self, target: Target) -> Option<String> {
        let text = fs::read_to_string(self.file(&target)).ok()?;
        text.lines().next().map(ToOwned::to_owned)
    }
    fn put(&self, target: Target, label: &str) {
        fs::write(self.file(&target), format!("{label}\ntrue\n")).unwrap();
    }
    fn remove(&self, target: Target) {
        fs::remove_file(self.file(&target)).unwrap();
    }
    fn flush(&self) {
        fs::remove_dir_all(self.0.state()).unwrap();
        fs::create_dir(self.0.state()).unwrap();
    }
    fn break_enforcement(&self) {
        self.set_works("false");
    }
    fn restore_enforcement(&self) {
        self.set_works("true");
    }
    fn families(&self) -> &'static [Family] {
        &[Family::Jobs]
    }
    fn target(&self, _: Family, number: u16) -> Target {
        target(&format!("subject-{number}"))
    }
    fn counts_down(&self) -> bool {
        false
    }
    fn enforces_each(&self) -> bool {
        true
    }
    fn batch_sizes(&self) -> &'static [u16] {
        &[1, 2, 12]
    }
}
