//! Directives: the only things that a server can ask of an agent. Typed, signed, for one host, once, until a time.
//!
//! | order | signatures it needs | limit on the host |
//! |---|---|---|
//! | `resolve` | directive key | reads; writes only below the agent's own directory |
//! | `rehearse` | directive key | a clone without network, limits of time, memory, processes |
//! | `apply` | directive key **and** enough people in `/etc/fother/trust.toml` over the same plan, host and window | allowed origins, no removals or downgrades unless the trust file says so |
//! | `apply` under a standing approval | directive key **and** enough people in the trust file over a [`crate::standing::Standing`] that names this host, and the word of a named host for the rehearsal | only where the trust file permits standing approvals; newer versions of installed packages of the signed classes and origins; the signed window |
//! | `undo` | directive key, and the approvals of the transaction it undoes, until their undo deadline | only what that transaction wrote |
//!
//! What is not in this table is refused.

use crate::{
    Digest, Timestamp, canonical,
    id::{ChangeId, DirectiveId, HostId, TransactionId},
    plan::Place,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Largest signed directive, in bytes.
pub const DIRECTIVE_BYTES_MAX: usize = 1 << 20;

/// One archive snapshot that a directive pins: the files by name below the base address, each by SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexPin {
    /// Base address of the archive as hosts name it.
    pub uri: String,
    /// Suite.
    pub suite: String,
    /// SHA-256 of the InRelease file.
    pub inrelease: Digest,
    /// Index path below `dists/<suite>/` as the Release file lists it, and the SHA-256 that the Release file gives for it.
    pub indexes: Vec<(String, Digest)>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Say what your own package manager would do against these indexes.
    Resolve {
        /// The archives' pinned state.
        pins: Vec<IndexPin>,
        /// Source packages to leave out, sorted.
        exclude: Vec<String>,
    },
    /// Rehearse this cohort's transaction on a clone of yourself.
    Rehearse {
        /// The plan.
        plan: Digest,
        /// Your cohort.
        cohort: Digest,
        /// Proves that the plan holds the cohort.
        place: Place,
        /// Where it breaks, look for the smallest failing set.
        bisect: bool,
        /// Vouch for the report: a standing approval takes no other. Agents that do not know it refuse the order.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        attest: bool,
    },
    /// Carry out this cohort's transaction.
    Apply {
        /// Names the transaction, for undo.
        txn: TransactionId,
        /// The plan.
        plan: Digest,
        /// Your cohort.
        cohort: Digest,
        /// Proves that the plan holds the cohort.
        place: Place,
        /// The rehearsal of your cohort.
        rehearsal: Digest,
        /// The [`crate::approval::Statement`] that people signed, or with `standing` the [`crate::standing::Standing`].
        statement: Digest,
        /// The author's SSH signature over the statement, armored; it never counts as an approval.
        author: String,
        /// The approvers' SSH signatures over the statement, armored.
        approvals: Vec<String>,
        /// People signed a standing approval, not this plan. Agents that do not know it refuse the order.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        standing: bool,
    },
    /// Undo a transaction of yours.
    Undo {
        /// The transaction.
        txn: TransactionId,
        /// For people.
        reason: String,
    },
}

impl Order {
    /// The word for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "resolve",
            Self::Rehearse { .. } => "rehearse",
            Self::Apply { .. } => "apply",
            Self::Undo { .. } => "undo",
        }
    }
}

/// A directive before it is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directive {
    /// Its id; an agent acts on it once.
    pub id: DirectiveId,
    /// The only host that may act on it.
    pub host: HostId,
    /// Grows by at least one with each directive to the host.
    pub sequence: u64,
    /// When the server made it.
    pub issued: Timestamp,
    /// From when on the host refuses it.
    pub expires: Timestamp,
    /// What is asked.
    pub order: Order,
}

/// A directive's canonical bytes and the signature over them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedDirective {
    /// Canonical JSON of a [`Directive`].
    pub directive: String,
    /// Ed25519 over `fother/directive/v1\n` and the bytes, base64.
    pub signature: String,
}

/// Why a host refuses a directive.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "refused", rename_all = "kebab-case")]
pub enum Refused {
    /// Too large.
    #[error("the directive is larger than {DIRECTIVE_BYTES_MAX} bytes")]
    TooLarge,
    /// Altered, or signed by another key.
    #[error("the signature does not fit: altered, or not from this server's directive key")]
    Signature,
    /// Not one of the table.
    #[error("unknown or malformed directive: {why}")]
    Unknown {
        /// For people.
        why: String,
    },
    /// For another host.
    #[error("the directive is for {host}, not for this host")]
    OtherHost {
        /// Whom it is for.
        host: HostId,
    },
    /// Seen before, or older than one seen before.
    #[error("replayed: sequence {sequence} is not above {seen}")]
    Replayed {
        /// Its sequence.
        sequence: u64,
        /// The highest that was accepted.
        seen: u64,
    },
    /// Too late.
    #[error("expired at {expires}")]
    Expired {
        /// Its expiry.
        expires: Timestamp,
    },
    /// Issued more than [`SKEW_MS_MAX`] ahead of this host's clock.
    #[error("issued at {issued}, ahead of this host's clock {now}: one of the clocks is wrong")]
    FromTheFuture {
        /// When it was made.
        issued: Timestamp,
        /// The host's clock.
        now: Timestamp,
    },
    /// Approved, but not for this moment: before or after its window.
    #[error("{why}")]
    NotNow {
        /// For people.
        why: String,
    },
    /// The server asked that nothing new begins before this host had begun.
    #[error("stopped before it began; nothing was changed")]
    Withdrawn,
    /// Genuine, but this host does not act on it: archives that do not verify, altered files, no such transaction, observing only.
    #[error("{why}")]
    Host {
        /// For people.
        why: String,
    },
}

/// Largest accepted clock skew, in milliseconds.
pub const SKEW_MS_MAX: u64 = 60_000;

const PREFIX: &[u8] = b"fother/directive/v1\n";

/// Signs a directive.
///
/// # Errors
/// Where it has no canonical form.
pub fn sign(directive: &Directive, key: &SigningKey) -> Result<SignedDirective, canonical::Error> {
    let bytes = canonical::to_vec(directive)?;
    let signature = key.sign(&[PREFIX, &bytes].concat());
    Ok(SignedDirective { directive: String::from_utf8_lossy(&bytes).into_owned(), signature: STANDARD.encode(signature.to_bytes()) })
}

/// What a host knows when a directive arrives.
#[derive(Clone, Debug)]
pub struct Intake {
    /// This host.
    pub host: HostId,
    /// Pinned at enrolment.
    pub key: VerifyingKey,
    /// Highest sequence accepted so far; durable.
    pub seen: u64,
}

impl Intake {
    /// Accepts a directive or says why not. The caller stores the new sequence durably *before* acting.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn accept(&self, signed: &SignedDirective, now: Timestamp) -> Result<Directive, Refused> {
        if signed.directive.len() > DIRECTIVE_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        let bytes = signed.directive.as_bytes();
        let signature =
            STANDARD.decode(&signed.signature).ok().and_then(|raw| Signature::from_slice(&raw).ok()).ok_or(Refused::Signature)?;
        self.key.verify_strict(&[PREFIX, bytes].concat(), &signature).map_err(|_| Refused::Signature)?;
        let directive: Directive = serde_json::from_slice(bytes).map_err(|error| Refused::Unknown { why: error.to_string() })?;
        if !canonical::is_canonical(bytes) {
            return Err(Refused::Unknown { why: "not in canonical form".to_owned() });
        }
        admit(&directive, self.host, self.seen, now)?;
        Ok(directive)
    }
}

/// Whether a directive whose signature fits is for this host, new, and in time.
///
/// # Errors
/// See [`Refused`].
pub fn admit(directive: &Directive, host: HostId, seen: u64, now: Timestamp) -> Result<(), Refused> {
    if directive.host != host {
        return Err(Refused::OtherHost { host: directive.host });
    }
    if directive.sequence <= seen {
        return Err(Refused::Replayed { sequence: directive.sequence, seen });
    }
    if directive.expires <= now {
        return Err(Refused::Expired { expires: directive.expires });
    }
    if directive.issued.ms() > now.ms().saturating_add(SKEW_MS_MAX) {
        return Err(Refused::FromTheFuture { issued: directive.issued, now });
    }
    Ok(())
}

/// The change that an apply order belongs to, for outcomes and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Belongs {
    /// The change.
    pub change: ChangeId,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting() -> (SigningKey, Intake, Directive) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let host = HostId::new(1, [1; 10]);
        let intake = Intake { host, key: key.verifying_key(), seen: 4 };
        let directive = Directive {
            id: DirectiveId::new(1, [2; 10]),
            host,
            sequence: 5,
            issued: Timestamp(1_000_000),
            expires: Timestamp(2_000_000),
            order: Order::Undo { txn: TransactionId::new(1, [3; 10]), reason: "test".to_owned() },
        };
        (key, intake, directive)
    }

    #[test]
    fn a_good_directive_is_accepted() {
        let (key, intake, directive) = setting();
        assert_eq!(intake.accept(&sign(&directive, &key).unwrap(), Timestamp(1_500_000)), Ok(directive));
    }

    #[test]
    fn orders_without_a_standing_approval_are_written_and_read_as_before() {
        let (plan, cohort) = (Digest([1; 32]), Digest([2; 32]));
        let place = Place { index: 0, proof: Vec::new() };
        let text = serde_json::to_string(&Order::Rehearse { plan, cohort, place: place.clone(), bisect: true, attest: false }).unwrap();
        assert!(!text.contains("attest"), "{text}");
        let order = |standing| Order::Apply {
            txn: TransactionId::new(1, [1; 10]),
            plan,
            cohort,
            place: place.clone(),
            rehearsal: plan,
            statement: plan,
            author: String::new(),
            approvals: Vec::new(),
            standing,
        };
        let text = serde_json::to_string(&order(false)).unwrap();
        assert!(!text.contains("standing"), "{text}");
        assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), order(false));
        assert!(
            serde_json::to_string(&order(true)).unwrap().contains("\"standing\":true"),
            "an agent of before refuses what it does not know"
        );
    }

    #[test]
    fn altered_foreign_replayed_expired_unknown_and_early_ones_are_each_refused() {
        let (key, intake, directive) = setting();
        let now = Timestamp(1_500_000);
        let good = sign(&directive, &key).unwrap();
        let altered = SignedDirective { directive: good.directive.replace("test", "tost"), ..good.clone() };
        assert_eq!(intake.accept(&altered, now), Err(Refused::Signature));
        let foreign = sign(&directive, &SigningKey::from_bytes(&[8; 32])).unwrap();
        assert_eq!(intake.accept(&foreign, now), Err(Refused::Signature));
        let other = Directive { host: HostId::new(9, [9; 10]), ..directive.clone() };
        assert!(matches!(intake.accept(&sign(&other, &key).unwrap(), now), Err(Refused::OtherHost { .. })));
        let seen = Intake { seen: 5, ..intake.clone() };
        assert!(matches!(seen.accept(&good, now), Err(Refused::Replayed { sequence: 5, seen: 5 })));
        assert!(matches!(intake.accept(&good, Timestamp(2_000_000)), Err(Refused::Expired { .. })));
        assert!(matches!(intake.accept(&good, Timestamp(900_000)), Err(Refused::FromTheFuture { .. })));
        let text = good.directive.replace("\"undo\"", "\"shell\"");
        let signature = STANDARD.encode(key.sign(&[PREFIX, text.as_bytes()].concat()).to_bytes());
        assert!(matches!(intake.accept(&SignedDirective { directive: text, signature }, now), Err(Refused::Unknown { .. })));
    }
}
