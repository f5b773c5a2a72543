//! How long a server takes to come up on a long log: ten million events, cycle after cycle of patching every host.

use crate::{
    Failure, HOSTS, figure,
    made::{self, Writer},
    server::Server,
};
use fother_core::{
    Digest, Timestamp,
    event::Data,
    id::{ChangeId, DirectiveId, HostId, RolloutId, TransactionId},
    plan::MEMBERS_MAX,
    policy::{Budget, Share, Strategy},
    protocol::{Outcome, Report},
    rollout::{End, Setup},
};
use fother_server::Identity;
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

const RUNS: usize = 3;
/// Hosts that are at work at a time.
const AT_WORK: usize = 1_000;

pub(crate) fn run(fother: &Path, dir: &Path, events: u64) -> Result<(), Failure> {
    let data = dir.join("data");
    made::private(&data)?;
    let now = Timestamp(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())? - 60_000);
    Identity::open(&data, now)?;
    let began = Instant::now();
    let mut writer = Writer::open(&data, now)?;
    let mut n = 0_u64;
    made::enrol(&mut writer, |_| {
        n += 1;
        Ok(Digest::of_file(&n.to_le_bytes()))
    })?;
    let mut cycle = 0;
    while writer.size < events {
        patch(&mut writer, cycle, now, events)?;
        cycle += 1;
    }
    writer.flush()?;
    println!("# start: {} events in {cycle} cycles over {HOSTS} hosts, made in {} s", writer.size, began.elapsed().as_secs());
    drop(writer);
    let (mut starts, mut memory, mut most) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let server = Server::start(fother, dir)?;
        starts.push(server.start.as_secs_f64());
        memory.push(server.memory_mib("VmRSS")?);
        most.push(server.memory_mib("VmHWM")?);
        server.kill()?;
    }
    figure(&format!("start on a log of {events} events, s"), starts);
    figure("memory after that start, MiB", memory);
    figure("most memory during that start, MiB", most);
    Ok(())
}

/// One cycle: every host is asked, planned, patched and looked at again.
fn patch(writer: &mut Writer, cycle: u64, now: Timestamp, events: u64) -> Result<(), Failure> {
    let (plan, cohort) = (Digest::of_file(&cycle.to_le_bytes()), Digest::of_file(b"cohort"));
    let (rollout, change) = (RolloutId::new(cycle + 1, [1; 10]), ChangeId::new(cycle + 1, [1; 10]));
    let hosts: Vec<HostId> = (0..HOSTS).map(made::host).collect();
    for (n, host) in hosts.iter().enumerate() {
        writer.add(issued(cycle, *host, n, "resolve", None, now))?;
        writer.add(reported(cycle, *host, n, 1, "resolve", Outcome::Resolved { resolution: plan, base: cohort }))?;
    }
    let created = Data::PlanCreated {
        plan,
        group: "web".to_owned(),
        hosts: HOSTS as u32,
        approvals: 1,
        excluded: BTreeMap::new(),
        emergency: None,
        approvers: Default::default(),
    };
    writer.add(created)?;
    for some in hosts.chunks(MEMBERS_MAX) {
        writer.add(Data::PlanMembers { plan, cohorts: BTreeMap::from([(cohort, some.to_vec())]) })?;
    }
    writer.add(Data::ChangeSubmitted { change, plan, statement: plan, author: "anna".to_owned(), signature: "s".repeat(300) })?;
    writer.add(Data::ChangeApproved { change, person: "bert".to_owned(), signature: "s".repeat(300) })?;
    writer.add(Data::RolloutStarted { rollout, change, plan, setup: setup(now) })?;
    for (wave, all) in [&hosts[..1], &hosts[1..]].into_iter().enumerate() {
        for some in all.chunks(MEMBERS_MAX) {
            let members = some.iter().map(|host| (*host, "zone-1".to_owned())).collect();
            writer.add(Data::RolloutMembers { rollout, wave: wave as u32, hosts: members })?;
        }
    }
    for (some, all) in hosts.chunks(AT_WORK).enumerate() {
        let numbered = || all.iter().enumerate().map(|(n, host)| (some * AT_WORK + n, *host));
        for (n, host) in numbered() {
            writer.add(issued(cycle, host, n, "apply", Some((rollout, plan, cohort)), now))?;
        }
        for (n, host) in numbered() {
            let txn = txn(cycle, n);
            writer.add(reported(cycle, host, n, 2, "apply", Outcome::Started { txn }))?;
            writer.add(reported(cycle, host, n, 3, "apply", Outcome::Applied { txn, apply_ms: 20_000 }))?;
            writer.add(reported(cycle, host, n, 4, "apply", Outcome::Verified { txn, remarks: Vec::new() }))?;
            writer.add(Data::InventoryChanged { host, inventory: plan, base: cohort, packages: 400 })?;
        }
        if writer.size >= events {
            return Ok(());
        }
    }
    writer.add(Data::RolloutEnded { rollout, end: End::Completed })
}

fn setup(now: Timestamp) -> Setup {
    Setup {
        group: "web".to_owned(),
        select: "role == \"web\"".to_owned(),
        hosts: HOSTS as u32,
        waves: Vec::new(),
        zones: BTreeMap::new(),
        group_size: HOSTS as u32,
        zone_sizes: BTreeMap::new(),
        outage: None,
        budget: Budget::of(Share::Percent(20)),
        strategy: Strategy::of(1, vec![Share::Percent(100)], 1),
        window: Vec::new(),
        expires: now,
    }
}

fn txn(cycle: u64, n: usize) -> TransactionId {
    TransactionId::new(cycle << 20 | n as u64, [2; 10])
}

fn directive(cycle: u64, n: usize, order: &str) -> DirectiveId {
    DirectiveId::new(cycle << 20 | n as u64, [u8::from(order == "apply"); 10])
}

fn issued(cycle: u64, host: HostId, n: usize, order: &str, work: Option<(RolloutId, Digest, Digest)>, now: Timestamp) -> Data {
    Data::DirectiveIssued {
        directive: directive(cycle, n, order),
        host,
        sequence: cycle * 2 + 1 + u64::from(work.is_some()),
        order: order.to_owned(),
        blob: Digest::of_file(order.as_bytes()),
        txn: work.map(|_| txn(cycle, n)),
        cohort: work.map(|(_, _, cohort)| cohort),
        plan: work.map(|(_, plan, _)| plan),
        rollout: work.map(|(rollout, ..)| rollout),
        expires: now,
    }
}

fn reported(cycle: u64, host: HostId, n: usize, number: u64, order: &str, outcome: Outcome) -> Data {
    let report = Report { number: cycle * 4 + number, directive: Some(directive(cycle, n, order)), outcome };
    Data::HostReported { host, report }
}
