//! Changes of a configuration file: one value, or one network more that is never touched. All else stays as it is.
//!
//! Never says that the outcome is a configuration: whoever changes it reads it again.

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use crate::commands::review::page::quoted;
use crate::config::place_of_exactly;

/// `text` with `value`, which is TOML on one line, under `key` of the table at `table`. A key or table that is not
/// there is added. `None` when the text is no TOML.
pub(in crate::commands::review) fn set(text: &str, table: &[&str], key: &str, value: &str) -> Option<String> {
    DeTable::parse(text).ok()?;
    let path: Vec<&str> = table.iter().copied().chain([key]).collect();
    if let Some(span) = place_of_exactly(text, &path) {
        return Some(format!("{}{value}{}", &text[..span.start], &text[span.end..]));
    }
    let head = format!("[{}]", table.join("."));
    let line = format!("{key} = {value}\n");
    let mut at = 0;
    for written in text.split_inclusive('\n') {
        at += written.len();
        let bare = written.split('#').next().unwrap_or_default().trim();
        if bare == head && written.ends_with('\n') {
            return Some(format!("{}{line}{}", &text[..at], &text[at..]));
        }
    }
    Some(format!("{}{head}\n{line}", ended(text)))
}

/// `text` with `network` among those that are never touched, for this reason. `None` when the text is no TOML.
pub(in crate::commands::review) fn protect(text: &str, network: IpNet, reason: &str) -> Option<String> {
    let root = DeTable::parse(text).ok()?;
    let (network, reason) = (quoted(&network.to_string()), quoted(reason));
    let inline = format!("{{ network = {network}, reason = {reason} }}");
    if let Some(span) = place_of_exactly(text, &["never_touch", "networks"])
        && text[span.clone()].starts_with('[')
        && !text[span.clone()].starts_with("[[")
    {
        let last = match root.get_ref().get("never_touch").map(|it| it.get_ref()) {
            Some(DeValue::Table(table)) => match table.get("networks").map(|it| it.get_ref()) {
                Some(DeValue::Array(all)) => all.iter().last().map(|it| it.span().end),
                _ => None,
            },
            _ => None,
        };
        return Some(match last {
            Some(at) => format!("{}, {inline}{}", &text[..at], &text[at..]),
            None => format!("{}[{inline}]{}", &text[..span.start], &text[span.end..]),
        });
    }
    Some(format!(
        "{}[[never_touch.networks]]\nnetwork = {network}\nreason = {reason}\n",
        ended(text)
    ))
}

/// `text` with an end of its last line, and an empty line after it.
fn ended(text: &str) -> String {
    match text {
        "" => String::new(),
        text if text.ends_with('\n') => format!("{text}\n"),
        text => format!("{text}\n\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `text` after a change, which is read as a configuration.
    fn read(text: Option<String>) -> String {
        let text = text.expect("it is TOML");
        crate::config::parse(&text).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"));
        text
    }

    #[test]
    fn one_value_changes_or_is_added_where_it_belongs() {
        let set = |text: &str| read(set(text, &["limits"], "approval_expiry", "\"1h\""));
        assert_eq!(
            set("[limits]\napproval_expiry = \"30m\" # long\nlease_max = \"2h\"\n"),
            "[limits]\napproval_expiry = \"1h\" # long\nlease_max = \"2h\"\n"
        );
        assert_eq!(
            set("[limits] # all\nlease_max = \"2h\"\n[log]\n"),
            "[limits] # all\napproval_expiry = \"1h\"\nlease_max = \"2h\"\n[log]\n"
        );
        assert_eq!(
            set("mode = \"observe\""),
            "mode = \"observe\"\n\n[limits]\napproval_expiry = \"1h\"\n"
        );
        assert_eq!(set(""), "[limits]\napproval_expiry = \"1h\"\n");
        assert_eq!(
            set("limits = { approval_expiry = \"1m\" }\n"),
            "limits = { approval_expiry = \"1h\" }\n"
        );
        assert_eq!(super::set("x = [", &["limits"], "a", "1"), None);
    }

    #[test]
    fn a_network_is_added_to_those_that_there_are() {
        let network = "203.0.113.7/32".parse().expect("a network");
        let protect = |text: &str| read(protect(text, network, "why \"so\"\n[x]"));
        let entry = "[[never_touch.networks]]\nnetwork = \"203.0.113.7/32\"\nreason = \"why \\\"so\\\"\\u000a[x]\"\n";
        assert_eq!(protect(""), entry);
        let before = "[[never_touch.networks]]\nnetwork = \"192.0.2.1\"\nreason = \"a\"\n";
        assert_eq!(protect(before), format!("{before}\n{entry}"));
        let inline = "{ network = \"203.0.113.7/32\", reason = \"why \\\"so\\\"\\u000a[x]\" }";
        assert_eq!(
            protect("[never_touch]\nnetworks = [{ network = \"192.0.2.1\", reason = \"a\" }] # all\n"),
            format!("[never_touch]\nnetworks = [{{ network = \"192.0.2.1\", reason = \"a\" }}, {inline}] # all\n")
        );
        assert_eq!(
            protect("[never_touch]\nnetworks = []\n"),
            format!("[never_touch]\nnetworks = [{inline}]\n")
        );
    }
}
