//! One door for everything that can be assessed or compared: a root, an image, an SBOM, a lock file, an inventory, a saved scan.

use super::{findings, vex};
use crate::{
    failure::{FAILED, Failure, UNKNOWN, USAGE},
    reader,
};
use fother_core::{
    Timestamp,
    advisory::{Day, reader::Database},
    assess::host::{self, Assessment, Host},
    diff::{Item, Side},
    inventory::{Distribution, INVENTORY_BYTES_MAX, Inventory},
    sbom::{self, Component},
    vex::apply::{self, Given},
};
use fother_feeds::database::Blocks;
use fother_host::{
    findings::Judge,
    foreign,
    languages::{self, Owned},
    root::Root,
    scan,
};
use serde::Deserialize as _;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::Read as _,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Largest saved scan, in bytes.
const SAVED_BYTES_MAX: u64 = 256 << 20;
/// How far into a file is looked to tell what it is.
const HEAD_BYTES: usize = 64;
/// How far into it to tell text from an image.
const HEAD_BYTES_MAX: u64 = 512;
/// What makes a directory an image.
const OCI_LAYOUT: &str = "oci-layout";
/// Images that were unpacked so far.
static UNPACKED: AtomicUsize = AtomicUsize::new(0);
const DAY_MS: u64 = 86_400_000;

/// How a thing is judged.
pub struct Ask<'a> {
    /// The advisory database; without it, only packages are read.
    pub database: Option<&'a Database<Blocks>>,
    /// The day on which it is judged, instead of today.
    pub as_of: Option<Day>,
    /// Days after which any feed is stale.
    pub feed_max_age: Option<u32>,
    /// Look at what the live root's processes have loaded and at its archives, too.
    pub live: bool,
}

impl Ask<'_> {
    fn now(&self) -> Timestamp {
        self.as_of.map_or_else(scan::clock, |day| Timestamp(u64::from(day.0) * DAY_MS))
    }
}

/// A thing that was opened.
#[derive(Default)]
pub struct Opened {
    /// What it is, for people.
    pub title: String,
    /// Distribution.
    pub distribution: Distribution,
    /// Everything that is installed; `None` where that is not known.
    pub packages: Option<Vec<Component>>,
    /// Its assessment; `None` where there is no database, and for saved scans.
    pub assessment: Option<Assessment>,
    /// The findings of a saved scan.
    pub saved: Option<Vec<Item>>,
    /// Digest of the database that judged.
    pub database: Option<String>,
    /// Packages from archives of others than the distribution, with that archive's origin.
    pub foreign: BTreeMap<String, String>,
    /// What could not be told.
    pub unknown: Vec<String>,
}

impl Opened {
    /// As one side of a comparison.
    pub fn side(self) -> Side {
        let findings = self.saved.or_else(|| self.assessment.map(|assessment| assessment.findings.iter().map(Item::of).collect()));
        Side { title: self.title, packages: self.packages, findings, database: self.database, unknown: self.unknown }
    }

    fn judged(mut self, assessment: Assessment) -> Self {
        self.database = assessment.database.map(|digest| digest.to_string());
        self.unknown.extend(assessment.unknown.iter().cloned());
        self.unknown.sort();
        self.unknown.dedup();
        self.assessment = Some(assessment);
        self
    }
}

/// Opens a path, whatever stands there.
pub fn open(path: &Path, ask: &Ask<'_>) -> Result<Opened, Failure> {
    let metadata = std::fs::metadata(path)
        .map_err(|error| Failure::new(USAGE, format!("{}: {error}", path.display()), "name a root directory, an SBOM or a saved scan"))?;
    if metadata.is_dir() && !path.join(OCI_LAYOUT).is_file() {
        return root(path, ask);
    }
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(Failure::new(USAGE, format!("{} is neither a file nor a directory", path.display()), ""));
    }
    if metadata.is_dir() || is_image(path)? {
        return image(path, ask);
    }
    fother_feeds::reading::begin(&path.display().to_string())
        .map_err(|why| Failure::new(UNKNOWN, format!("{} {why}", path.display()), "nothing of it is compared"))?;
    match own_json(path, metadata.len())? {
        Some(value) if value["schema"] == "fother.scan/1" => saved(path, &value),
        Some(value) if value["data"]["hostname"].is_string() => inventory(path, &value["data"], ask),
        Some(value) if value["hostname"].is_string() && value["boot_id"].is_string() => inventory(path, &value, ask),
        Some(_) | None => document(path, ask),
    }
}

/// Whether a file is neither text nor JSON: then it is an image, or nothing that is known.
fn is_image(path: &Path) -> Result<bool, Failure> {
    let named = path.file_name().and_then(|name| name.to_str()).is_some_and(sbom::lock::is_known);
    let mut head = Vec::new();
    std::fs::File::open(path)?.take(HEAD_BYTES_MAX).read_to_end(&mut head)?;
    let text = head.iter().all(|byte| *byte >= b' ' || byte.is_ascii_whitespace());
    Ok(!named && !text)
}

/// An image is unpacked into a directory of its own and opened as a root.
fn image(path: &Path, ask: &Ask<'_>) -> Result<Opened, Failure> {
    // Both sides of a comparison may be images.
    let work = reader::work()?.join(UNPACKED.fetch_add(1, Ordering::Relaxed).to_string());
    std::fs::create_dir(&work)?;
    let (about, unpacked) = fother_host::image::unpack(path, None, &work)?;
    let mut out = root(&unpacked, ask)?;
    out.title = format!("{} ({})", path.display(), about.image.digest);
    out.unknown.extend(about.unknown);
    Ok(out)
}

/// The file as JSON, if it is Fother's own; SBOMs are read elsewhere.
fn own_json(path: &Path, bytes: u64) -> Result<Option<Value>, Failure> {
    let mut head = [0; HEAD_BYTES];
    let read = std::io::Read::read(&mut std::fs::File::open(path)?, &mut head)?;
    let is_json = head[..read].trim_ascii_start().first() == Some(&b'{');
    if !is_json || bytes > SAVED_BYTES_MAX {
        return Ok(None);
    }
    let value: Result<Value, _> = serde_json::from_slice(&std::fs::read(path)?);
    Ok(value.ok().filter(|value| value["bomFormat"].is_null() && value["spdxVersion"].is_null()))
}

fn root(path: &Path, ask: &Ask<'_>) -> Result<Opened, Failure> {
    let root = Root::open(path)?;
    let mut out = Opened { title: path.display().to_string(), ..Opened::default() };
    let judge = ask.database.map(|database| Judge { now: ask.now(), ..Judge::new(database, ask.feed_max_age) });
    if let Some(judge) = judge.as_ref().filter(|_| ask.live && !foreign::is_there(&root)) {
        let found = scan::scan(&root, &scan::Wanted { judge: Some(judge), languages: !root.is_live(), ..scan::Wanted::default() })?;
        (out.distribution, out.packages) = (found.distribution, Some(found.packages));
        out.foreign = found.foreign;
        return Ok(out.judged(found.assessment.unwrap_or_default()));
    }
    match judge {
        Some(judge) => {
            let mut found = judge.quick(&root)?;
            let mut packages = found.packages.into_components(&found.distribution);
            if !root.is_live() {
                let is_other = foreign::is_there(&root);
                let owned = if is_other { Owned::of_others(&root) } else { Owned::of_dpkg(&root, &BTreeMap::new()) };
                let walked = languages::find(&root, &owned);
                found.assessment.unknown.extend(owned.unknown.into_iter().chain(walked.unknown));
                judge.add(&found.distribution, &walked.components, &mut found.assessment)?;
                packages.extend(walked.components);
            }
            (out.distribution, out.packages) = (found.distribution, Some(packages));
            Ok(out.judged(found.assessment))
        }
        None => {
            let read = match foreign::read(&root) {
                Some(read) => read,
                None => {
                    let (distribution, database) = fother_host::inventory::Facts::read_packages(&root)?;
                    out.unknown = database.unknown;
                    out.packages = Some(database.packages.iter().map(|package| Component::installed(package, &distribution)).collect());
                    out.distribution = distribution;
                    return Ok(out);
                }
            };
            (out.distribution, out.packages, out.unknown) = (read.distribution.unwrap_or_default(), Some(read.components), read.unknown);
            Ok(out)
        }
    }
}

fn document(path: &Path, ask: &Ask<'_>) -> Result<Opened, Failure> {
    let read = findings::read_document(path)?;
    let mut out = Opened { title: path.display().to_string(), packages: Some(read.components.clone()), ..Opened::default() };
    let Some(database) = ask.database else {
        (out.distribution, out.unknown) = (read.distribution.unwrap_or_default(), read.unknown);
        return Ok(out);
    };
    let (distribution, assessment) = vex::document(database, read, ask.now(), ask.feed_max_age, &Given::default())?;
    out.distribution = distribution;
    Ok(out.judged(assessment))
}

fn inventory(path: &Path, value: &Value, ask: &Ask<'_>) -> Result<Opened, Failure> {
    let failed = |why: String| Failure::new(FAILED, format!("{}: {why}", path.display()), "");
    let bytes = serde_json::to_vec(value)?;
    if bytes.len() > INVENTORY_BYTES_MAX {
        return Err(failed(format!("the inventory is larger than {INVENTORY_BYTES_MAX} bytes")));
    }
    let inventory = Inventory::parse(&bytes).map_err(failed)?;
    let distribution = inventory.distribution;
    let packages = inventory.packages.iter().map(|package| Component::installed(package, &distribution)).collect();
    let out = Opened { title: path.display().to_string(), packages: Some(packages), unknown: inventory.unknown, ..Opened::default() };
    let Some(database) = ask.database else { return Ok(Opened { distribution, ..out }) };
    let subject = Host {
        distribution: &distribution,
        packages: &inventory.packages,
        offers: None,
        foreign: &BTreeMap::new(),
        kernel: Some(inventory.kernel.as_str()).filter(|kernel| !kernel.is_empty()),
        now: ask.now(),
        feed_days_max: ask.feed_max_age,
    };
    let mut assessment = host::host(database, &subject)?;
    let items = apply::of_installed(&distribution, &inventory.packages);
    apply::apply(database, &Given::default(), || items, &mut assessment)?;
    Ok(Opened { distribution, ..out }.judged(assessment))
}

/// A saved scan: its findings stand as they were judged then; nothing is judged again.
fn saved(path: &Path, value: &Value) -> Result<Opened, Failure> {
    let failed = |what: &str, error: serde_json::Error| Failure::new(USAGE, format!("{}: its {what}: {error}", path.display()), "");
    let data = &value["data"];
    let list = |value: &Value| value.is_array().then(|| value.clone());
    let packages = list(&data["packages"]).map(Vec::<Component>::deserialize).transpose().map_err(|error| failed("packages", error))?;
    let findings = list(&data["assessment"]["findings"]).map(Vec::<Item>::deserialize).transpose();
    Ok(Opened {
        title: path.display().to_string(),
        distribution: Distribution::deserialize(&data["distribution"]).unwrap_or_default(),
        packages,
        saved: findings.map_err(|error| failed("findings", error))?,
        database: data["assessment"]["database"].as_str().map(str::to_owned),
        unknown: value["unknown"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        ..Opened::default()
    })
}
