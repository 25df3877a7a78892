//! The formats of logs, by name.

use std::fmt;
use std::str::FromStr;

/// What a log is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Records of the Linux audit system, as auditd writes them.
    Auditd,
    /// Records of AWS CloudTrail.
    CloudTrail,
    /// Audit events of Kubernetes.
    KubernetesAudit,
    /// The System Log of Okta.
    Okta,
    /// Alerts of Falco.
    Falco,
    /// EVE records of Suricata.
    Suricata,
    /// Findings of GuardDuty.
    GuardDuty,
    /// Alerts of Wazuh.
    Wazuh,
    /// Alerts of CrowdSec.
    CrowdSec,
    /// OCSF events.
    Ocsf,
    /// CloudEvents.
    CloudEvents,
    /// Groups of Alertmanager.
    Alertmanager,
    /// VPC flow logs of AWS, version 2 or with a heading.
    VpcFlow,
    /// Access logs of Apache and nginx.
    Access,
    /// Queries that dnsmasq has logged, and what it answered.
    Dnsmasq,
    /// The journal of systemd as `journalctl --output=json` writes it.
    Journal,
    /// Any lines that begin with a time.
    Log,
}

impl Format {
    /// All formats, in the order of their priority: who is nearest to what happened comes first. The kernel of a host
    /// and who carried out a call, then who looked on, then what was counted, then what programs say of themselves.
    pub const ALL: [Self; 17] = [
        Self::Auditd,
        Self::CloudTrail,
        Self::KubernetesAudit,
        Self::Okta,
        Self::Falco,
        Self::Suricata,
        Self::GuardDuty,
        Self::Wazuh,
        Self::CrowdSec,
        Self::Ocsf,
        Self::CloudEvents,
        Self::Alertmanager,
        Self::VpcFlow,
        Self::Access,
        Self::Dnsmasq,
        Self::Journal,
        Self::Log,
    ];

    /// The name: that of the source where there is one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auditd => "auditd",
            Self::CloudTrail => "cloudtrail",
            Self::KubernetesAudit => "kubernetes-audit",
            Self::Okta => "okta",
            Self::Falco => "falco",
            Self::Suricata => "suricata",
            Self::GuardDuty => "guardduty",
            Self::Wazuh => "wazuh",
            Self::CrowdSec => "crowdsec",
            Self::Ocsf => "ocsf",
            Self::CloudEvents => "cloudevents",
            Self::Alertmanager => "alertmanager",
            Self::VpcFlow => "vpc-flow",
            Self::Access => "access",
            Self::Dnsmasq => "dnsmasq",
            Self::Journal => "journal",
            Self::Log => "log",
        }
    }

    /// Whether it is JSON: a value a line, or one document.
    #[must_use]
    pub const fn is_json(self) -> bool {
        !matches!(
            self,
            Self::Auditd | Self::VpcFlow | Self::Access | Self::Dnsmasq | Self::Log
        )
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is no name of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no format of logs")]
pub struct NotAFormat;

impl FromStr for Format {
    type Err = NotAFormat;

    fn from_str(text: &str) -> Result<Self, NotAFormat> {
        Self::ALL.into_iter().find(|it| it.name() == text).ok_or(NotAFormat)
    }
}
