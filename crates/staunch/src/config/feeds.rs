//! Feeds.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use staunch_connectors::feeds::{Format, MANIFEST};
use staunch_connectors::ranges::Filter;
use staunch_model::{Score, Span};

use super::risk::{score, some_as_number};

/// A feed that says which addresses are bad: a file, or what is fetched over HTTP. What it says gives the target of an
/// event a score, which the table of risks makes a risk of. It takes effect from the next start; its file is read again
/// within a second of a change.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedSettings {
    /// What it is called. Since v0.1.
    pub(crate) name: String,
    /// Where it is fetched: `https://` or `http://`. It is asked for with the ETag of the last answer; what comes
    /// replaces the copy only when it can be read. The copy of the last good answer is kept in `feeds` in the data
    /// directory. Of a MISP feed it is that of its `manifest.json`; the files of the events lie beside it. Default
    /// none: then `path` is needed. Since v0.1.
    pub(crate) url: Option<String>,
    /// The file of what is sent in the header `Authorization`, such as `Basic dXNlcjpwYXNzd29yZA==` or `Bearer ...`,
    /// which nobody but its owner and group may read. It is read again at each fetch. Needs `https://`, or `http://` on
    /// this machine. Default none. Since v0.1.
    #[serde(default)]
    pub(crate) key_file: Option<PathBuf>,
    /// The file of the authorities in PEM by which its server is verified. Default those of this machine. Since v0.1.
    #[serde(default)]
    pub(crate) ca: Option<PathBuf>,
    /// How often it is fetched, from when its copy is; a start does not fetch it sooner. After a failure it is tried
    /// again after a minute, and twice as long each time, or after what the server asks for in `Retry-After`, a day at
    /// the most. Default `1h`; `1s` to `7d`, and for `spamhaus`, which locks out who asks more often, at least `1h`,
    /// after failures too. Since v0.1.
    #[serde(default = "an_hour")]
    pub(crate) every: Span,
    /// The file; for `misp` also the directory of a feed with its `manifest.json`. At most 64 MiB a file, and 500000
    /// networks. Since v0.1.
    #[serde(default)]
    pub(crate) path: PathBuf,
    /// `plain`: a network or address on each line, also netsets of FireHOL; `spamhaus`: JSON lines of DROP; `stix`: a
    /// STIX 2.1 bundle or the objects of a TAXII 2.1 collection; `misp`; `aws`, `gcp` or `azure`: the ranges that these
    /// providers publish. Special-purpose networks, such as private ones, are left out. Default `plain`. Since v0.1.
    #[serde(default = "plain")]
    pub(crate) format: Format,
    /// Of the ranges of a provider, those of these services: `EC2` of AWS, `Google Cloud`, `AzureCloud` of Azure.
    /// Default all. Since v0.1.
    #[serde(default)]
    pub(crate) services: Vec<String>,
    /// Of the ranges of a provider, those in these regions. Default all. Since v0.1.
    #[serde(default)]
    pub(crate) regions: Vec<String>,
    /// The score of what it names, from 0 to 1. Default 0.5. Since v0.1.
    #[serde(default = "half", deserialize_with = "some_score", serialize_with = "some_as_number")]
    pub(crate) score: Score,
    /// How sure it is, in percent, where it does not say so itself. Default 50; at most 100. Since v0.1.
    #[serde(default = "fifty")]
    pub(crate) confidence: u8,
    /// How long what it says counts, from when it was fetched: when its file was written, or the server last said that
    /// it has not changed. Entries with an end of their own count until then. Default `7d`; `1m` to `366d`. Since v0.1.
    #[serde(default = "a_week")]
    pub(crate) expires_after: Span,
}

impl FeedSettings {
    /// Which ranges of a provider are meant.
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            services: self.services.clone(),
            regions: self.regions.clone(),
        }
    }

    /// The least time between two requests to its server.
    pub(crate) const fn least_interval(&self) -> Span {
        match self.format {
            // Spamhaus locks out who fetches DROP more often than that.
            Format::Spamhaus => Span::from_hours(1),
            _ => Span::from_secs(1),
        }
    }

    /// Of a MISP feed whose manifest is fetched: the address up to the names of its files, and what follows them.
    pub(crate) fn beside_manifest(&self) -> Option<(&str, &str)> {
        let url = self.url.as_deref().filter(|_| self.format == Format::Misp)?;
        let (url, _) = url.split_once('#').unwrap_or((url, ""));
        let (manifest, query) = url.split_at(url.find('?').unwrap_or(url.len()));
        let place = manifest.strip_suffix(MANIFEST)?;
        (place.ends_with('/') && !place.ends_with("://")).then_some((place, query))
    }

    /// The same, with the file of its copy when it is fetched.
    pub(crate) fn in_dir(&self, data_dir: &Path) -> Self {
        let mut settings = self.clone();
        if self.url.is_some() {
            settings.path = data_dir.join("feeds").join(format!("{}.copy", self.name));
        }
        settings
    }
}

const fn an_hour() -> Span {
    Span::from_hours(1)
}

const fn plain() -> Format {
    Format::Plain
}

const fn half() -> Score {
    Score::from_thousandths(500)
}

const fn fifty() -> u8 {
    50
}

const fn a_week() -> Span {
    Span::from_hours(7 * 24)
}

fn some_score<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Score, D::Error> {
    score(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    #[test]
    fn the_events_of_a_manifest_lie_beside_it() {
        let check = |format: &str, url: &str, expect: Option<(&str, &str)>| {
            let text = format!("[[feeds]]\nname = \"f\"\nformat = \"{format}\"\nurl = \"{url}\"\n");
            let config = parse(&text).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(config.feeds[0].beside_manifest(), expect, "{text}");
        };
        let beside = |place| Some((place, ""));
        check(
            "misp",
            "https://misp.example/manifest.json",
            beside("https://misp.example/"),
        );
        check(
            "misp",
            "https://misp.example/a/b/manifest.json#c",
            beside("https://misp.example/a/b/"),
        );
        let with_query = Some(("https://misp.example/a/", "?key=/b"));
        check("misp", "https://misp.example/a/manifest.json?key=/b", with_query);
        check("plain", "https://misp.example/manifest.json", None);
        check("misp", "https://misp.example/my-manifest.json", None);
        check("misp", "https://manifest.json", None);
        check("misp", "https://misp.example/event.json?of=/manifest.json", None);
        check("misp", "https://misp.example/event.json#/manifest.json", None);
    }
}
