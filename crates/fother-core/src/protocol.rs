//! What agents and server say to each other, as JSON over mutual TLS. Bulky things travel as blobs by digest.
//!
//! | request | answer |
//! |---|---|
//! | `POST /agent/v1/enrol` [`Enrol`] (TLS pinned to the CA's fingerprint of the token, no client certificate) | [`Enrolled`] |
//! | `POST /agent/v1/renew` [`Renew`] | [`Renewed`] |
//! | `POST /agent/v1/check-in` [`CheckIn`] | [`CheckInAnswer`] |
//! | `PUT /agent/v1/blobs/<kind>/<sha256 hex>` canonical bytes | 204 |
//! | `GET /agent/v1/blobs/<sha256 hex>` | bytes of a typed blob (cohort, plan, rehearsal) |
//! | `GET /agent/v1/files/<sha256 hex>` | bytes of an archive file (InRelease, index, package) |

use crate::{
    Digest,
    approval::Refused as ApprovalRefused,
    directive::{Refused, SignedDirective},
    id::{DirectiveId, HostId, TransactionId},
    rehearsal::Verdict,
};
use serde::{Deserialize, Serialize};

/// Largest check-in, in bytes.
pub const CHECK_IN_BYTES_MAX: usize = 1 << 20;
/// Largest blob that an agent may send, in bytes.
pub const BLOB_BYTES_MAX: usize = 16 << 20;
/// Most outcomes in one check-in; the rest waits for the next.
pub const OUTCOMES_MAX: usize = 64;
/// Protocol version. Version 2 added [`CheckIn::session`] and `POST /agent/v1/renew`.
pub const VERSION: u32 = 2;
/// The oldest version that a server of this version understands: the one before.
pub const VERSION_MIN: u32 = VERSION - 1;

/// Whether agents of this version and servers of this one work together.
#[must_use]
pub fn speaks(version: u32) -> bool {
    (VERSION_MIN..=VERSION).contains(&version)
}

/// An enrolment token in its text form: `<secret>.<CA certificate's SHA-256 in hex>`. Only the digest of the secret is kept by the server.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// 32 lower-case base32 or hex characters of randomness.
    pub secret: String,
    /// SHA-256 of the CA certificate in DER.
    pub ca: Digest,
}

impl Token {
    /// Reads the text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (secret, ca) = text.trim().split_once('.')?;
        let plain = secret.len() == 32 && secret.bytes().all(|b| b.is_ascii_alphanumeric());
        plain.then_some(())?;
        Some(Self { secret: secret.to_owned(), ca: Digest::from_hex(ca).ok()? })
    }

    /// The text form.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}.{}", self.secret, self.ca.hex())
    }

    /// What the server keeps.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of_kind("token", self.secret.as_bytes())
    }
}

/// A host asks to join.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The token's secret.
    pub secret: String,
    /// PKCS #10 request, PEM; the host's key never leaves it.
    pub csr: String,
    /// Host name, for people.
    pub hostname: String,
    /// Public key that the host cosigns checkpoints with: Ed25519, 64 hexadecimal digits.
    pub cosigner: String,
    /// Read-only: the host refuses to rehearse and apply until switched on at the host itself.
    pub observe: bool,
}

/// The server lets it in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// The host's id.
    pub host: HostId,
    /// Certificate, PEM.
    pub certificate: String,
    /// CA certificate, PEM.
    pub ca: String,
    /// Directive key, 64 hex digits, pinned from now on.
    pub directive_key: String,
    /// Log key in C2SP verifier form, pinned from now on.
    pub log_key: String,
}

/// How a directive ended, or how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// Not accepted; nothing was changed.
    Refused {
        /// Why.
        why: Refused,
    },
    /// Not enough or not fitting approvals; nothing was changed.
    NotApproved {
        /// Why.
        why: ApprovalRefused,
    },
    /// The host no longer matches its cohort's base; nothing was changed.
    Replan {
        /// For people.
        why: String,
    },
    /// The resolution blob was sent.
    Resolved {
        /// Its digest.
        resolution: Digest,
        /// The base it was computed on.
        base: Digest,
    },
    /// The rehearsal blob was sent.
    Rehearsed {
        /// Its digest.
        rehearsal: Digest,
        /// The answer.
        verdict: Verdict,
        /// Source packages of the smallest failing set, where it was looked for and found.
        failing: Vec<String>,
    },
    /// Accepted and journaled; work begins.
    Started {
        /// The transaction.
        txn: TransactionId,
    },
    /// Installed and healthy; the soak runs.
    Applied {
        /// The transaction.
        txn: TransactionId,
        /// Time of the transaction in milliseconds.
        apply_ms: u64,
    },
    /// Healthy through the soak; running versions proven.
    Verified {
        /// The transaction.
        txn: TransactionId,
        /// For people: reboot still due, services that could not be restarted; empty: all in effect.
        remarks: Vec<String>,
    },
    /// Failed; the host was put back.
    RolledBack {
        /// The transaction.
        txn: TransactionId,
        /// Why.
        why: String,
        /// Paths that were read anew after the host was put back and compared with the state before; 0: nothing had been begun.
        paths_compared: u64,
        /// Differences; empty: exact.
        differences: Vec<String>,
    },
    /// Failed, and the host is not as it was: a person is needed.
    Failed {
        /// Why, and what to do.
        why: String,
    },
}

impl Outcome {
    /// One line for logs and people.
    #[must_use]
    pub fn brief(&self) -> String {
        match self {
            Self::Refused { why } => format!("refused: {why}"),
            Self::NotApproved { why } => format!("refused: {why}"),
            Self::Replan { why } => format!("replan: {why}"),
            Self::Failed { why } => format!("failed: {why}"),
            Self::Resolved { .. } => "resolved".to_owned(),
            Self::Rehearsed { verdict, .. } => format!("rehearsed: {verdict:?}"),
            Self::Started { .. } => "started".to_owned(),
            Self::Applied { apply_ms, .. } => format!("applied in {apply_ms} ms"),
            Self::Verified { .. } => "verified".to_owned(),
            Self::RolledBack { why, differences, .. } if differences.is_empty() => format!("put back exactly: {why}"),
            Self::RolledBack { why, differences, .. } => format!("put back but for {} paths: {why}", differences.len()),
        }
    }

    /// The outcome as it may leave its host, each text on one line: without what programs printed there.
    #[must_use]
    pub fn outgoing(mut self) -> Self {
        let told = |text: &mut String| *text = crate::text::outgoing(text).lines().collect::<Vec<_>>().join(" ");
        match &mut self {
            Self::Replan { why }
            | Self::Failed { why }
            | Self::Refused { why: Refused::Host { why } | Refused::Unknown { why } | Refused::NotNow { why } } => told(why),
            Self::RolledBack { why, differences, .. } => {
                told(why);
                differences.iter_mut().for_each(told);
            }
            Self::Verified { remarks, .. } => remarks.iter_mut().for_each(told),
            Self::Refused { .. }
            | Self::NotApproved { .. }
            | Self::Resolved { .. }
            | Self::Rehearsed { .. }
            | Self::Started { .. }
            | Self::Applied { .. } => {}
        }
        self
    }

    /// Whether nothing more comes for the directive.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Started { .. } | Self::Applied { .. })
    }
}

/// One report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Numbered by the host without gaps; the server acknowledges by number and takes each once.
    pub number: u64,
    /// The directive; `None` where it could not even be read.
    pub directive: Option<DirectiveId>,
    /// What became of it.
    pub outcome: Outcome,
}

/// A host says that it lives and what is new.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckIn {
    /// [`VERSION`].
    pub version: u32,
    /// Digest of the present inventory; sent as blob before if it is new.
    pub inventory: Digest,
    /// [`crate::inventory::Inventory::base`].
    pub base: Digest,
    /// Reports not yet acknowledged, lowest first, at most [`OUTCOMES_MAX`].
    pub reports: Vec<Report>,
    /// Highest directive sequence that the host has accepted.
    pub seen: u64,
    /// The epoch of the log that the host is in.
    #[serde(default)]
    pub epoch: u64,
    /// The lowest report that the host still keeps, acknowledged or not; one more than its last where it keeps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
    /// The newest checkpoint that the host saw, with its cosignature; text of a C2SP signed note.
    pub checkpoint: Option<String>,
    /// The host's clock, RFC 3339.
    pub clock: crate::Timestamp,
    /// Whether the host only observes.
    pub observe: bool,
    /// Random name of this run of the agent, kept in memory only: two machines with one identity show two that take turns. From version 2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// A host wants another certificate for a new key before its own ends; sent under the old one. From version 2 on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// PKCS #10 request, PEM.
    pub csr: String,
}

/// What it gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewed {
    /// Certificate, PEM.
    pub certificate: String,
}

/// The server's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckInAnswer {
    /// Reports up to this number are stored.
    pub acknowledged: u64,
    /// What to do.
    pub directives: Vec<SignedDirective>,
    /// Seconds until the next check-in; 0 means at once.
    pub next_check_in_s: u32,
    /// The server does not know this inventory yet: send the blob.
    pub wants_inventory: bool,
    /// The newest checkpoint.
    pub checkpoint: Option<String>,
    /// Proof that it continues the checkpoint of the check-in (RFC 6962 section 2.1.2).
    #[serde(default)]
    pub consistency: Vec<Digest>,
    /// Nothing that has not begun may begin.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// The log's epoch, where it is not the one that the host is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<crate::epoch::SignedEpoch>,
}
