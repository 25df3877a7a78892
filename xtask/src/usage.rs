//! What follows the name of a task: asking for help, and what a task does not know.
//!
//! Never reads a value: each task does that. The usage line of a task is what it is held to, so that both cannot
//! differ.

/// What arguments are, by the usage line of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Somebody wants to know how the task is used.
    Help,
    /// The task is to run.
    Run,
}

/// Looks at `arguments` of a task whose usage line is `usage`: brackets with an option and perhaps the name of its
/// value (`[--seeds N]`), words of which any may be written (`[a|b...]`), or a name for anything (`[<check>...]`). One
/// that speaks of `options` of somebody else's passes what it does not know on.
///
/// # Errors
/// What is not known.
pub(crate) fn asked(usage: &str, arguments: &[String]) -> Result<Asked, String> {
    let own = arguments.iter().take_while(|it| *it != "--");
    if own.clone().any(|it| it == "--help" || it == "-h") {
        return Ok(Asked::Help);
    }
    if usage.contains(" options]") {
        return Ok(Asked::Run);
    }
    let parts: Vec<&str> = usage
        .split('[')
        .filter_map(|part| Some(part.split_once(']')?.0))
        .collect();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument.starts_with('-') {
            let option = parts.iter().map(|it| it.split_once(' ').unwrap_or((it, "")));
            let Some((_, value)) = option.into_iter().find(|(name, _)| name == argument) else {
                return Err(format!("there is no option {argument:?}"));
            };
            // A number below zero is none of these, but the task has the better words for that.
            if !value.is_empty() && rest.next().is_none() {
                return Err(format!("{argument} wants a value: {value}"));
            }
            continue;
        }
        let words = parts.iter().filter(|it| !it.starts_with('-'));
        let is_known = |part: &&str| {
            let part = part.trim_end_matches("...");
            let is_any = !part.contains('|');
            is_any || part.split('|').any(|word| word == argument)
        };
        if !words.clone().any(is_known) {
            return Err(match words.map(|it| it.trim_end_matches("...")).next() {
                Some(words) => format!("there is no {argument:?}: it is one of {}", words.replace('|', ", ")),
                None => format!("nothing is to be named here: {argument:?}"),
            });
        }
    }
    Ok(Asked::Run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(usage: &str, arguments: &str, expect: Result<Asked, &str>) {
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        let found = asked(usage, &arguments);
        assert_eq!(found, expect.map_err(str::to_owned), "{usage} {arguments:?}");
    }

    #[test]
    fn help_is_told_from_work_and_from_mistakes() {
        const SIM: &str = "[--seeds N] [--json]";
        const BENCH: &str = "[--json] [block|storm...]";
        for (usage, arguments, expect) in [
            (SIM, "", Ok(Asked::Run)),
            (SIM, "--help", Ok(Asked::Help)),
            (SIM, "--seeds 5 -h", Ok(Asked::Help)),
            (SIM, "--fast --help", Ok(Asked::Help)),
            (SIM, "--json --seeds 5", Ok(Asked::Run)),
            (SIM, "--seeds", Err("--seeds wants a value: N")),
            (SIM, "--seed 5", Err("there is no option \"--seed\"")),
            (SIM, "--json=1", Err("there is no option \"--json=1\"")),
            (SIM, "five", Err("nothing is to be named here: \"five\"")),
            (BENCH, "storm --json block", Ok(Asked::Run)),
            (BENCH, "strom", Err("there is no \"strom\": it is one of block, storm")),
            (BENCH, "-help", Err("there is no option \"-help\"")),
            ("[--fix] [<check>...]", "edges links", Ok(Asked::Run)),
            ("[SCRAPE...]", "file.txt", Ok(Asked::Run)),
            ("", "--now", Err("there is no option \"--now\"")),
            ("", "-h", Ok(Asked::Help)),
            ("[cargo test options] [-- <name>...]", "-p x --lib", Ok(Asked::Run)),
            ("[cargo test options] [-- <name>...]", "-- --help", Ok(Asked::Run)),
        ] {
            check(usage, arguments, expect);
        }
    }
}
