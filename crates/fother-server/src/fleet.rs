//! The fleet's index beside the state: kept up from the inventories that the log names, and asked by people. Reads blobs and the advisory database.
//!
//! Like findings, it is derived: nothing of it is stored, and a restart builds it again.

use crate::{
    Error,
    engine::{Engine, lock},
    error::refuse,
};
use fother_core::{
    Digest,
    advisory::{
        Day,
        format::Subject,
        reader::{self, Database, FeedInfo},
    },
    fleet::{
        Index, affected,
        affected::Affected,
        query::Query,
        reassess::{self, Reassessed},
    },
    id::HostId,
    inventory::Inventory,
    state::State,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

/// Cores that a reassessment takes.
const SHARES: usize = 2;
/// Old bases that are kept however few the hosts are.
const BASES_SPARE: usize = 1_000;
/// Most vulnerabilities in one answer.
const VULNERABILITIES_MAX: usize = 1_000;

type Advisories = Database<Box<[u8]>>;

/// What a file was when it was read: when it was written, its size and its place.
type Stamp = (Option<std::time::SystemTime>, u64, u64);

/// The index, the database, and the newest reassessment.
#[derive(Default)]
pub(crate) struct Fleet {
    held: Mutex<Held>,
    path: OnceLock<PathBuf>,
    database: Mutex<Option<(Stamp, Arc<Advisories>)>>,
    reassessed: Mutex<Option<(u64, Digest, Arc<Reassessed>)>>,
}

/// The index and what went into it.
#[derive(Default)]
struct Held {
    index: Index,
    /// Inventory and base of each host that was taken in.
    seen: BTreeMap<HostId, (Digest, Digest)>,
    /// A host for each base. A base covers distribution and packages, and was compared with its inventory when it came.
    by_base: HashMap<Digest, HostId>,
    /// Hosts that could not be taken in, with the reason.
    failed: BTreeMap<HostId, String>,
    /// Grows with every change.
    version: u64,
}

impl Fleet {
    /// Says where the advisory database is.
    pub(crate) fn advisories_at(&self, path: &Path) {
        let _ = self.path.set(path.to_owned());
    }

    /// Takes in what the log says and the index does not have yet.
    pub(crate) fn sync(&self, engine: &Engine) -> Result<(), Error> {
        for (host, wanted) in self.behind(&engine.state()) {
            let taken = match wanted {
                Some((inventory, base)) => self.take(engine, host, inventory, base)?,
                None => Err(String::new()),
            };
            let mut held = lock(&self.held);
            let held = &mut *held;
            held.version += 1;
            held.failed.remove(&host);
            if let Err(why) = taken {
                held.index.remove(host);
                held.failed.extend(wanted.map(|_| (host, why)));
            }
            match wanted {
                Some(wanted) => held.seen.insert(host, wanted),
                None => held.seen.remove(&host),
            };
        }
        Ok(())
    }

    /// Hosts whose newest inventory is not in the index, and those in it that are gone.
    fn behind(&self, state: &State) -> Vec<(HostId, Option<(Digest, Digest)>)> {
        let held = lock(&self.held);
        let wanted = |host: &fother_core::state::Host| host.inventory.zip(host.base).filter(|_| !host.retired);
        let changed = state.hosts.iter().map(|(id, host)| (*id, wanted(host))).filter(|(id, wanted)| held.seen.get(id) != wanted.as_ref());
        changed.collect()
    }

    /// Puts one host into the index; hosts with one base are read once.
    fn take(&self, engine: &Engine, host: HostId, inventory: Digest, base: Digest) -> Result<Result<(), String>, Error> {
        {
            let mut held = lock(&self.held);
            let like = held.by_base.get(&base).copied().filter(|like| held.seen.get(like).is_some_and(|(_, of)| *of == base));
            if let Some(like) = like
                && held.index.put_like(host, like) == Ok(true)
            {
                return Ok(Ok(()));
            }
        }
        let inventory: Inventory = engine.get(inventory)?;
        let mut held = lock(&self.held);
        let put = held.index.put(host, &inventory.distribution, &inventory.packages).map_err(|full| full.to_string());
        if put.is_ok() {
            held.by_base.insert(base, host);
            held.forget_bases();
        }
        Ok(put)
    }

    /// The worst severity of these vulnerabilities, as far as the advisory database knows one.
    pub(crate) fn severity<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Option<fother_core::cvss::Severity> {
        let database = self.advisories().ok()?;
        ids.filter_map(|id| Some(database.vuln_by_id(id).ok()??.cvss?.severity())).max()
    }

    /// The advisory database as its file is now; read whole, once for each file.
    pub(crate) fn advisories(&self) -> Result<Arc<Advisories>, Error> {
        use std::os::unix::fs::MetadataExt as _;
        let hint = "run `fother feeds update` or `fother feeds import` on the server, or name a database with `fother serve --db`";
        let Some(path) = self.path.get() else { return refuse("advisories", "this server has no database of advisories", hint) };
        let Ok(metadata) = std::fs::metadata(path) else {
            return refuse("advisories", format!("there is no database of advisories at {}", path.display()), hint);
        };
        let stamp = (metadata.modified().ok(), metadata.len(), metadata.ino());
        let mut database = lock(&self.database);
        if let Some((of, database)) = &*database
            && *of == stamp
        {
            return Ok(Arc::clone(database));
        }
        let new = match fother_feeds::database::load(path) {
            Ok(new) => Arc::new(new),
            Err(error) => return refuse("advisories", error.to_string(), hint),
        };
        *database = Some((stamp, Arc::clone(&new)));
        Ok(new)
    }

    /// Who is affected by a vulnerability or lacks an advisory's fix, or holds a version of a package.
    pub(crate) fn affected(&self, engine: &Engine, what: &str) -> Result<Value, Error> {
        let query: Query = what.parse().map_err(|error: fother_core::fleet::query::ParseError| Error::Input(error.to_string()))?;
        self.sync(engine)?;
        let state = engine.state();
        // Places in an answer are good as long as the index stays as it is.
        let held = lock(&self.held);
        let (answer, feeds) = self.ask(&held.index, &query, Day::of(engine.clock.now()))?;
        let name = |host: HostId| state.hosts.get(&host).map(|known| known.hostname.clone()).unwrap_or_default();
        let found: Vec<Value> = answer
            .found
            .iter()
            .map(|found| {
                let hosts: Vec<HostId> = held.index.names(&found.hosts).collect();
                json!({ "release": found.release, "package": found.package, "version": found.version,
                    "status": found.status, "fixed": found.fixed, "hosts": hosts })
            })
            .collect();
        let hosts: BTreeMap<HostId, String> = held.index.names(&answer.hosts).map(|host| (host, name(host))).collect();
        let mut unknown = answer.unknown;
        unknown.extend(held.unknown(&state));
        Ok(json!({ "what": what, "hosts": hosts, "found": found, "unknown": unknown, "feeds": feeds }))
    }

    fn ask(&self, index: &Index, query: &Query, today: Day) -> Result<(Affected, Vec<FeedInfo>), Error> {
        let name = match query {
            Query::Package { name, versions: (relation, version) } => {
                return Ok((index.holding(name, Some((*relation, version))), Vec::new()));
            }
            Query::Name(name) => name,
        };
        let database = match self.advisories() {
            Ok(database) => database,
            // A package's name needs no advisories.
            Err(error) => {
                let answer = index.holding(name, None);
                return if answer.found.is_empty() { Err(error) } else { Ok((answer, Vec::new())) };
            }
        };
        let Some(subject) = affected::subject(&database, name).map_err(damaged)? else {
            let answer = index.holding(name, None);
            if answer.found.is_empty() {
                let what = format!("no feed knows `{}`, and no host holds a package of this name", fother_core::text::printable(name, 80));
                return Err(Error::Input(what));
            }
            return Ok((answer, Vec::new()));
        };
        let mut answer = affected::affected(index, &database, subject).map_err(damaged)?;
        let feeds = database.feeds().map_err(damaged)?;
        answer.unknown.extend(reader::stale(&feeds, today, None));
        Ok((answer, feeds))
    }

    /// Every vulnerability of the fleet with its number of hosts, most hosts first; done again only after a change.
    pub(crate) fn vulnerabilities(&self, engine: &Engine) -> Result<Value, Error> {
        self.sync(engine)?;
        let database = self.advisories()?;
        let whole = self.reassess(&database)?;
        let name = |subject: &Subject| match subject {
            Subject::Vuln(at) => database.vuln(*at).map(|vuln| vuln.id),
            Subject::Advisory(at) => database.advisory(*at).map(|advisory| advisory.id),
        };
        let widest = whole.subjects.iter().take(VULNERABILITIES_MAX);
        let widest = widest.map(|(subject, hosts)| Ok(json!({ "id": name(subject)?, "hosts": hosts })));
        let widest = widest.collect::<Result<Vec<_>, reader::Error>>().map_err(damaged)?;
        let feeds = database.feeds().map_err(damaged)?;
        let mut unknown = whole.unknown.clone();
        unknown.extend(reader::stale(&feeds, Day::of(engine.clock.now()), None));
        let held = lock(&self.held);
        unknown.extend(held.unknown(&engine.state()));
        Ok(
            json!({ "findings": whole.findings, "vulnerabilities": whole.subjects.len(), "widest": widest, "unknown": unknown, "feeds": feeds,
            "hosts": { "assessed": held.index.hosts(), "vulnerable": whole.hosts, "package_sets": held.index.sets() } }),
        )
    }

    fn reassess(&self, database: &Advisories) -> Result<Arc<Reassessed>, Error> {
        let mut newest = lock(&self.reassessed);
        let held = lock(&self.held);
        if let Some((version, digest, whole)) = &*newest
            && (*version, *digest) == (held.version, database.digest())
        {
            return Ok(Arc::clone(whole));
        }
        let index = &held.index;
        let shares = std::thread::scope(|scope| {
            let started: Vec<_> = (0..SHARES).map(|number| scope.spawn(move || reassess::share(index, database, number, SHARES))).collect();
            started.into_iter().map(|share| share.join()).collect::<Vec<_>>()
        });
        let shares =
            shares.into_iter().map(|share| share.map_err(|_| Error::Damaged("a reassessment broke off".to_owned()))?.map_err(damaged));
        let whole = Arc::new(reassess::together(index, database, shares.collect::<Result<_, _>>()?).map_err(damaged)?);
        *newest = Some((held.version, database.digest(), Arc::clone(&whole)));
        Ok(whole)
    }
}

impl Held {
    /// Drops bases that no host has any more, once they are as many as the others.
    fn forget_bases(&mut self) {
        if self.by_base.len() > 2 * self.seen.len() + BASES_SPARE {
            let seen = &self.seen;
            self.by_base.retain(|base, host| seen.get(host).is_some_and(|(_, of)| of == base));
        }
    }

    /// Hosts about which nothing is said, for people.
    fn unknown(&self, state: &State) -> BTreeSet<String> {
        let known = state.hosts.iter().filter(|(_, host)| !host.retired);
        let mut out: BTreeSet<String> = known
            .filter(|(_, host)| host.inventory.is_none())
            .map(|(id, host)| format!("{} ({id}): it has sent no inventory yet", fother_core::text::printable(&host.hostname, 80)))
            .collect();
        out.extend(self.failed.iter().map(|(id, why)| format!("{id}: {why}")));
        out
    }
}

pub(crate) fn damaged(error: reader::Error) -> Error {
    Error::Refused(fother_core::decide::Refusal {
        code: "advisories",
        what: error.to_string(),
        hint: "run `fother feeds import` again on the server".to_owned(),
    })
}
