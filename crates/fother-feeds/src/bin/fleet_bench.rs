//! `fleet-bench STATUS DATABASE`: times the fleet's index on a made-up fleet of real packages; a part of `make bench`. Reads the two files.
//!
//! The packages are those of a real dpkg status file. A host has a role (which packages), a patch level (a day: each source has
//! the newest version that an advisory had fixed by then), and sometimes a package that lags behind. Roles, levels and sizes
//! of package sets follow Zipf's law, as real fleets do.

use fother_core::{
    advisory::{
        Day,
        format::Subject,
        reader::{Database, Error, ReleaseInfo},
    },
    deb822::{Stanza, stanzas},
    fleet::{Index, affected, reassess},
    id::HostId,
    inventory::Distribution,
    package::Installed,
    version::scheme::Scheme,
};
use fother_feeds::database;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
    process::ExitCode,
    time::Instant,
};

const HOSTS: usize = 100_000;
const SETS: usize = 20_000;
const PACKAGES: usize = 700;
const ROLES: usize = 40;
/// Days between two patch levels, and their number.
const LEVEL_DAYS: u32 = 7;
const LEVELS: usize = 100;
/// Fewer packages than this are a host's own, and fewer lag behind.
const OWN_MAX: usize = 4;
const LAGGING_MAX: usize = 4;
/// Advisories that are asked for.
const ASKED: usize = 200;
const RUNS: usize = 5;
const SHARES: usize = 2;
/// Kernels come from a signed build of their source.
const SIGNED: &str = "linux-signed-";
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

type Advisories = Database<Box<[u8]>>;

/// xorshift64*: the same fleet each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % end.max(1)
    }

    /// By Zipf's law: place n is taken 1/(n+1) as often as place 0.
    fn zipf(&mut self, end: usize) -> usize {
        let steps = 1 << 20;
        let share = self.below(steps) as f64 / f64::from(1 << 20);
        // The inverse of the harmonic sum, near enough.
        let place = ((end as f64 + 1.0).powf(share) - 1.0) as usize;
        place.min(end - 1)
    }
}

/// A package of the status file and what its source's versions were over time.
struct Known {
    installed: Installed,
    /// Day of each fix and its version, oldest first.
    fixes: Vec<(Day, String)>,
}

fn status(path: &Path) -> Result<Vec<Installed>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let read = |stanza: Stanza<'_>| {
        let (name, version) = (stanza.get("Package")?, stanza.get("Version")?);
        if !stanza.get("Status")?.ends_with(" installed") {
            return None;
        }
        let (source, own) = match stanza.get("Source").unwrap_or(name).split_once(" (") {
            Some((source, own)) => (source, own.trim_end_matches(')')),
            None => (stanza.get("Source").unwrap_or(name), version),
        };
        let (version, own) = (version.parse().ok()?, own.parse().ok()?);
        let (name, source) = (name.to_owned(), source.to_owned());
        Some(Installed {
            name,
            arch: stanza.get("Architecture")?.to_owned(),
            version,
            source,
            source_version: own,
            broken: None,
            held: false,
        })
    };
    let mut all: Vec<Installed> = stanzas(&text).map(Stanza::parse).filter_map(read).collect();
    // A machine without a kernel of its own (a container) stands for hosts that have one.
    if !all.iter().any(|package| package.source.starts_with(SIGNED)) {
        let kernel = |version: &str| version.parse().map_err(|error: fother_core::version::ParseError| error.to_string());
        let (name, source) = ("linux-image-amd64".to_owned(), format!("{SIGNED}amd64"));
        let (version, source_version) = (kernel("6.1.27-1")?, kernel("6.1.27+1")?);
        all.push(Installed { name, arch: "amd64".into(), version, source, source_version, broken: None, held: false });
    }
    let real = all.len();
    if real < PACKAGES / 4 {
        return Err(format!("{}: {real} packages are too few to make a fleet of", path.display()));
    }
    // A small machine is filled up with packages of its own kind under other names.
    for at in real..PACKAGES * 5 / 4 {
        let like = all[at % real].clone();
        all.push(Installed { name: format!("{}-{at}", like.name), ..like });
    }
    Ok(all)
}

fn fixes(db: &Advisories, release: &ReleaseInfo, source: &str) -> Result<Vec<(Day, String)>, Error> {
    let mut days: BTreeMap<String, Day> = BTreeMap::new();
    for claim in db.claims(&release.record, source)? {
        let (Subject::Advisory(at), version) = (claim.subject, db.text(claim.end)?) else { continue };
        if !version.is_empty() {
            days.entry(version).or_insert(db.advisory(at)?.date);
        }
    }
    let mut fixes: Vec<(Day, String)> = days.into_iter().map(|(version, day)| (day, version)).collect();
    fixes.sort_by(|a, b| Scheme::Dpkg.compare(&a.1, &b.1).unwrap_or(std::cmp::Ordering::Equal));
    Ok(fixes)
}

/// A package as a host of this patch level has it.
fn at_level(known: &Known, level: Day) -> Installed {
    let mut package = known.installed.clone();
    let fixed = known.fixes.iter().rev().find(|(day, _)| *day <= level).and_then(|(_, version)| version.parse().ok());
    if let Some(version) = fixed {
        package.version = version;
        let signed = package.version.as_str().rsplit_once('-').filter(|_| package.source.starts_with(SIGNED));
        let signed = signed.and_then(|(upstream, revision)| format!("{upstream}+{revision}").parse().ok());
        package.source_version = signed.unwrap_or_else(|| package.version.clone());
    }
    package
}

/// One package set: role, level and what lags behind.
fn set(known: &[Known], newest: Day, dice: &mut Dice) -> Vec<Installed> {
    let (role, level) = (dice.zipf(ROLES), dice.zipf(LEVELS));
    let level = Day(newest.0.saturating_sub(u32::try_from(level).unwrap_or(0) * LEVEL_DAYS));
    // Each role leaves out packages of its own; the rest is what all have in common.
    let start = role * known.len() / ROLES;
    let mut set: Vec<Installed> = (0..PACKAGES).map(|at| at_level(&known[(start + at) % known.len()], level)).collect();
    // A host of its own: a few packages that its role does not have, in the place of others, and some that lag behind.
    for _ in 0..dice.below(OWN_MAX) {
        let other = (start + PACKAGES + dice.below(known.len() - PACKAGES)) % known.len();
        set[dice.below(PACKAGES)] = at_level(&known[other], level);
    }
    for _ in 0..dice.below(LAGGING_MAX) {
        let at = dice.below(PACKAGES);
        set[at] = at_level(&known[(start + at) % known.len()], Day(level.0.saturating_sub(365)));
    }
    set
}

fn fleet(known: &[Known], newest: Day) -> Result<Index, String> {
    let (mut index, mut dice) = (Index::default(), Dice(SEED));
    let distribution = Distribution { id: "debian".into(), version: "12".into(), codename: "bookworm".into() };
    let mut first: Vec<HostId> = Vec::with_capacity(SETS);
    let mut tries = 0;
    while first.len() < SETS {
        tries += 1;
        if tries > SETS * 50 {
            return Err(format!("only {} distinct package sets came about", first.len()));
        }
        let host = HostId(first.len() as u128);
        index.put(host, &distribution, &set(known, newest, &mut dice)).map_err(|error| error.to_string())?;
        if index.sets() > first.len() {
            first.push(host);
        } else {
            index.remove(host);
        }
    }
    for host in SETS..HOSTS {
        let like = first[dice.zipf(SETS)];
        index.put_like(HostId(host as u128), like).map_err(|error| error.to_string())?;
    }
    Ok(index)
}

/// Largest memory that this process ever had, in KiB (proc_pid_status(5)).
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn row(what: &str, mut times_us: Vec<u64>) {
    times_us.sort_unstable();
    let at = |place: usize| times_us.get(place).copied().unwrap_or(0) as f64 / 1_000.0;
    println!("{what}\t{}\t{:.3}\t{:.3}\t{:.3}", times_us.len(), at(0), at(times_us.len() / 2), at(times_us.len().saturating_sub(1)));
}

fn us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Newest vulnerabilities that the fleet's sources have.
fn asked(db: &Advisories, release: &ReleaseInfo, sources: &BTreeSet<String>) -> Result<Vec<String>, Error> {
    let mut all: Vec<(Day, u32)> = Vec::new();
    for source in sources {
        for claim in db.claims(&release.record, source)? {
            if let Subject::Advisory(at) = claim.subject {
                let day = db.advisory(at)?.date;
                all.extend(db.vulns_of(claim.subject)?.into_iter().map(|vuln| (day, vuln)));
            }
        }
    }
    all.sort_unstable();
    all.dedup_by_key(|(_, vuln)| *vuln);
    let mut seen = HashSet::new();
    let newest = all.into_iter().rev().filter(|(_, vuln)| seen.insert(*vuln)).take(ASKED);
    newest.map(|(_, vuln)| db.vuln(vuln).map(|vuln| vuln.id)).collect()
}

fn run(status_path: &Path, database_path: &Path) -> Result<(), String> {
    let failed = |error: Error| error.to_string();
    let db = database::load(database_path).map_err(failed)?;
    let release = db.release("debian:bookworm").map_err(failed)?.ok_or("no feed speaks about debian:bookworm")?;
    let packages = status(status_path)?;
    let sources = packages.iter().map(|package| package.source.split("-signed-").next().unwrap_or_default().to_owned());
    let sources: BTreeSet<String> = sources.collect();
    let of = |source: &str| fixes(&db, &release, source.split("-signed-").next().unwrap_or(source));
    let known = packages.into_iter().map(|installed| Ok(Known { fixes: of(&installed.source)?, installed }));
    let known = known.collect::<Result<Vec<_>, Error>>().map_err(failed)?;
    let newest = known.iter().flat_map(|known| known.fixes.iter().map(|(day, _)| *day)).max().unwrap_or_default();
    let began = Instant::now();
    let mut index = fleet(&known, newest)?;
    println!(
        "# {} hosts, {PACKAGES} packages each, {} package sets, {} package versions, {} source versions; seed {SEED:#x}",
        index.hosts(),
        index.sets(),
        index.packages(),
        index.judged()
    );
    row("fleet made and indexed", vec![us(began)]);

    let ids = asked(&db, &release, &sources).map_err(failed)?;
    let (mut times, mut most) = (Vec::new(), 0);
    for id in &ids {
        let began = Instant::now();
        let subject = affected::subject(&db, id).map_err(failed)?.ok_or_else(|| format!("{id} is not known"))?;
        let answer = affected::affected(&index, &db, subject).map_err(failed)?;
        let hosts: Vec<HostId> = index.names(&answer.hosts).collect();
        times.push(us(began));
        most = most.max(hosts.len());
    }
    println!("# {} vulnerabilities asked for; the widest is on {most} hosts", ids.len());
    row("a vulnerability to its hosts", times);

    let (mut times, mut last) = (Vec::new(), None);
    for _ in 0..RUNS {
        let began = Instant::now();
        let shares = std::thread::scope(|scope| {
            let (index, db) = (&index, &db);
            let started: Vec<_> = (0..SHARES).map(|number| scope.spawn(move || reassess::share(index, db, number, SHARES))).collect();
            started.into_iter().map(|share| share.join()).collect::<Vec<_>>()
        });
        let shares = shares.into_iter().map(|share| share.map_err(|_| "a share broke off".to_owned())?.map_err(failed));
        let whole = reassess::together(&index, &db, shares.collect::<Result<_, _>>()?).map_err(failed)?;
        times.push(us(began));
        last = Some(whole);
    }
    let whole = last.unwrap_or_default();
    println!("# {} findings, {} vulnerabilities, {} hosts vulnerable", whole.findings, whole.subjects.len(), whole.hosts);
    row("full reassessment, 2 threads", times);

    let (mut times, mut dice) = (Vec::new(), Dice(SEED ^ 1));
    let distribution = Distribution { id: "debian".into(), version: "12".into(), codename: "bookworm".into() };
    for _ in 0..ASKED {
        let changed = set(&known, newest, &mut dice);
        let host = HostId(dice.below(HOSTS) as u128);
        let began = Instant::now();
        index.put(host, &distribution, &changed).map_err(|error| error.to_string())?;
        times.push(us(began));
    }
    row("a host's new inventory", times);
    println!("peak\t{}", peak_kib());
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    let [status_path, database_path] = arguments.as_slice() else {
        eprintln!("usage: fleet_bench DPKG-STATUS ADVISORIES.DB");
        return ExitCode::from(2);
    };
    match run(Path::new(status_path), Path::new(database_path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("fleet_bench: {why}");
            ExitCode::from(5)
        }
    }
}
