//! Says of what a job is about which job that is, and whether it must never be run for it.
//!
//! Never runs a job, and knows nothing of subjects but what the configuration says.

use std::collections::BTreeMap;

use staunch_model::{Found, JobTarget, Target, TargetFacts};
use staunch_ports::{Seen, Targets};

/// Who tells what jobs are about: the subjects that are protected, by the name of the job.
#[derive(Clone, Debug, Default)]
pub struct JobTeller {
    protected: BTreeMap<Box<str>, Vec<String>>,
}

impl JobTeller {
    /// Makes one for the jobs that are the keys of `protected`.
    #[must_use]
    pub const fn new(protected: BTreeMap<Box<str>, Vec<String>>) -> Self {
        Self { protected }
    }

    fn facts(&self, job: &JobTarget) -> Result<TargetFacts, Box<str>> {
        let Some(protected) = self.protected.get(job.name()) else {
            return Err(format!("there is no job {} in the configuration", job.name()).into());
        };
        let subject = job.subject().to_lowercase();
        let is_protected = protected.iter().any(|it| it.to_lowercase() == subject);
        Ok(TargetFacts {
            what: match job.subject() {
                "" => "a job about the machine as a whole".into(),
                _ => "what a job is about".into(),
            },
            protected: is_protected.then(|| "it is protected by the configuration".into()),
        })
    }
}

impl Targets for JobTeller {
    fn find(&self, named: &Target, _: Seen<'_>) -> Found {
        self.look_again(named)
    }

    fn look_again(&self, target: &Target) -> Found {
        let facts = match target {
            Target::Job(job) => self.facts(job),
            other => Err(format!("{other} is not what a job is about").into()),
        };
        Found {
            target: target.clone(),
            facts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_protected_and_what_is_no_job_is_told() {
        let protected = BTreeMap::from([("lock".into(), vec!["Root@example.com".to_owned()])]);
        let teller = JobTeller::new(protected);
        let told = |text: &str| teller.look_again(&text.parse().expect("a target")).facts;
        assert_eq!(told("job:lock:alice").map(|it| it.protected), Ok(None));
        assert!(told("job:lock:root@EXAMPLE.com").is_ok_and(|it| it.protected.is_some()));
        assert!(told("job:other:alice").is_err_and(|why| why.contains("no job other")));
        assert!(told("account:alice").is_err());
    }
}
