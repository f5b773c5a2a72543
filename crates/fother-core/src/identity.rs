//! Whether an enrolled identity still counts: revoked by a person, or used by two machines at once. Pure.

use crate::{decide::Refusal, event::Data, id::HostId, state::State};
use std::collections::VecDeque;

/// Longest name of a session, in bytes.
pub const SESSION_BYTES_MAX: usize = 64;
/// Earlier sessions of a host that are remembered.
const EARLIER_KEPT: usize = 4;
/// How often a session may still be heard of after another one began: a request of an agent that has just ended may come late.
const LATE_MAX: u32 = 1;
/// What a copied identity is revoked for.
pub const COPIED: &str = "two machines use this identity at once: one is a copy; enrol both anew";

/// The runs of one host's agent: each shows a random name of its own, kept in memory only, so that no copy of a disk carries it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    now: Option<String>,
    /// Those before it, newest last, and how often each was heard of since.
    earlier: VecDeque<(String, u32)>,
}

impl Sessions {
    /// A check-in shows this session. `true`: two machines take turns, for one that was followed by another goes on.
    pub fn heard(&mut self, session: &str) -> bool {
        if self.now.as_deref() == Some(session) {
            return false;
        }
        if let Some((_, late)) = self.earlier.iter_mut().find(|(known, _)| known == session) {
            *late += 1;
            return *late > LATE_MAX;
        }
        if let Some(before) = self.now.replace(session.to_owned()) {
            self.earlier.push_back((before, 0));
            if self.earlier.len() > EARLIER_KEPT {
                self.earlier.pop_front();
            }
        }
        false
    }
}

/// Whether a session's name can be one.
#[must_use]
pub fn is_session(text: &str) -> bool {
    (16..=SESSION_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Shuts an identity out: its certificates are worth nothing from here on, and it counts as out of service until it is retired.
///
/// # Errors
/// An unknown host. One that is shut out already gives no event.
pub fn revoke(state: &State, host: HostId, reason: &str) -> Result<Vec<Data>, Refusal> {
    let Some(known) = state.hosts.get(&host).filter(|known| !known.retired) else {
        let what = format!("there is no host {host}");
        return Err(Refusal { code: "unknown-host", what, hint: "see `fother host ls`".to_owned() });
    };
    if known.revoked.is_some() {
        return Ok(Vec::new());
    }
    let mut events = vec![Data::HostRevoked { host, reason: reason.to_owned() }];
    if !known.lost {
        events.push(Data::HostLost { host });
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u32) -> String {
        format!("{n:032}")
    }

    #[test]
    fn restarts_are_no_copies_however_many() {
        let mut sessions = Sessions::default();
        for n in 0..100 {
            assert!(!sessions.heard(&name(n)) && !sessions.heard(&name(n)));
        }
    }

    #[test]
    fn a_request_that_comes_late_is_no_copy() {
        let mut sessions = Sessions::default();
        assert!(!sessions.heard(&name(1)) && !sessions.heard(&name(2)) && !sessions.heard(&name(1)) && !sessions.heard(&name(2)));
    }

    #[test]
    fn two_machines_that_take_turns_are_found_whichever_goes_first() {
        let mut sessions = Sessions::default();
        let found = [1, 2, 1, 2, 1].map(|n| sessions.heard(&name(n)));
        assert_eq!(found, [false, false, false, false, true]);
        let mut sessions = Sessions::default();
        let found = [1, 1, 1, 2, 2, 2, 1, 1].map(|n| sessions.heard(&name(n)));
        assert_eq!(found.iter().position(|found| *found), Some(7));
    }

    #[test]
    fn a_session_is_a_plain_random_name() {
        for bad in ["", "short", "a b c d e f g h i j", &"x".repeat(65)] {
            assert!(!is_session(bad), "{bad}");
        }
        assert!(is_session(&name(1)));
    }
}
