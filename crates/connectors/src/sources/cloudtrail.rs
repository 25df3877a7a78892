//! Records of AWS CloudTrail: alone, in `{"Records":[...]}` as its files have them, or in an EventBridge envelope.
//!
//! Never takes a record for a verdict: CloudTrail says what was done and not that it was bad. What a playbook's trigger
//! names is acted on, and a record that only reads is telemetry, on which nothing acts.
//!
//! | field of the event | from |
//! |---|---|
//! | kind | telemetry when `readOnly` is true; else alert. Insights and digest files are ignored |
//! | signature | `eventName`, such as `CreateAccessKey` |
//! | category | `eventSource`, such as `iam.amazonaws.com` |
//! | severity | unknown: CloudTrail has no scale |
//! | time | `eventTime` |
//! | id | `eventID` |
//! | user | `userIdentity.arn`, else `userName`, else `principalId` |
//! | host | none |
//! | source | `sourceIPAddress` when it is an address; it may be the DNS name of a service or `AWS Internal`. None for what AWS did by itself (`AwsServiceEvent`) or a service did for somebody (`userIdentity.invokedBy`), but for the sign-in service, which is how the console is told |
//!
//! Refused calls (`errorCode`) are events like any other: whoever tries is told from who does by the raw field. Old
//! records lack `readOnly`; they are alerts. Access keys and sessions stay in the raw event.

use staunch_model::{EventKind, Severity};

use super::pick::{Accused, Found, NotAnEvent, Reader, below, said};
use super::time;
use crate::json::Node;

/// Decodes CloudTrail records.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloudTrail;

impl Reader for CloudTrail {
    const NAME: &'static str = "cloudtrail";
    const INSIDE: &'static [&'static [&'static str]] = &[&["Records"], &["detail"]];

    fn read<'a>(&self, root: Node<'a>) -> Result<Found<'a>, NotAnEvent> {
        let text = |path: &[&str]| said(below(root, path));
        if text(&["digestS3Bucket"]).is_some() {
            return Err(NotAnEvent::Ignored("a digest file says nothing of what was done"));
        }
        if text(&["eventCategory"]) == Some("Insight") || text(&["eventType"]) == Some("AwsCloudTrailInsight") {
            return Err(NotAnEvent::Ignored("an insight counts calls and accuses no caller"));
        }
        let Some(signature) = text(&["eventName"]) else {
            return Err(NotAnEvent::Malformed {
                what: "`eventName` is missing or not a text",
                hint: "every CloudTrail record has it; look at what is posted here",
            });
        };
        let only_reads =
            below(root, &["readOnly"]).is_some_and(|node| node.truth() == Some(true) || node.text() == Some("true"));
        Ok(Found {
            kind: if only_reads {
                EventKind::Telemetry
            } else {
                EventKind::Alert
            },
            id: text(&["eventID"]),
            time: text(&["eventTime"]).and_then(time::read),
            severity: Severity::Unknown,
            signature,
            category: text(&["eventSource"]).unwrap_or_default(),
            accused: accused(root),
            user: text(&["userIdentity", "arn"])
                .or_else(|| text(&["userIdentity", "userName"]))
                .or_else(|| text(&["userIdentity", "principalId"])),
            host: None,
        })
    }
}

fn accused(root: Node<'_>) -> Accused {
    if said(below(root, &["eventType"])) == Some("AwsServiceEvent") {
        return Accused::none("AWS did this by itself");
    }
    let invoked_by = said(below(root, &["userIdentity", "invokedBy"]));
    if invoked_by.is_some_and(|service| service != "signin.amazonaws.com") {
        return Accused::none("an AWS service made the call for somebody");
    }
    Accused::at(
        below(root, &["sourceIPAddress"]),
        "sourceIPAddress is where the call came from",
        "sourceIPAddress is not one plain address",
    )
}
