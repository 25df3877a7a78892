//! The address ranges that providers publish of their own infrastructure: AWS `ip-ranges.json`, Google `cloud.json`,
//! Azure Service Tags.
//!
//! Never takes a part of a file, and never guesses what a range is for: who reads it names services, and a service that
//! the file does not have refuses it, because what it was to protect would be missing.

use std::borrow::Cow;

use ipnet::IpNet;
use serde::Deserialize;
use staunch_model::Printable;

use crate::feeds::of_json;
use crate::lists::{Invalid, parse_network};

/// The longest name of a service or region that is kept, in characters.
const NAME_CHARS_MAX: usize = 40;

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// `ip-ranges.json` of AWS.
    Aws,
    /// `cloud.json` or `goog.json` of Google.
    Gcp,
    /// `ServiceTags_Public.json` of Azure.
    Azure,
}

/// Which ranges of a file are meant. Names are compared without regard to the case of ASCII letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The services; any when there is none. Of Azure the name of a tag, with or without its region, or the system
    /// service.
    pub services: Vec<String>,
    /// The regions; any when there is none.
    pub regions: Vec<String>,
}

/// A range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The network.
    pub network: IpNet,
    /// The line of the file that it stands on, from 1; in a file that writes slashes with escapes, one before that.
    pub line: u32,
    /// The service and the region, as far as the file tells: `CLOUDFRONT, GLOBAL`.
    pub named: Box<str>,
}

/// Reads the ranges of a file that `filter` means.
///
/// # Errors
/// The first mistake; also when it is not of that provider, is cut off, has no range for a service or region of the
/// filter, or more than `ranges_max` are meant.
pub fn read(provider: Provider, bytes: &[u8], filter: &Filter, ranges_max: usize) -> Result<Vec<Range>, Invalid> {
    let mut meant = Meant {
        filter,
        seen: filter.services.iter().chain(&filter.regions).map(|_| false).collect(),
        ranges: Vec::new(),
        ranges_max,
    };
    match provider {
        Provider::Aws => aws(bytes, &mut meant)?,
        Provider::Gcp => gcp(bytes, &mut meant)?,
        Provider::Azure => azure(bytes, &mut meant)?,
    }
    let Meant { seen, ranges, .. } = meant;
    let asked = filter.services.iter().map(|it| ("service", it));
    let asked = asked.chain(filter.regions.iter().map(|it| ("region", it)));
    if let Some(((what, name), _)) = asked.zip(seen).find(|(_, seen)| !seen) {
        let what = format!("it has no range of the {what} {}", Printable(&clipped(name)));
        return Err(whole(
            what,
            "look in the file how it is written; a name that is gone is taken out",
        ));
    }
    if ranges.is_empty() {
        let what = "no range is of one of the services and in one of the regions";
        return Err(whole(
            what,
            "CLOUDFRONT of AWS, for one, is mostly in the region GLOBAL",
        ));
    }
    Ok(ranges)
}

struct Meant<'f> {
    filter: &'f Filter,
    /// For each service and each region of the filter, whether the file has it.
    seen: Vec<bool>,
    ranges: Vec<Range>,
    ranges_max: usize,
}

impl Meant<'_> {
    /// Whether ranges of a service with these `names` in `region` are meant.
    fn wants(&mut self, names: &[&str], region: &str) -> bool {
        let filter = self.filter;
        let mut matches = |wanted: &[String], from: usize, has: &dyn Fn(&str) -> bool| {
            let mut any = wanted.is_empty();
            for (at, name) in wanted.iter().enumerate() {
                if has(name) {
                    any = true;
                    if let Some(seen) = self.seen.get_mut(from + at) {
                        *seen = true;
                    }
                }
            }
            any
        };
        let service = matches(&filter.services, 0, &|wanted| {
            names.iter().any(|it| it.eq_ignore_ascii_case(wanted))
        });
        let place = matches(&filter.regions, filter.services.len(), &|wanted| {
            region.eq_ignore_ascii_case(wanted)
        });
        service && place
    }

    fn add(&mut self, prefix: &str, lines: &mut Lines<'_>, service: &str, region: &str) -> Result<(), Invalid> {
        let line = lines.of(prefix);
        let invalid = |what: String, hint: &str| Invalid {
            line: Some(line),
            what,
            hint: hint.into(),
        };
        let network = parse_network(prefix).map_err(|(what, hint)| invalid(what, &hint))?;
        if self.ranges.len() >= self.ranges_max {
            let what = format!("more than {} ranges are meant", self.ranges_max);
            return Err(invalid(what, "name fewer services or regions"));
        }
        let (service, region) = (clipped(service), clipped(region));
        let named = match (&*service, &*region) {
            ("", region) => region.to_owned(),
            (service, "") => service.to_owned(),
            (service, region) => format!("{service}, {region}"),
        };
        self.ranges.push(Range {
            network,
            line,
            named: named.into(),
        });
        Ok(())
    }
}

/// Where texts stand in a file, asked in their order.
struct Lines<'b> {
    rest: &'b [u8],
    line: u32,
    /// One was not found as it is: the rest is not looked for, which would read the file once for each.
    lost: bool,
}

impl<'b> Lines<'b> {
    const fn new(bytes: &'b [u8]) -> Self {
        Self {
            rest: bytes,
            line: 1,
            lost: false,
        }
    }

    /// The line of the next place of `text`.
    fn of(&mut self, text: &str) -> u32 {
        if self.lost {
            return self.line;
        }
        let quoted = format!("\"{text}\"");
        match memchr::memmem::find(self.rest, quoted.as_bytes()) {
            Some(at) => {
                let (before, rest) = self.rest.split_at(at + quoted.len());
                let lines = memchr::memchr_iter(b'\n', before).count();
                self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
                self.rest = rest;
            }
            None => self.lost = true,
        }
        self.line
    }
}

fn aws(bytes: &[u8], meant: &mut Meant<'_>) -> Result<(), Invalid> {
    #[derive(Deserialize)]
    struct File<'a> {
        #[serde(borrow)]
        prefixes: Vec<Prefix<'a>>,
        #[serde(borrow)]
        ipv6_prefixes: Vec<Prefix<'a>>,
    }
    #[derive(Deserialize)]
    struct Prefix<'a> {
        #[serde(borrow, alias = "ip_prefix")]
        ipv6_prefix: Cow<'a, str>,
        #[serde(borrow)]
        region: Cow<'a, str>,
        #[serde(borrow)]
        service: Cow<'a, str>,
    }
    let file: File<'_> = parse(bytes, "is it https://ip-ranges.amazonaws.com/ip-ranges.json?")?;
    for prefixes in [&file.prefixes, &file.ipv6_prefixes] {
        let mut lines = Lines::new(bytes);
        for it in prefixes {
            if meant.wants(&[&it.service], &it.region) {
                meant.add(&it.ipv6_prefix, &mut lines, &it.service, &it.region)?;
            }
        }
    }
    Ok(())
}

fn gcp(bytes: &[u8], meant: &mut Meant<'_>) -> Result<(), Invalid> {
    #[derive(Deserialize)]
    struct File<'a> {
        #[serde(borrow)]
        prefixes: Vec<Prefix<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Prefix<'a> {
        #[serde(borrow, alias = "ipv4Prefix")]
        ipv6_prefix: Cow<'a, str>,
        #[serde(borrow, default)]
        service: Cow<'a, str>,
        #[serde(borrow, default)]
        scope: Cow<'a, str>,
    }
    let file: File<'_> = parse(bytes, "is it https://www.gstatic.com/ipranges/cloud.json?")?;
    let mut lines = Lines::new(bytes);
    for it in &file.prefixes {
        if meant.wants(&[&it.service], &it.scope) {
            meant.add(&it.ipv6_prefix, &mut lines, &it.service, &it.scope)?;
        }
    }
    Ok(())
}

fn azure(bytes: &[u8], meant: &mut Meant<'_>) -> Result<(), Invalid> {
    #[derive(Deserialize)]
    struct File<'a> {
        #[serde(borrow)]
        values: Vec<Tag<'a>>,
    }
    #[derive(Deserialize)]
    struct Tag<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(borrow)]
        properties: Properties<'a>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Properties<'a> {
        #[serde(borrow, default)]
        region: Cow<'a, str>,
        #[serde(borrow, default)]
        system_service: Cow<'a, str>,
        #[serde(borrow)]
        address_prefixes: Vec<Cow<'a, str>>,
    }
    let file: File<'_> = parse(
        bytes,
        "is it ServiceTags_Public of https://www.microsoft.com/download/?",
    )?;
    let mut lines = Lines::new(bytes);
    for tag in &file.values {
        let it = &tag.properties;
        // The tag of a service in one region is called after both: Storage.WestEurope.
        let base = tag
            .name
            .rsplit_once('.')
            .filter(|(_, last)| !it.region.is_empty() && last.eq_ignore_ascii_case(&it.region))
            .map_or(&*tag.name, |(base, _)| base);
        let mut names = vec![&*tag.name, base];
        names.extend(Some(&*it.system_service).filter(|it| !it.is_empty()));
        if meant.wants(&names, &it.region) {
            for prefix in &it.address_prefixes {
                meant.add(prefix, &mut lines, &tag.name, &it.region)?;
            }
        }
    }
    Ok(())
}

fn parse<'b, T: Deserialize<'b>>(bytes: &'b [u8], hint: &str) -> Result<T, Invalid> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|error| of_json(&error, hint))
}

/// A mistake of the file as a whole.
fn whole(what: impl Into<String>, hint: &str) -> Invalid {
    Invalid {
        line: None,
        what: what.into(),
        hint: hint.into(),
    }
}

fn clipped(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWS: &str = r#"{
  "syncToken": "1764000000",
  "createDate": "2026-11-24-16-00-00",
  "prefixes": [
    {"ip_prefix": "198.51.100.0/24", "region": "eu-central-1", "service": "AMAZON", "network_border_group": "eu-central-1"},
    {"ip_prefix": "198.51.100.0/24", "region": "eu-central-1", "service": "EC2", "network_border_group": "eu-central-1"},
    {"ip_prefix": "203.0.113.0/26", "region": "GLOBAL", "service": "CLOUDFRONT", "network_border_group": "GLOBAL"},
    {"ip_prefix": "203.0.113.64/26", "region": "us-east-1", "service": "ROUTE53_HEALTHCHECKS", "network_border_group": "us-east-1"}
  ],
  "ipv6_prefixes": [
    {"ipv6_prefix": "2001:db8:1::/48", "region": "GLOBAL", "service": "CLOUDFRONT", "network_border_group": "GLOBAL"}
  ]
}
"#;
    const GCP: &str = r#"{"syncToken": "1", "creationTime": "2026-11-24T08:00:00",
 "prefixes": [{"ipv4Prefix": "198.51.100.0/25", "service": "Google Cloud", "scope": "europe-west3"},
 {"ipv6Prefix": "2001:db8:2::/48", "service": "Google Cloud", "scope": "us-east1"}]}"#;
    const AZURE: &str = r#"{"changeNumber": 1, "cloud": "Public", "values": [
 {"name": "AzureFrontDoor.Frontend", "id": "AzureFrontDoor.Frontend", "properties": {"changeNumber": 1, "region": "",
  "platform": "Azure", "systemService": "AzureFrontDoor", "addressPrefixes": ["203.0.113.128/25", "2001:db8:3::/48"]}},
 {"name": "Storage.WestEurope", "id": "Storage.WestEurope", "properties": {"region": "westeurope",
  "systemService": "AzureStorage", "addressPrefixes": ["198.51.100.128/25"]}}]}"#;

    fn filter(services: &[&str], regions: &[&str]) -> Filter {
        let all = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect();
        Filter {
            services: all(services),
            regions: all(regions),
        }
    }

    fn meant(provider: Provider, text: &str, services: &[&str], regions: &[&str]) -> Vec<String> {
        let ranges = read(provider, text.as_bytes(), &filter(services, regions), 10).expect("it is well formed");
        let shown = |it: &Range| format!("{} {} {}", it.line, it.network, it.named);
        ranges.iter().map(shown).collect()
    }

    #[test]
    fn services_and_regions_choose_ranges_and_lines_are_those_of_the_file() {
        use Provider::{Aws, Azure, Gcp};
        assert_eq!(
            meant(Aws, AWS, &["cloudfront", "ROUTE53_HEALTHCHECKS"], &[]),
            [
                "7 203.0.113.0/26 CLOUDFRONT, GLOBAL",
                "8 203.0.113.64/26 ROUTE53_HEALTHCHECKS, us-east-1",
                "11 2001:db8:1::/48 CLOUDFRONT, GLOBAL"
            ]
        );
        assert_eq!(
            meant(Aws, AWS, &[], &["us-east-1"]),
            ["8 203.0.113.64/26 ROUTE53_HEALTHCHECKS, us-east-1"]
        );
        assert_eq!(meant(Aws, AWS, &[], &[]).len(), 5);
        assert_eq!(
            meant(Gcp, GCP, &["Google Cloud"], &["us-east1"]),
            ["3 2001:db8:2::/48 Google Cloud, us-east1"]
        );
        let front = [
            "3 203.0.113.128/25 AzureFrontDoor.Frontend",
            "3 2001:db8:3::/48 AzureFrontDoor.Frontend",
        ];
        assert_eq!(meant(Azure, AZURE, &["AzureFrontDoor.Frontend"], &[]), front);
        assert_eq!(meant(Azure, AZURE, &["AzureFrontDoor"], &[]), front);
        let storage = ["5 198.51.100.128/25 Storage.WestEurope, westeurope"];
        for service in ["Storage", "Storage.WestEurope", "AzureStorage"] {
            assert_eq!(meant(Azure, AZURE, &[service], &["WestEurope"]), storage, "{service}");
        }
    }

    #[test]
    fn what_was_to_be_meant_and_is_not_there_refuses_the_file() {
        use Provider::{Aws, Azure, Gcp};
        let check = |provider, text: &str, filter: &Filter, what: &str| {
            let invalid = read(provider, text.as_bytes(), filter, 3).expect_err("it has a mistake");
            assert!(invalid.what.contains(what) && !invalid.hint.is_empty(), "{invalid:?}");
        };
        let any = Filter::default();
        let typo = filter(&["CLOUDFRONT", "CLOUDFONT\u{1b}"], &[]);
        check(Aws, AWS, &typo, "it has no range of the service CLOUDFONT\\u{1b}");
        check(
            Aws,
            AWS,
            &filter(&["EC2"], &["mars-1"]),
            "it has no range of the region mars-1",
        );
        let apart = filter(&["CLOUDFRONT"], &["eu-central-1"]);
        check(Aws, AWS, &apart, "no range is of one of the services");
        check(Aws, AWS, &any, "more than 3 ranges are meant");
        check(Aws, &AWS[..AWS.len() - 4], &any, "EOF");
        check(Aws, GCP, &any, "missing field");
        check(Gcp, AWS, &any, "missing field");
        check(Azure, AWS, &any, "missing field");
        check(Aws, "<html>", &any, "expected value");
        check(
            Aws,
            &AWS.replace(".100.0/24", ".100.1/24"),
            &any,
            "bits set after its prefix",
        );
    }

    #[test]
    fn escaped_slashes_cost_lines_and_nothing_else() {
        let escaped = GCP.replace("0/25", "0\\/25");
        let ranges = read(Provider::Gcp, escaped.as_bytes(), &Filter::default(), 10).expect("it is well formed");
        assert_eq!(ranges.iter().map(|it| it.line).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(ranges[0].network.to_string(), "198.51.100.0/25");
    }
}
