//! Whether the configuration reads the sides of events as the server did that recorded them.
//!
//! Says nothing of why a server took a side for the attacked one but what the guide says of its source.

use std::net::IpAddr;
use std::sync::Arc;

use staunch_model::{Endpoint, Event};
use staunch_ports::{Sighting, Source};

/// The source whose settings say what is at home.
const SURICATA: &str = "suricata";

/// An event whose sides the configuration reads otherwise than they are recorded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Otherwise {
    /// Which of the events it is, from 1.
    pub(super) number: usize,
    system: String,
    recorded: Sides,
    read: Sides,
}

/// The attacking and the attacked address.
type Sides = (Option<IpAddr>, Option<IpAddr>);

/// The first of `events` that `sources` read otherwise than it is recorded; nothing of those that none reads.
pub(super) fn read_otherwise(events: &[Arc<Event>], sources: &[Arc<dyn Source>]) -> Option<Otherwise> {
    events.iter().enumerate().find_map(|(at, event)| {
        let source = sources.iter().find(|it| it.name() == &*event.system.0)?;
        let mut read = None;
        let ended = source.read(&event.raw, &mut |_, sighting| {
            if let (Sighting::Event(view), true) = (sighting, read.is_none()) {
                read = Some((view.source.ip, view.destination.ip));
            }
        });
        // What cannot be read to its end was recorded nevertheless, and its first event may have been seen.
        drop(ended);
        let ip = |it: &Endpoint| it.ip;
        let recorded = (ip(&event.source), ip(&event.destination));
        let read = read.filter(|it| *it != recorded)?;
        Some(Otherwise {
            number: at + 1,
            system: event.system.to_string(),
            recorded,
            read,
        })
    })
}

impl Otherwise {
    /// Asks why, and says which setting decides it.
    pub(super) fn ask(&self, questions: &mut Vec<String>, hints: &mut Vec<String>) {
        let told = |(attacking, attacked): Sides| {
            let one = |it: Option<IpAddr>| it.map_or_else(|| "nobody".to_owned(), |it| it.to_string());
            format!("{} attacked {}", one(attacking), one(attacked))
        };
        let then = if self.number == 1 { ", so there is no test" } else { "" };
        let hint = self.hint();
        questions.push(format!(
            "Which side of event {} is at home? It is recorded that {}, and by the configuration {}{then}.{}",
            self.number,
            told(self.recorded),
            told(self.read),
            hint.as_ref()
                .map_or_else(String::new, |it| format!(" To have it read alike, {it}.")),
        ));
        hints.extend(hint);
    }

    /// What to set.
    fn hint(&self) -> Option<String> {
        if self.system != SURICATA {
            return None;
        }
        let which = self.recorded.1.map_or_else(
            || "your public addresses".to_owned(),
            |ip| format!("{ip}, if it is yours"),
        );
        Some(format!(
            "list {which}, in `home_networks` of [sources.suricata], beside your private networks, and write the review \
             again; a server takes the addresses of its machine for home by itself, and a review and its tests do not"
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use staunch_connectors::sources::{SourceSettings, ports};
    use staunch_model::Timestamp;

    use super::*;

    fn sources(home: &[&str]) -> Vec<Arc<dyn Source>> {
        let mut settings = SourceSettings::default();
        let home = home.iter().map(|it| it.parse::<ipnet::IpNet>().expect("a network"));
        settings.suricata.home_networks.extend(home);
        ports(&settings).expect("they are sources")
    }

    /// An alert whose sides are both public, as a server recorded it that has the attacked address itself.
    fn recorded() -> Arc<Event> {
        let raw = json!({
            "timestamp": "2026-11-25T12:00:00.000000+0000", "event_type": "alert", "proto": "TCP",
            "src_ip": "203.0.113.99", "src_port": 40000, "dest_ip": "198.51.100.7", "dest_port": 22,
            "alert": {"action": "allowed", "signature": "ET SCAN", "category": "", "severity": 1},
        });
        let raw = raw.to_string();
        let mut kept = None;
        let here = sources(&["198.51.100.7/32"]);
        let suricata = here.iter().find(|it| it.name() == SURICATA).expect("it is built in");
        let read = suricata.read(raw.as_bytes(), &mut |_, sighting| {
            if let Sighting::Event(view) = sighting {
                kept = Some(Event::keep(view, Timestamp::from_micros(1)));
            }
        });
        assert!(read.is_ok());
        Arc::new(kept.expect("it is an event"))
    }

    #[test]
    fn a_side_that_is_read_otherwise_is_asked_about_with_the_setting_that_decides_it() {
        let events = [recorded()];
        assert_eq!(events[0].source.ip, "203.0.113.99".parse().ok());
        assert_eq!(read_otherwise(&events, &sources(&["198.51.100.7/32"])), None);
        let otherwise = read_otherwise(&events, &sources(&[])).expect("nothing says who is at home");
        let (mut questions, mut hints) = (Vec::new(), Vec::new());
        otherwise.ask(&mut questions, &mut hints);
        assert_eq!((questions.len(), hints.len()), (1, 1));
        for text in [&questions[0], &hints[0]] {
            assert!(
                text.contains("198.51.100.7, if it is yours") && text.contains("home_networks"),
                "{text}"
            );
        }
        assert!(
            questions[0].contains("203.0.113.99 attacked 198.51.100.7"),
            "{questions:?}"
        );
        assert!(questions[0].contains("so there is no test"), "{questions:?}");
    }
}
