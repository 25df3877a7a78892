//! `staunch playbook`

use std::path::Path;

use serde_json::json;
use staunch_model::Printable;
use staunch_playbook::written_out;

use crate::cli::{PlaybookCommand, PlaybookShowArgs, PlaybookSignArgs, PlaybookVerifyArgs};
use crate::exit::{Exit, Fault};
use crate::files::must_be_there;
use crate::note::{Signer, Verifier};
use crate::output::{Output, print, say};
use crate::playbooks::{PATHS_HINT, Texts};
use crate::signing::{self, Trust, Unproved};
use crate::{config, wiring};

pub(super) fn run(command: &PlaybookCommand) -> Result<Exit, Fault> {
    match command {
        PlaybookCommand::Show(args) => show(args),
        PlaybookCommand::Keygen { key, name } => keygen(key, name),
        PlaybookCommand::Sign(args) => sign(args),
        PlaybookCommand::Verify(args) => verify(args),
    }
}

fn show(args: &PlaybookShowArgs) -> Result<Exit, Fault> {
    let config = config::load(args.config.config.as_deref())?.config;
    must_be_there(std::slice::from_ref(&args.path), "name the file of a playbook")?;
    let texts = Texts::of_paths(std::slice::from_ref(&args.path));
    let context = wiring::check_context(&config);
    let mut sources = texts.sources();
    let (Some(source), None) = (sources.next(), sources.next()) else {
        texts.tell(&[]);
        let what = format!("{} is not one playbook", Printable(&args.path.display().to_string()));
        return Err(Fault::new(Exit::NotFound, what).hint("name the file of a playbook"));
    };
    match written_out(source, &context) {
        Ok(text) => print(&text)?,
        Err(found) => {
            texts.tell(&found);
            return Ok(Exit::Usage);
        }
    }
    Ok(Exit::Ok)
}

fn keygen(path: &Path, name: &str) -> Result<Exit, Fault> {
    let signer = Signer::make(path, name)?;
    print(&format!("{}\n", signer.verifier().text()))?;
    say("put this verifier key into `trusted_keys` under [playbooks], and keep the file of the key off the servers");
    Ok(Exit::Ok)
}

fn sign(args: &PlaybookSignArgs) -> Result<Exit, Fault> {
    let signer = Signer::read(&args.key)?;
    let config = config::load(args.config.config.as_deref())?.config;
    must_be_there(&args.paths, PATHS_HINT)?;
    let texts = Texts::of_paths(&args.paths);
    let outcome = texts.compile(&wiring::check_context(&config));
    texts.tell(&outcome.diagnostics);
    if !outcome.usable {
        return Err(
            Fault::new(Exit::Usage, "nothing was signed: the playbooks cannot be used").hint("mend them first"),
        );
    }
    for ((name, text), compiled) in texts.files().zip(&outcome.compiled) {
        let written = signing::sign(&signer, Path::new(name), text, &compiled.contributed)?;
        say(&format!("signed {}", Printable(&written.display().to_string())));
    }
    Ok(Exit::Ok)
}

fn verify(args: &PlaybookVerifyArgs) -> Result<Exit, Fault> {
    let config = config::load(args.config.config.as_deref())?.config;
    must_be_there(&args.paths, PATHS_HINT)?;
    let mistaken = args.trusted_key.iter().find(|key| Verifier::parse(key).is_none());
    if let Some(key) = mistaken {
        let what = format!("`{}` is no verifier key", Printable(key));
        return Err(Fault::new(Exit::Usage, what).hint("`staunch playbook keygen` prints one"));
    }
    let keys = if args.trusted_key.is_empty() {
        &config.playbooks.trusted_keys
    } else {
        &args.trusted_key
    };
    if keys.is_empty() {
        return Err(Fault::new(Exit::Usage, "no key is trusted, so nothing can be proved")
            .hint("give one with --trusted-key, or name some in `trusted_keys` under [playbooks]"));
    }
    let texts = if args.paths.is_empty() {
        Texts::of_paths(&config.playbooks.dirs)
    } else {
        Texts::of_paths(&args.paths)
    };
    if texts.count() == 0 && texts.unreadable.is_empty() {
        return Err(Fault::new(Exit::NotFound, "there is no playbook").hint("name a file or a directory of playbooks"));
    }
    let trust = Trust::new(keys);
    let proofs = texts.proofs(&trust, &wiring::check_context(&config));
    let all = texts.unreadable.is_empty() && proofs.iter().all(|(_, proof)| proof.is_ok());
    let why = |unproved: &Unproved| match unproved {
        Unproved::Unsigned => "it is not signed".to_owned(),
        Unproved::Wrong(why) => why.clone(),
    };
    let files: Vec<_> = proofs
        .iter()
        .map(|(name, proof)| match proof {
            Ok(key) => json!({ "file": name, "proved": true, "key": key }),
            Err(unproved) => json!({ "file": name, "proved": false, "why": why(unproved) }),
        })
        .collect();
    let answer = json!({ "proved": all, "files": files, "unreadable": texts.unreadable });
    Output::new(args.json).show(&answer, |_| {
        let line = |(name, proof): &(&str, Result<&str, Unproved>)| match proof {
            Ok(key) => format!("proved  {} by {}\n", Printable(name), Printable(key)),
            Err(unproved) => format!("NOT     {}: {}\n", Printable(name), Printable(&why(unproved))),
        };
        proofs.iter().map(line).collect()
    })?;
    texts.tell(&[]);
    Ok(if all { Exit::Ok } else { Exit::Usage })
}
