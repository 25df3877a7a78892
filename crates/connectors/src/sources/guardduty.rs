//! Findings of Amazon GuardDuty: in an EventBridge envelope, in the answer of `GetFindings`, or alone.
//!
//! Never accuses the victim of an instance that attacks: see the table of sides.
//!
//! | field of the event | from |
//! |---|---|
//! | kind | sample when `service.additionalInfo.sample` is true, or `sample` in the JSON that is the text of `service.additionalInfo.value` (`GetFindings` writes it so), or the title begins with `[SAMPLE]`; telemetry when `service.archived` is true (a suppression rule or a person did that); else alert |
//! | signature | `type`, such as `UnauthorizedAccess:EC2/SSHBruteForce` |
//! | category | `resource.resourceType` |
//! | severity | `severity`: 9.0 and more = critical, 7.0 = high, 4.0 = medium, 1.0 = low, anything else = unknown |
//! | time | `service.eventLastSeen`, else `updatedAt`, else `createdAt` |
//! | id | `id`. A finding keeps it when it is sent again with a higher `service.count` |
//! | user | `resource.accessKeyDetails.userName`, else the user of `resource.kubernetesDetails` or `resource.rdsDbUserDetails` |
//! | host | `resource.instanceDetails.instanceId`: the instance concerned |
//!
//! The scale is GuardDuty's own (GuardDuty user guide, "Severity levels of GuardDuty findings"). Keys are read in any
//! case of letters: events have `lowerCamelCase`, `GetFindings` of SDKs has `PascalCase`. Access keys, buckets and
//! clusters stay in the raw event.
//!
//! | action | source | destination |
//! |---|---|---|
//! | `awsApiCallAction`, `kubernetesApiCallAction`, `rdsLoginAttemptAction` | the remote address, from which was called; none when AWS itself called (`callerType` is `Domain`) | |
//! | `networkConnectionAction`, the resource is the target | the remote address | the local one |
//! | `networkConnectionAction`, the resource is the actor | the remote address when the type says that it is a malicious one: `C&CActivity`, `CryptoCurrency:`, `MaliciousIPCaller`, `DropPoint`, `BlackholeTraffic`. Otherwise the remote side is the victim: none | |
//! | `portProbeAction` | the remote address when all probes have the same; else none | |
//! | `dnsRequestAction`, none | none: no address is named | |

use staunch_model::{Endpoint, EventKind, Severity};

use super::pick::{Accused, Found, NotAnEvent, Reader, below_any_case as below, number, one_address, said};
use super::{address, time};
use crate::json::{Document, Node};

/// Parts of the types of findings whose resource is the actor and whose remote side is a malicious one. (GuardDuty user
/// guide, "GuardDuty finding types".)
const REMOTE_IS_MALICIOUS: [&str; 5] = [
    "C&CActivity",
    "CryptoCurrency:",
    "MaliciousIPCaller",
    "DropPoint",
    "BlackholeTraffic",
];

/// The longest text of `additionalInfo.value` that is read. Those of sample findings have at most some hundred bytes.
const ADDITIONAL_BYTES_MAX: usize = 64 << 10;

/// Decodes GuardDuty findings.
#[derive(Clone, Copy, Debug, Default)]
pub struct GuardDuty;

impl Reader for GuardDuty {
    const NAME: &'static str = "guardduty";
    const INSIDE: &'static [&'static [&'static str]] = &[&["detail"], &["Findings"], &["findings"]];

    fn read<'a>(&self, root: Node<'a>) -> Result<Found<'a>, NotAnEvent> {
        let Some(signature) = said(below(root, &["type"])) else {
            if below(root, &["scanStatus"]).is_some() {
                return Err(NotAnEvent::Ignored("the result of a malware scan is not a finding"));
            }
            return Err(NotAnEvent::Malformed {
                what: "`type` is missing or not a text",
                hint: "every finding has it; let the EventBridge rule send \"GuardDuty Finding\" only",
            });
        };
        let text = |path: &[&str]| said(below(root, path));
        let truth = |path: &[&str]| below(root, path).and_then(Node::truth) == Some(true);
        let sample = truth(&["service", "additionalInfo", "sample"])
            || text(&["service", "additionalInfo", "sample"]) == Some("true")
            || text(&["service", "additionalInfo", "value"]).is_some_and(says_sample)
            || text(&["title"]).is_some_and(|title| title.starts_with("[SAMPLE]"));
        let kind = if sample {
            EventKind::Sample
        } else if truth(&["service", "archived"]) {
            EventKind::Telemetry
        } else {
            EventKind::Alert
        };
        let when = text(&["service", "eventLastSeen"])
            .or_else(|| text(&["updatedAt"]))
            .or_else(|| text(&["createdAt"]));
        Ok(Found {
            kind,
            id: text(&["id"]),
            time: when.and_then(time::read),
            severity: severity(number(below(root, &["severity"]))),
            signature,
            category: text(&["resource", "resourceType"]).unwrap_or_default(),
            accused: accused(root, signature),
            user: text(&["resource", "accessKeyDetails", "userName"])
                .or_else(|| text(&["resource", "kubernetesDetails", "kubernetesUserDetails", "username"]))
                .or_else(|| text(&["resource", "rdsDbUserDetails", "user"])),
            host: text(&["resource", "instanceDetails", "instanceId"]),
        })
    }
}

/// Whether the JSON in `value` says that its finding is a sample. What cannot be read, or is longer than what GuardDuty
/// writes, says nothing.
fn says_sample(value: &str) -> bool {
    if value.len() > ADDITIONAL_BYTES_MAX {
        return false;
    }
    Document::parse(value.as_bytes()).is_ok_and(|it| {
        let sample = below(it.root(), &["sample"]);
        sample.and_then(Node::truth) == Some(true) || said(sample) == Some("true")
    })
}

fn severity(number: Option<f64>) -> Severity {
    match number {
        Some(9.0..=10.0) => Severity::Critical,
        Some(7.0..9.0) => Severity::High,
        Some(4.0..7.0) => Severity::Medium,
        Some(1.0..4.0) => Severity::Low,
        _ => Severity::Unknown,
    }
}

fn accused(root: Node<'_>, signature: &str) -> Accused {
    let Some(action) = below(root, &["service", "action"]) else {
        return Accused::none("the finding names no action");
    };
    // `GetFindings` writes the actions that did not happen as empty objects.
    let member = |key: &str| below(action, &[key]).filter(|node| node.members().next().is_some());
    for call in ["awsApiCallAction", "kubernetesApiCallAction", "rdsLoginAttemptAction"] {
        if let Some(call) = member(call) {
            let otherwise = "the call did not come from an address that is named";
            return Accused::at(remote(call), "the call came from the remote address", otherwise);
        }
    }
    if let Some(connection) = member("networkConnectionAction") {
        return connected(root, connection, signature);
    }
    if let Some(probe) = member("portProbeAction") {
        let probes = below(probe, &["portProbeDetails"]).into_iter().flat_map(Node::items);
        return match one_address(probes.filter_map(remote)) {
            Ok(ip) => Accused::at(ip, "all probes came from this address", "no probe names an address"),
            Err(_) => Accused::none("several addresses probed, and an event has one attacking side"),
        };
    }
    Accused::none("the action names no address")
}

fn connected(root: Node<'_>, connection: Node<'_>, signature: &str) -> Accused {
    let side = |ip: &str, port: &str| {
        address::endpoint(address_of(below(connection, &[ip])), below(connection, &[port, "port"]))
    };
    let (remote, local) = (
        side("remoteIpDetails", "remotePortDetails"),
        side("localIpDetails", "localPortDetails"),
    );
    let role = said(below(root, &["service", "resourceRole"])).unwrap_or_default();
    let why = if remote.ip.is_none() {
        return Accused::none("the connection names no remote address");
    } else if role.eq_ignore_ascii_case("TARGET") {
        "the resource is the target of the remote address"
    } else if REMOTE_IS_MALICIOUS.iter().any(|part| signature.contains(part)) {
        "the resource talked to an address that this type calls malicious"
    } else {
        return Accused::none("the resource is the actor, so the remote address may be its victim");
    };
    let destination = if local.ip.is_some() { local } else { Endpoint::default() };
    Accused {
        source: remote,
        destination,
        why,
    }
}

/// The remote address of an action.
fn remote(action: Node<'_>) -> Option<Node<'_>> {
    address_of(below(action, &["remoteIpDetails"]))
}

fn address_of(details: Option<Node<'_>>) -> Option<Node<'_>> {
    let details = details?;
    ["ipAddressV4", "ipAddressV6"]
        .into_iter()
        .filter_map(|key| below(details, &[key]))
        .find(|node| said(Some(*node)).is_some())
}
