//! The timeline for spreadsheets: CSV in which no cell is taken for a formula.

use super::Entry;
use super::guards::guard_cell;
use crate::exit::{Exit, Fault};

pub(super) fn csv(entries: &[Entry]) -> Result<String, Fault> {
    let failed = |error: &dyn std::error::Error| Fault::doing(Exit::Failed, "cannot write the timeline as CSV", error);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let heading = [
        "at",
        "elapsed_us",
        "lsn",
        "lane",
        "transaction",
        "source_time",
        "what",
        "basis",
        "system",
        "origin",
        "inferred",
        "also",
        "guards",
    ];
    writer.write_record(heading).map_err(|error| failed(&error))?;
    for it in entries {
        let mut also: Vec<String> = it.also.iter().map(|also| also.words("")).collect();
        if it.also_more > 0 {
            also.push(format!("and {} more", it.also_more));
        }
        let row = [
            it.at.to_string(),
            it.elapsed_us.to_string(),
            it.lsn.map_or_else(String::new, |lsn| lsn.to_string()),
            it.lane.name().to_owned(),
            it.transaction.map_or_else(String::new, |id| id.to_string()),
            it.source_time.map_or_else(String::new, |time| time.to_string()),
            no_formula(&it.what),
            it.basis.name().to_owned(),
            no_formula(it.system.as_deref().unwrap_or_default()),
            no_formula(it.origin.as_deref().unwrap_or_default()),
            it.inferred.join(" "),
            no_formula(&also.join("; ")),
            guard_cell(&it.guards),
        ];
        writer.write_record(row).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A text that no spreadsheet takes for a formula, as OWASP advises against CSV injection: the words of an attacker may
/// begin with `=`.
fn no_formula(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Basis, Lane};
    use super::*;

    #[test]
    fn words_of_others_are_no_formulas_and_no_further_rows() {
        let entry = |what: &str| Entry {
            lsn: Some(7),
            system: Some("falco".to_owned()),
            origin: Some("=a.log".to_owned()),
            inferred: vec!["year", "zone"],
            ..Entry::new(
                "2026-11-25T14:00:00Z".parse().expect("a time"),
                (Lane::Event, Basis::Observed, what.to_owned()),
            )
        };
        let text = csv(&[entry("=HYPERLINK(\"x\")"), entry("a, \"b\"\nc")]).expect("CSV");
        let expect = "at,elapsed_us,lsn,lane,transaction,source_time,what,basis,system,origin,inferred,also,guards\n\
                      2026-11-25T14:00:00.000Z,0,7,event,,,\"'=HYPERLINK(\"\"x\"\")\",observed,falco,'=a.log,year zone,,\n\
                      2026-11-25T14:00:00.000Z,0,7,event,,,\"a, \"\"b\"\"\nc\",observed,falco,'=a.log,year zone,,\n";
        assert_eq!(text, expect);
    }
}
