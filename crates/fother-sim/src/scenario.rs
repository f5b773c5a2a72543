//! Scripts that play a fleet by hand and print what the engine does: commands in, readable state out.
//!
//! | command | what it does |
//! |---|---|
//! | `fleet 6 a,b` | so many hosts, h0 and on, over these zones in turn |
//! | `budget 2` or `budget 20%`, then any of `zone-by-zone`, `per-zone`, `min-healthy 3` | the disruption budget |
//! | `strategy 1 50%,100% 60`, then any of `by-zone`, `retries 1`, `back wave`, `back rollout` | canary, waves, soak in seconds |
//! | `window 60-120 90` | an opening in minutes from the start, and its cutoff |
//! | `start [h0,h1]`, `supersede` | plans, approves and starts a rollout; `supersede` takes a running one's place |
//! | `at 61` | the time in minutes; runs the engine |
//! | `h1 verified`, `applied`, `put-back`, `failed`, `replan`, `refused`, `too-late`, `lost`, `returned`, `retired`, `checks-in` | what a host says or does |
//! | `pause`, `resume`, `abort`, `rollback`, `skip h3`, `stop`, `go` | what people do |
//! | `show` | every host |

use fother_core::{
    Digest, Timestamp,
    approval::{Action as Allowed, Statement},
    decide::{self, Steer},
    directive::Refused,
    dispatch::{self, Lapsed},
    event::{Data, Event, VERSION},
    id::{ChangeId, DirectiveId, HostId, RolloutId, TokenId, TransactionId},
    inventory::Labels,
    plan::{Cohort, CohortTree, Plan, Planned},
    policy::{Budget, ConfigFiles, GoBack, Per, Policy, Share, Strategy},
    protocol::{Outcome, Report},
    rehearsal::Verdict,
    rollout::Phase,
    state::State,
    window::Interval,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

const MINUTE: u64 = 60_000;
/// Rounds of the engine after one command: a bound, not a wish.
const ROUNDS_MAX: usize = 64;

struct Stage {
    state: State,
    now: u64,
    numbers: u64,
    budget: Budget,
    strategy: Strategy,
    window: Vec<Interval>,
    out: String,
}

/// Plays a script and gives its transcript: every line of it, and what came of it.
#[must_use]
pub fn transcript(script: &str) -> String {
    let mut stage = Stage {
        state: State::default(),
        now: 0,
        numbers: 0,
        budget: Budget::of(Share::Count(1)),
        strategy: Strategy::of(1, vec![Share::Percent(100)], 60),
        window: Vec::new(),
        out: String::new(),
    };
    for line in script.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            let _ = writeln!(stage.out, "{line}");
            continue;
        }
        let _ = writeln!(stage.out, "> {line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Err(why) = stage.command(&words) {
            stage.say(format!("REFUSED: {why}"));
        }
    }
    stage.out
}

fn number(word: Option<&&str>) -> Result<u64, String> {
    word.and_then(|word| word.parse().ok()).ok_or_else(|| "a number is missing".to_owned())
}

fn share(word: &str) -> Result<Share, String> {
    let bad = || format!("`{word}` is no share");
    match word.strip_suffix('%') {
        Some(percent) => percent.parse().map(Share::Percent).map_err(|_| bad()),
        None => word.parse().map(Share::Count).map_err(|_| bad()),
    }
}

fn host(at: u64) -> HostId {
    HostId(u128::from(at) + 1)
}

fn name(id: HostId) -> String {
    format!("h{}", id.0 - 1)
}

fn named(word: &str) -> Result<HostId, String> {
    word.strip_prefix('h').and_then(|at| at.parse().ok()).map(host).ok_or_else(|| format!("`{word}` is no host"))
}

impl Stage {
    fn say(&mut self, what: impl AsRef<str>) {
        let mut line = what.as_ref().to_owned();
        if line.contains("host_") || line.contains("rollout_") {
            self.state.hosts.keys().for_each(|host| line = line.replace(&host.to_string(), &name(*host)));
            self.state.rollouts.keys().zip(1..).for_each(|(id, number)| line = line.replace(&id.to_string(), &format!("rollout {number}")));
        }
        let _ = writeln!(self.out, "  {line}");
    }

    fn id(&mut self) -> u128 {
        self.numbers += 1;
        u128::from(self.numbers)
    }

    fn digest(&mut self) -> Digest {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.id().to_be_bytes());
        Digest(bytes)
    }

    fn append(&mut self, events: Vec<Data>) {
        for data in events {
            let event = Event { v: VERSION, seq: self.state.size, at: Timestamp(self.now), actor: "script".to_owned(), data };
            self.state.fold(&event);
            self.tell(&event.data);
        }
    }

    fn tell(&mut self, data: &Data) {
        let names = |hosts: &[HostId]| hosts.iter().map(|host| name(*host)).collect::<Vec<_>>().join(" ");
        let line = match data {
            Data::DirectiveIssued { host, order, .. } if order != "rehearse" => format!("{order} goes out to {}", name(*host)),
            Data::RolloutMembers { wave, hosts, .. } => {
                let hosts: Vec<HostId> = hosts.iter().map(|(host, _)| *host).collect();
                format!("wave {wave}: {}", names(&hosts))
            }
            Data::WavePassed { wave, shown, .. } => format!("wave {wave} passed: {shown}"),
            Data::RollbackStarted { reason, .. } => format!("hosts are put back: {reason}"),
            Data::RolloutEnded { end, .. } => format!("ended: {}", ended(end)),
            Data::RolloutBlocked { by, why, .. } => format!("BLOCKED by {}: {why}", names(by)),
            Data::HostWithdrawn { host, .. } => format!("{} never accepted its directive: it waits again", name(*host)),
            _ => return,
        };
        self.say(line);
    }

    fn command(&mut self, words: &[&str]) -> Result<(), String> {
        let rest = words.get(1..).unwrap_or_default();
        match *words.first().unwrap_or(&"") {
            "fleet" => self.fleet(number(rest.first())?, rest.get(1).unwrap_or(&"a")),
            "budget" => self.budget(rest)?,
            "strategy" => self.strategy(rest)?,
            "window" => {
                let (from, to) = rest.first().and_then(|span| span.split_once('-')).ok_or("an opening is missing")?;
                let (from, to, last) = (number(Some(&from))?, number(Some(&to))?, number(rest.get(1))?);
                let at = |minutes: u64| Timestamp(minutes * MINUTE);
                self.window.push(Interval { start: at(from), end: at(to), last_start: at(last) });
            }
            "start" => self.start(rest.first().copied(), false)?,
            "supersede" => self.start(None, true)?,
            "at" => self.now = number(rest.first())? * MINUTE,
            "pause" => self.steer(Steer::Pause)?,
            "resume" => self.steer(Steer::Resume)?,
            "abort" => self.steer(Steer::Abort)?,
            "rollback" => {
                let event = decide::rollback(&self.state, self.newest()?, "a person asked for it".to_owned())
                    .map_err(|refusal| refusal.to_string())?;
                self.append(vec![event]);
            }
            "skip" => {
                let host = named(rest.first().unwrap_or(&""))?;
                let event =
                    decide::skip(&self.state, self.newest()?, host, "its owner asked".to_owned()).map_err(|refusal| refusal.to_string())?;
                self.append(vec![event]);
            }
            "stop" => self.append(decide::stop_all(&self.state, Some("a person stopped everything".to_owned()))),
            "go" => self.append(decide::stop_all(&self.state, None)),
            "show" => self.show(),
            word => self.speak(named(word)?, rest.first().copied().unwrap_or_default())?,
        }
        self.rounds();
        Ok(())
    }

    fn fleet(&mut self, count: u64, zones: &str) {
        let zones: Vec<&str> = zones.split(',').collect();
        for at in 0..count {
            let zone = zones.get(usize::try_from(at).unwrap_or(0) % zones.len()).copied().unwrap_or_default();
            let enrolled = Data::HostEnrolled {
                host: host(at),
                token: TokenId(0),
                hostname: name(host(at)),
                labels: Labels::from([("zone".to_owned(), zone.to_owned())]),
                certificate: Digest([0; 32]),
                cosigner: String::new(),
                observe: false,
            };
            self.append(vec![enrolled]);
        }
    }

    fn budget(&mut self, words: &[&str]) -> Result<(), String> {
        self.budget = Budget::of(share(words.first().ok_or("a share is missing")?)?);
        let mut words = words.iter().skip(1);
        while let Some(word) = words.next() {
            match *word {
                "zone-by-zone" => self.budget.one_zone_at_a_time = true,
                "per-zone" => self.budget.per = Per::Zone,
                "min-healthy" => self.budget.min_healthy = Some(share(words.next().ok_or("a share is missing")?)?),
                other => return Err(format!("`{other}` is nothing of a budget")),
            }
        }
        Ok(())
    }

    fn strategy(&mut self, words: &[&str]) -> Result<(), String> {
        let small = |word: Option<&&str>| number(word).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        let waves = words.get(1).ok_or("waves are missing")?.split(',').map(share).collect::<Result<_, _>>()?;
        self.strategy = Strategy::of(small(words.first())?, waves, small(words.get(2))?);
        let mut words = words.iter().skip(3);
        while let Some(word) = words.next() {
            match *word {
                "by-zone" => self.strategy.by_zone = true,
                "retries" => self.strategy.retries = small(words.next())?,
                "back" => self.strategy.on_failure = if words.next() == Some(&"wave") { GoBack::Wave } else { GoBack::Rollout },
                other => return Err(format!("`{other}` is nothing of a strategy")),
            }
        }
        Ok(())
    }

    /// Plan, rehearsal, change, approval and start, as people would do them one after the other.
    fn start(&mut self, hosts: Option<&str>, supersede: bool) -> Result<(), String> {
        let all: Vec<HostId> = self.state.hosts.iter().filter(|(_, host)| !host.retired).map(|(id, _)| *id).collect();
        let hosts: Vec<HostId> = match hosts {
            Some(names) => names.split(',').map(named).collect::<Result<_, _>>()?,
            None => all,
        };
        let (cohort, digest, statement_digest) = (self.digest(), self.digest(), self.digest());
        let members = hosts.iter().map(|host| (*host, Digest([0; 32]))).collect();
        let soak_s = self.strategy.soak_s;
        let cohorts = BTreeMap::from([(
            cohort,
            Cohort { changes: Vec::new(), hosts: members, checks: Vec::new(), soak_s, config_files: ConfigFiles::Keep },
        )]);
        let plan = Plan {
            group: "web".to_owned(),
            select: "true".to_owned(),
            policy: Digest([0; 32]),
            budget: self.budget.clone(),
            rollout: self.strategy.clone(),
            window: String::new(),
            approvals: 1,
            undo_s: 86_400,
            excluded: BTreeMap::new(),
            pins: Vec::new(),
            cohorts: CohortTree::over(&BTreeSet::from([cohort])),
            terms: Default::default(),
        };
        let planned = Planned { plan: plan.clone(), cohorts: cohorts.clone(), up_to_date: Vec::new(), unknown: Vec::new() };
        let (change, directive, rollout) = (ChangeId(self.id()), DirectiveId(self.id()), RolloutId(self.id()));
        let text = String::new;
        let mut events = decide::create_plan(&planned, digest).map_err(|refusal| refusal.to_string())?;
        let first = hosts.first().copied().unwrap_or(host(0));
        let number = self.state.hosts.get(&first).map_or(0, |host| host.acknowledged) + 1;
        events.push(Data::DirectiveIssued {
            directive,
            host: first,
            sequence: self.state.hosts.get(&first).map_or(0, |host| host.sequence) + 1,
            order: "rehearse".to_owned(),
            blob: digest,
            txn: None,
            cohort: Some(cohort),
            plan: Some(digest),
            rollout: None,
            expires: Timestamp(u64::MAX),
        });
        let outcome = Outcome::Rehearsed { rehearsal: digest, verdict: Verdict::Passes, failing: Vec::new() };
        events.push(Data::HostReported { host: first, report: Report { number, directive: Some(directive), outcome } });
        events.push(Data::ChangeSubmitted {
            change,
            plan: digest,
            statement: statement_digest,
            author: "ann".to_owned(),
            signature: text(),
        });
        events.push(Data::ChangeApproved { change, person: "bob".to_owned(), signature: text() });
        self.append(events);
        let statement = Statement {
            action: Allowed::Apply,
            change,
            plan: digest,
            rehearsals: BTreeMap::from([(cohort, digest)]),
            acknowledged: BTreeSet::new(),
            policy: plan.policy,
            hosts: hosts.into_iter().collect(),
            window: self.window.clone(),
            author: "ann".to_owned(),
            author_key: text(),
            undo_until: Timestamp(u64::MAX),
            expires: Timestamp(14 * 86_400_000),
        };
        let started = decide::start_rollout(&self.state, rollout, change, &plan, &cohorts, &statement, supersede);
        self.append(started.map_err(|refusal| refusal.to_string())?);
        Ok(())
    }

    fn newest(&self) -> Result<RolloutId, String> {
        self.state.rollouts.keys().next_back().copied().ok_or_else(|| "there is no rollout".to_owned())
    }

    fn steer(&mut self, how: Steer) -> Result<(), String> {
        let event = decide::steer(&self.state, self.newest()?, how).map_err(|refusal| refusal.to_string())?;
        self.append(vec![event]);
        Ok(())
    }

    fn speak(&mut self, host: HostId, what: &str) -> Result<(), String> {
        let known = self.state.hosts.get(&host).ok_or_else(|| format!("there is no {}", name(host)))?;
        let number = known.acknowledged + 1;
        let newest =
            known.open.iter().filter_map(|id| Some((*id, self.state.directives.get(id)?))).max_by_key(|(_, issued)| issued.sequence);
        let newest = newest.or_else(|| {
            self.state
                .directives
                .iter()
                .filter(|(_, issued)| issued.host == host && issued.txn.is_some())
                .max_by_key(|(_, issued)| issued.sequence)
                .map(|(id, issued)| (*id, issued))
        });
        let (directive, txn) = newest.map_or((None, None), |(id, issued)| (Some(id), issued.txn));
        let seen = known.sequence;
        let (txn, why) = (txn.unwrap_or(TransactionId(0)), format!("{} says so", name(host)));
        let outcome = match what {
            "lost" => {
                return {
                    self.append(vec![Data::HostLost { host }]);
                    Ok(())
                };
            }
            "returned" => {
                return {
                    self.append(vec![Data::HostReturned { host }]);
                    Ok(())
                };
            }
            "retired" => {
                return {
                    self.append(vec![Data::HostRetired { host }]);
                    Ok(())
                };
            }
            // It says that it has accepted nothing of what is open.
            "checks-in" => {
                return {
                    self.check_in(host, seen.saturating_sub(1));
                    Ok(())
                };
            }
            "applied" => Outcome::Applied { txn, apply_ms: MINUTE },
            "verified" => Outcome::Verified { txn, remarks: Vec::new() },
            "put-back" => Outcome::RolledBack { txn, why, paths_compared: 9, differences: Vec::new() },
            "failed" => Outcome::Failed { why },
            "replan" => Outcome::Replan { why },
            "refused" => Outcome::Refused { why: Refused::Host { why } },
            "too-late" => Outcome::Refused { why: Refused::NotNow { why: "outside of the approved window".to_owned() } },
            other => return Err(format!("no host says `{other}`")),
        };
        self.append(vec![Data::HostReported { host, report: Report { number, directive, outcome } }]);
        Ok(())
    }

    fn check_in(&mut self, host: HostId, seen: u64) {
        let mut events = Vec::new();
        for lapsed in dispatch::lapsed(&self.state, &Policy::default(), host, seen, Timestamp(self.now)) {
            match lapsed {
                Lapsed::Renew(rollout, last) => {
                    let (order, txn, blob) = (last.order.clone(), last.txn, last.blob);
                    let sequence = self.state.hosts.get(&host).map_or(0, |host| host.sequence) + 1;
                    let expires = Timestamp(self.now) + dispatch::DIRECTIVE_LIFE;
                    let (cohort, plan, rollout) = (last.cohort, last.plan, Some(rollout));
                    let directive = DirectiveId(u128::from(self.numbers) + 1);
                    events.push(Data::DirectiveIssued { directive, host, sequence, order, blob, txn, cohort, plan, rollout, expires });
                }
                Lapsed::Withdraw(rollout, txn) => events.push(Data::HostWithdrawn { rollout, host, txn }),
            }
        }
        self.numbers += 1;
        self.append(events);
    }

    fn rounds(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let before = self.state.size;
            for id in self.state.active.clone() {
                self.round(id);
            }
            if self.state.size == before {
                return;
            }
        }
    }

    fn round(&mut self, id: RolloutId) {
        let Some(rollout) = self.state.rollouts.get(&id) else { return };
        let now = Timestamp(self.now);
        let actions = rollout.step(&self.state.around(rollout), now);
        let mut numbers = self.numbers;
        let mut next = || {
            numbers += 1;
            u128::from(numbers)
        };
        let txn = || Ok::<_, dispatch::Damaged>(TransactionId(next()));
        let Ok((mut events, orders)) = dispatch::carry_out(&self.state, rollout, actions, txn) else { return };
        let made = dispatch::directives(&self.state, now, orders, || Ok::<_, decide::Refusal>(DirectiveId(next())));
        events.extend(made.unwrap_or_default().iter().map(|directive| dispatch::recorded(directive, Digest([0; 32]), Some(id))));
        self.numbers = numbers;
        self.append(events);
    }

    fn show(&mut self) {
        let mut lines =
            vec![format!("{} min{}", self.now / MINUTE, if self.state.stopped.is_some() { ", everything is stopped" } else { "" })];
        for (number, rollout) in (1..).zip(self.state.rollouts.values()) {
            let end = rollout.ended.as_ref().map_or_else(|| if rollout.paused { "paused".to_owned() } else { "running".to_owned() }, ended);
            lines.push(format!("rollout {number}: {end}"));
            for (wave, hosts) in rollout.setup.waves.iter().enumerate() {
                let one = |host: &HostId| {
                    let left = if rollout.has_left(host) { " (left)" } else { "" };
                    let lost = if self.state.lost.contains(host) { " (lost)" } else { "" };
                    format!("{} {}{lost}{left}", name(*host), rollout.hosts().get(host).map_or("", Phase::word))
                };
                lines.push(format!("  wave {wave}: {}", hosts.iter().map(one).collect::<Vec<_>>().join(", ")));
            }
        }
        lines.iter().for_each(|line| self.say(line));
    }
}

fn ended(end: &fother_core::rollout::End) -> String {
    use fother_core::rollout::End;
    match end {
        End::Completed => "completed".to_owned(),
        End::Halted { why } => format!("halted: {why}"),
        End::Aborted => "aborted".to_owned(),
        End::RolledBack => "rolled back".to_owned(),
        End::Superseded { .. } => "superseded by a newer one".to_owned(),
    }
}
