//! Everything that can go wrong, as a list that is drawn from the seed before the world begins, so that it can be printed, replayed and shrunk.

use crate::{
    draw::Draw,
    setting::{BEGIN, Setting},
};
use std::fmt;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident,)+) => {
        /// One kind of fault, or of person at the worst moment.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {$($(#[doc = $doc])* $name,)+}

        impl Kind {
            /// All of them, each with what it is, for people.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, concat!($($doc),*)),)+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {$(Self::$name => stringify!($name),)+}
            }
        }
    };
}

kinds! {
    /// The server dies and comes back.
    ServerCrash,
    /// The server dies right before its next append.
    ServerDiesBeforeAppend,
    /// The server dies right after its next append, before it could tell anybody.
    ServerDiesAfterAppend,
    /// The server's disk is full: appends are refused.
    DatabaseFull,
    /// The database answers late.
    DatabaseLate,
    /// A second server takes over while the first still believes that it leads.
    SecondLeader,
    /// The server's clock jumps.
    ServerClockJumps,
    /// A host's clock jumps.
    HostClockJumps,
    /// An agent dies and comes back; what it started goes on.
    AgentCrash,
    /// An agent dies before or after one of its next writes.
    AgentDiesAtWrite,
    /// A host's disk is full: the agent cannot write.
    HostDiskFull,
    /// A host's transaction hangs for hours.
    HostHangs,
    /// A host is slow.
    HostSlow,
    /// What hosts need for their transactions arrives late.
    DownloadsSlow,
    /// A host is cut off for a while.
    HostCut,
    /// A host is cut off for days.
    HostAwayForDays,
    /// A zone is cut off.
    ZoneCut,
    /// The network loses, doubles, reorders and delays.
    NetworkBad,
    /// A host's checks fail, whatever is installed.
    CheckFails,
    /// A host's checks give no answer.
    CheckWithoutData,
    /// Undos fail for a while.
    UndoFails,
    /// Undos leave a difference for a while, and say so.
    UndoInexact,
    /// A host cannot be taken out of service.
    DrainFails,
    /// A host's agent dies at every start.
    BootLoop,
    /// A host is gone for good, and nobody says so.
    HostGone,
    /// A host is retired.
    ScaleIn,
    /// A host joins.
    ScaleOut,
    /// Somebody else changes a host's packages.
    HostDrifts,
    /// The server sends an order with another change's statement.
    OtherStatement,
    /// The server sends an order without its approvals.
    ApprovalsLost,
    /// A person pauses the rollout, and resumes it later.
    Pause,
    /// A person aborts the rollout.
    Abort,
    /// A person rolls the newest rollout back.
    Rollback,
    /// A person leaves a waiting host out.
    Skip,
    /// A person stops everything, and lets it go on later.
    StopAll,
    /// A new change takes the running rollout's place.
    Supersede,
    /// A change for another group with some of the same hosts.
    OtherGroup,
    /// An author approves the own change, and somebody starts it.
    AuthorApproves,
    /// The policy changes for whatever is planned next.
    PolicyChanges,
    /// People freeze everything for a while.
    Freeze,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When, in milliseconds from the start.
    pub at: u64,
    /// What.
    pub kind: Kind,
    /// Which host, zone or server, wrapped around their number.
    pub who: u64,
    /// How long or how much, in milliseconds.
    pub span: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} (who {}, {} s)", crate::timeline::clock(self.at), self.kind, self.who, self.span / 1_000)
    }
}

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// Draws the faults of a seed: mostly a few, sometimes none, sometimes many.
#[must_use]
pub fn draw(seed: u64, setting: &Setting) -> Vec<Fault> {
    let mut draw = Draw::new(seed, 2);
    let count = match draw.below(10) {
        0 => 0,
        1..=5 => draw.within(1, 4),
        6..=8 => draw.within(4, 9),
        _ => draw.within(10, 20),
    };
    let mut faults: Vec<Fault> = (0..count)
        .map(|_| {
            let kind = draw.pick(Kind::ALL).map_or(Kind::ServerCrash, |(kind, _)| *kind);
            // Half of them while the first rollout is young, some right before a window closes.
            let edge = draw.pick(&setting.window).map(|window| window.last_start.ms().saturating_sub(BEGIN + draw.below(10 * MINUTE)));
            let at = match edge.filter(|_| draw.percent(25)) {
                Some(edge) => edge,
                None if draw.percent(50) => draw.below(setting.busy_ms),
                None => draw.below(setting.busy_ms / 4),
            };
            Fault { at, kind, who: draw.below(1 << 16), span: span(kind, &mut draw) }
        })
        .collect();
    faults.sort_by_key(|fault| fault.at);
    faults
}

fn span(kind: Kind, draw: &mut Draw) -> u64 {
    match kind {
        Kind::HostHangs => draw.within(20 * MINUTE, 3 * HOUR),
        Kind::DownloadsSlow => draw.within(MINUTE / 2, 9 * MINUTE),
        Kind::HostAwayForDays => draw.within(24 * HOUR, 72 * HOUR),
        Kind::ServerClockJumps | Kind::HostClockJumps => draw.within(1_000, 15 * MINUTE),
        Kind::DatabaseLate => draw.within(500, 20_000),
        Kind::UndoFails | Kind::UndoInexact => draw.within(30 * MINUTE, 3 * HOUR),
        Kind::Pause | Kind::StopAll | Kind::Freeze | Kind::ZoneCut | Kind::HostCut => draw.within(10_000, 40 * MINUTE),
        _ => draw.within(1_000, 10 * MINUTE),
    }
}
