//! Deliberate faults of the engine, chosen at run time, so that the simulator can prove that it would see them.
//!
//! Only where debug assertions are on: in the product [`is`] is a constant and nothing of this is compiled.

#[cfg(debug_assertions)]
use std::cell::Cell;

macro_rules! mutants {
    ($($(#[doc = $doc:literal])* $name:ident,)+) => {
        /// One deliberate fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutant {$($(#[doc = $doc])* $name,)+}

        impl Mutant {
            /// All of them, each with what it does, for people.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, concat!($($doc),*)),)+];
        }
    };
}

mutants! {
    /// The budget lets one host too many begin.
    BudgetOffByOne,
    /// The budget is not looked at.
    BudgetIgnored,
    /// Percentages count the group as it was at the start.
    BudgetOfStart,
    /// Hosts of several zones at once.
    ZonesIgnored,
    /// The budget of each zone is not looked at.
    ZoneBudgetIgnored,
    /// The quorum is not looked at.
    QuorumIgnored,
    /// The last healthy host of a group may go without anybody's consent.
    OutageAllowed,
    /// A failed host takes no place of the budget.
    FailedStopsCounting,
    /// A host that was not put back exactly takes no place.
    InexactStopsCounting,
    /// A host takes no place while it soaks.
    SoakingStopsCounting,
    /// A host takes no place while it is undone.
    UndoingDoesNotCount,
    /// A lost host takes no place.
    LostDoesNotCount,
    /// What other rollouts work on takes no place.
    OtherRolloutsDoNotCount,
    /// What other rollouts broke takes no place.
    UnhealthyDoesNotCount,
    /// A host that left takes its place for ever.
    RetiredKeepsCounting,
    /// Lost hosts are asked all the same.
    LostIsAsked,
    /// Windows are not looked at by the server.
    WindowIgnored,
    /// The end of an approval is not looked at by the server.
    ExpiryIgnored,
    /// Hosts do not look at the window themselves.
    HostIgnoresWindow,
    /// Hosts do not count approvals themselves.
    HostIgnoresApprovals,
    /// A pause stops nothing.
    PauseIgnored,
    /// `stop --all` stops nothing at the server.
    StopIgnored,
    /// Freezes are not looked at when hosts are chosen.
    FreezeIgnored,
    /// What went out before a freeze is handed out in it.
    FrozenIsHandedOut,
    /// The next wave begins before this one has ended.
    WaveNotAwaited,
    /// A failed canary is only a number.
    CanaryFailureIgnored,
    /// A canary in which nothing was shown passes.
    EmptyCanaryPasses,
    /// Canaries are tried again.
    CanaryRetries,
    /// Never more than one failure is counted.
    FailuresDoNotAddUp,
    /// Hosts that do not report are waited for without a word.
    SilenceIsPatience,
    /// Nobody is told who blocks.
    BlockedIsNotSaid,
    /// A way back ends before all hosts are back.
    BackEndsEarly,
    /// The author's own approval counts.
    AuthorApproves,
    /// Approvals of another statement count.
    OtherStatementCounts,
    /// A host forgets which sequence it accepted last.
    SequenceForgotten,
    /// A transaction that is known is done again.
    DoneTwice,
    /// After a crash a transaction is started again without asking how far it is.
    StartedBlindly,
    /// Checks without data pass.
    NoDataPasses,
    /// The soak is not waited for.
    SoakSkipped,
    /// A second report under the same number is taken again.
    ReportsTwice,
    /// Directives that were never accepted are sent again although the window has closed.
    RenewedOutsideWindow,
    /// Directives that were never accepted count for ever.
    NeverWithdrawn,
    /// Silent hosts are never said to be lost.
    LossIsNotSeen,
    /// The server works on although its clock has jumped.
    ClockJumpIgnored,
}

#[cfg(debug_assertions)]
thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Whether this fault is on, in this thread.
#[cfg(debug_assertions)]
#[must_use]
pub fn is(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Whether this fault is on: never in the product.
#[cfg(not(debug_assertions))]
#[must_use]
pub const fn is(_: Mutant) -> bool {
    false
}

/// Turns a fault on, or all off, in this thread; says whether this build has faults at all.
pub fn set(mutant: Option<Mutant>) -> bool {
    #[cfg(debug_assertions)]
    ACTIVE.set(mutant);
    #[cfg(not(debug_assertions))]
    let _ = mutant;
    cfg!(debug_assertions)
}
