//! `staunch check`

use std::io::{self, IsTerminal as _};

use serde_json::json;
use staunch_model::Printable;

use super::trigger::parameters;
use crate::cli::CheckArgs;
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::files::must_be_there;
use crate::output::{Output, Tone, colors_on_stderr, fit, is_stderr_terminal, print, say, say_rendered, wrap};
use crate::playbooks::{PATHS_HINT, Texts, errors, say_idle};
use crate::{config, lists, wiring};

pub(super) fn run(args: &CheckArgs) -> Result<Exit, Fault> {
    if let Some(code) = &args.explain {
        return explain(code);
    }
    let config = config::load(args.config.config.as_deref())?.config;
    must_be_there(&args.paths, PATHS_HINT)?;
    let texts = if args.paths.is_empty() {
        Texts::configured(&config)
    } else {
        Texts::signed(&args.paths, &config)
    };
    let outcome = texts.compile(&wiring::check_context(&config));
    // A start is refused for a list that cannot be used. What this user may not read, the server may.
    let unusable = if args.paths.is_empty() {
        unusable_list(&config)
    } else {
        None
    };
    let files = texts.count() + texts.snippet_files() + texts.unreadable.len();
    let (errors, all) = (
        errors(&outcome.diagnostics) + texts.unreadable.len() + usize::from(unusable.is_some()),
        outcome.diagnostics.len(),
    );
    let warnings = all + texts.unreadable.len() + usize::from(unusable.is_some()) - errors;
    if args.json {
        let playbooks: Vec<_> = outcome
            .compiled
            .iter()
            .map(|it| {
                let playbook = &it.program.playbook;
                let systems: Vec<String> = it.program.systems.iter().map(ToString::to_string).collect();
                json!({ "name": playbook.name, "summary": playbook.summary, "hash": playbook.hash.to_string(),
                        "sources": systems, "modes": playbook.modes, "parameters": it.parameters, "snippets": it.snippets })
            })
            .collect();
        let answer = json!({ "files": files, "errors": errors, "warnings": warnings,
                             "playbooks": playbooks, "diagnostics": outcome.diagnostics, "idle": outcome.idle,
                             "unreadable": texts.unreadable, "unusable_list": unusable.as_ref().map(Fault::told) });
        Output::new(true).show(&answer, |_| String::new())?;
    } else {
        texts.tell(&outcome.diagnostics);
        if let Some(fault) = &unusable {
            say_rendered(&fault.render(colors_on_stderr(), is_stderr_terminal()));
        }
        if outcome.usable {
            Output::new(false).show(&(), |output| {
                outcome.compiled.iter().map(|it| entry(output, it)).collect()
            })?;
        }
        let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        say(&format!(
            "{}, {}, {}",
            plural(files, "file"),
            plural(errors, "error"),
            plural(warnings, "warning")
        ));
        if let Some(first) = outcome.diagnostics.first() {
            say(&format!("`staunch check --explain {}` says more", first.code));
        }
        say_idle(&outcome.idle);
    }
    let is_usable = outcome.usable && unusable.is_none();
    Ok(if is_usable { Exit::Ok } else { Exit::Usage })
}

/// Why one of the lists cannot be used; `None` also where the only reason is that this user may not read it.
fn unusable_list(config: &Config) -> Option<Fault> {
    let is_mistake = |fault: &Fault| fault.exit == Exit::Usage;
    let mut each = config
        .never_touch
        .files
        .iter()
        .filter_map(|it| lists::read_one(it).err());
    each.find(is_mistake)
        .or_else(|| lists::read(config).err().filter(is_mistake))
}

/// Shows the page of `code`.
fn explain(code: &str) -> Result<Exit, Fault> {
    let Some(page) = staunch_playbook::page(&code.to_ascii_uppercase()) else {
        let what = format!("there is no code {}", Printable(code));
        return Err(Fault::new(Exit::NotFound, what).hint("codes look like P024; each mistake shows its own"));
    };
    print(&if io::stdout().is_terminal() {
        fit_page(page)
    } else {
        page.to_owned()
    })?;
    Ok(Exit::Ok)
}

/// `page` with its text broken at 80 columns. What stands between fences is for copying, and stays as it is.
fn fit_page(page: &str) -> String {
    let mut is_fenced = false;
    let lines = page.split('\n').map(|line| {
        let is_fence = line.starts_with("```");
        is_fenced ^= is_fence;
        match is_fenced || is_fence {
            true => line.to_owned(),
            false => fit(line),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn entry(output: &Output, compiled: &staunch_playbook::Compiled) -> String {
    let program = &compiled.program;
    let playbook = &program.playbook;
    let systems: Vec<String> = program.systems.iter().map(ToString::to_string).collect();
    let modes = playbook.modes;
    let mut text = format!(
        "{}\n  {}\n  from {}\n  acts by risk class of the action: low {}, medium {}, high {}\n",
        output.paint(Tone::Strong, &Printable(&playbook.name).to_string()),
        wrap(&Printable(&playbook.summary).to_string(), 2),
        Printable(&systems.join(", ")),
        modes.low,
        modes.medium,
        modes.high
    );
    text.push_str(&parameters(output, &compiled.parameters));
    if !compiled.snippets.is_empty() {
        let used = compiled
            .snippets
            .iter()
            .map(|it| format!("{} {}", it.kind.name(), it.name));
        let used = format!("snippets: {}", used.collect::<Vec<_>>().join(", "));
        text.push_str(&format!("  {}\n", wrap(&used, 4)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_has_for_copying_is_not_broken() {
        for code in ["P096", "P097"] {
            let page = staunch_playbook::page(code).expect("it has a page");
            let blocks =
                |text: &str| -> Vec<String> { text.split("```").skip(1).step_by(2).map(str::to_owned).collect() };
            let fitted = fit_page(page);
            assert_eq!(blocks(&fitted), blocks(page), "{fitted}");
            let outside = fitted.split("```").step_by(2);
            assert!(
                outside.flat_map(str::lines).all(|line| line.chars().count() <= 80),
                "{fitted}"
            );
        }
    }
}
