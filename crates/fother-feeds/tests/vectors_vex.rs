//! Conformance: every CSAF, OpenVEX and CycloneDX vector of the shared folder, each status against an independent walk through the same JSON.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    Timestamp,
    advisory::reader::Database,
    assess::{self, releases},
    vex::{Status, Versions, cyclonedx, openvex},
};
use fother_feeds::{
    database,
    intake::{self, Intake},
    vendor::{self, Kind, csaf, input, sniff},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Vectors that are no VEX: plain SBOMs that the VEX beside them refers to, and the form's schema.
const NO_VEX: [&str; 13] = [
    "cyclonedx_CISA-Use-Cases_Case-7_bom-1.json",
    "cyclonedx_CISA-Use-Cases_Case-7_bom-2.json",
    "cyclonedx_CISA-Use-Cases_Case-8_bom-1.json",
    "cyclonedx_CISA-Use-Cases_Case-8_bom-2.json",
    "cyclonedx_Use-Cases_Case-13_bom-1.json",
    "cyclonedx_Use-Cases_Case-13_bom-2.json",
    "cyclonedx_Use-Cases_Case-13_bom-3.json",
    "cyclonedx_Use-Cases_Case-6_bom-1.json",
    "cyclonedx_Use-Cases_Case-6_bom-2.json",
    "cyclonedx_Use-Cases_Case-6_bom-3.json",
    "cyclonedx_Use-Cases_Case-9_bom-1.json",
    "cyclonedx_Use-Cases_Case-9_bom-2.json",
    "cyclonedx_Use-Cases_Case-9_bom-3.json",
];

fn vectors(folder: &str) -> Option<PathBuf> {
    let shared =
        std::env::var_os("FOTHER_SHARED").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = shared.join("vectors").join(folder);
    if !path.is_dir() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Product ids with the status that counts, by a walk of its own: of several the worst.
fn statuses(vulnerability: &Value) -> BTreeMap<&str, Status> {
    let groups = [
        ("known_not_affected", Status::NotAffected),
        ("recommended", Status::Fixed),
        ("first_fixed", Status::Fixed),
        ("fixed", Status::Fixed),
        ("under_investigation", Status::UnderInvestigation),
        ("first_affected", Status::Affected),
        ("known_affected", Status::Affected),
        ("last_affected", Status::Affected),
    ];
    let mut out: BTreeMap<&str, Status> = BTreeMap::new();
    for (group, status) in groups {
        for id in list(&vulnerability["product_status"][group]) {
            let known = out.entry(id.as_str().unwrap()).or_insert(status);
            *known = status.max(*known);
        }
    }
    out
}

#[derive(Default)]
struct Tree<'a> {
    products: BTreeMap<&'a str, &'a Value>,
    relations: BTreeMap<&'a str, (&'a str, &'a str)>,
}

impl<'a> Tree<'a> {
    fn of(document: &'a Value) -> Self {
        let mut out = Self::default();
        let mut open: Vec<&Value> = list(&document["product_tree"]["branches"]).iter().collect();
        while let Some(branch) = open.pop() {
            if let Some(id) = branch["product"]["product_id"].as_str() {
                out.products.insert(id, branch);
            }
            open.extend(list(&branch["branches"]));
        }
        for relation in list(&document["product_tree"]["relationships"]) {
            let text = |value: &'a Value| value.as_str().unwrap();
            let id = text(&relation["full_product_name"]["product_id"]);
            out.relations.insert(id, (text(&relation["product_reference"]), text(&relation["relates_to_product_reference"])));
        }
        out
    }

    fn helper(&self, id: &str, key: &str) -> Option<&'a str> {
        self.products.get(id)?["product"]["product_identification_helper"][key].as_str()
    }
}

/// Every product status of a document: as a statement, and as the database's answer for its package. Returns how many were checked.
fn check(name: &str, bytes: &[u8], db: &Database<database::Blocks>) -> (usize, usize) {
    let document: Value = serde_json::from_slice(bytes).unwrap();
    let tree = Tree::of(&document);
    let statements = csaf::statements(bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
    let (mut at, mut packages) = (0, 0);
    for vulnerability in list(&document["vulnerabilities"]) {
        let id = vulnerability["cve"].as_str().unwrap();
        let said = statuses(vulnerability);
        // With a fix of the same source or package in the release, what is open by name ends there.
        for (product, status) in &said {
            let statement = &statements[at];
            at += 1;
            assert_eq!((statement.ids[0].as_str(), statement.status), (id, *status), "{name} {product}");
            let Some((part, whole)) = tree.relations.get(product) else { continue };
            let purl = tree.helper(part, "purl").and_then(|purl| fother_core::purl::Purl::parse(purl).ok());
            if let Some(purl) = &purl {
                assert_eq!(statement.product.name, purl.name, "{name} {product}");
            }
            let Some(release) = tree.helper(whole, "cpe").and_then(releases::of_cpe) else { continue };
            let is_source = purl.as_ref().is_none_or(|purl| purl.qualifier("arch") == Some("src"));
            let is_rpm = purl.as_ref().is_none_or(|purl| purl.kind == "rpm");
            if !is_rpm || is_source && *status == Status::Fixed {
                continue;
            }
            packages += 1;
            let release = db.release(&release).unwrap().unwrap_or_else(|| panic!("{name}: {release}"));
            // `log4j:2/log4j` names a module's package.
            let module = part.split_once('/').filter(|(module, _)| purl.is_none() && module.contains(':')).map_or("", |(module, _)| module);
            let key = releases::key(module, is_source, &statement.product.name);
            let version = match &statement.product.versions {
                Versions::One(version) => version.as_str(),
                Versions::Any | Versions::Vers(_) => "1-1",
            };
            let ask = |version: &str| assess::package(db, &release, &key, version).unwrap();
            let verdict = ask(version);
            let found = |verdict: &assess::Verdict| verdict.findings.iter().any(|finding| finding.id == id);
            match status {
                Status::Fixed => assert!(!found(&verdict) && found(&ask("0-0")), "{name} {product} fixed"),
                Status::NotAffected => assert!(verdict.stated.iter().any(|stated| stated.id == id), "{name} {product} not affected"),
                Status::Affected | Status::UnderInvestigation => assert!(found(&verdict), "{name} {product} affected"),
            }
        }
    }
    assert_eq!(at, statements.len(), "{name}");
    (at, packages)
}

#[test]
fn every_csaf_vector_says_what_it_says() {
    let Some(folder) = vectors("csaf") else { return };
    let keep = tempfile::tempdir().unwrap();
    let intake = Intake::new(&keep.path().join("feeds"));
    let outcome = intake.take(intake::offered(&folder, None), Timestamp(1_771_545_600_000), false).unwrap();
    assert!(outcome.refused.is_empty() && outcome.passed_over.is_empty(), "{outcome:?}");
    let db = database::open(&intake.database()).unwrap();
    let (mut documents, mut statuses, mut packages) = (0, 0, 0);
    for offered in intake::offered(&folder, None) {
        input::documents(&offered.path, |name, bytes| {
            let (all, checked) = check(name, bytes, &db);
            (documents, statuses, packages) = (documents + 1, statuses + all, packages + checked);
            Ok(true)
        })
        .unwrap();
    }
    println!("{documents} documents, {statuses} statuses as statements, {packages} of them asked of the database");
    assert!(documents >= 19 && packages > 1_000);
}

#[test]
fn every_vex_vector_says_what_it_says() {
    let Some(folder) = vectors("vex") else { return };
    let (mut read, mut statements) = (0, 0);
    for offered in intake::offered(&folder, None) {
        let path = &offered.path;
        let name = path.file_name().unwrap().to_str().unwrap();
        let kind = sniff::kind(path);
        if NO_VEX.contains(&name) {
            assert!(kind.as_ref().is_err_and(|why| why.contains("SBOM without vulnerabilities")), "{name}: {kind:?}");
            continue;
        }
        if name == "openvex_json_schema.json" {
            assert!(kind.is_err_and(|why| why.contains("schema")));
            continue;
        }
        if name == "cyclonedx_bom.json" && kind.is_err() {
            continue;
        }
        let kind = kind.unwrap_or_else(|why| panic!("{name}: {why}"));
        let bytes = std::fs::read(path).unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let count = match kind {
            Kind::OpenVex => open_vex(name, &bytes, &document),
            Kind::CyclonedxVex => cyclone_dx(name, &bytes, &document),
            Kind::Csaf => list(&document["vulnerabilities"]).iter().map(|v| statuses_of(name, &bytes, v)).max().unwrap_or(0),
            other => panic!("{name}: {other:?}"),
        };
        // The path that `--vex` takes gives the same.
        assert!(vendor::vex::statements(path).unwrap().len() >= count, "{name}");
        (read, statements) = (read + 1, statements + count);
    }
    println!("{read} documents, {statements} statements; no VEX: {} SBOMs and the schema", NO_VEX.len());
    assert!(read >= 30);
}

fn statuses_of(name: &str, bytes: &[u8], vulnerability: &Value) -> usize {
    let id = vulnerability["cve"].as_str().unwrap();
    let mine: Vec<Status> = csaf::statements(bytes).unwrap().iter().filter(|s| s.ids[0] == id).map(|s| s.status).collect();
    assert_eq!(mine, statuses(vulnerability).into_values().collect::<Vec<_>>(), "{name}");
    mine.len()
}

fn open_vex(name: &str, bytes: &[u8], document: &Value) -> usize {
    let read = openvex::parse(bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
    let mut want = Vec::new();
    for statement in list(&document["statements"]) {
        let id = statement["vulnerability"].as_str().or(statement["vulnerability"]["name"].as_str()).unwrap();
        for product in list(&statement["products"]) {
            let product_id = product.as_str().or(product["@id"].as_str()).unwrap();
            let parts = list(&product["subcomponents"]).len() + list(&statement["subcomponents"]).len();
            want.push((id, statement["status"].as_str().unwrap(), product_id, parts));
        }
    }
    for (read, (id, status, product, parts)) in read.iter().zip(&want) {
        assert_eq!(read.ids[0], *id, "{name}");
        assert_eq!(serde_json::to_value(read.status).unwrap(), *status, "{name}");
        assert_eq!(read.parts.len(), *parts, "{name}");
        assert!(product.contains(&read.product.name) && read.at_ms > 0 && !read.author.is_empty(), "{name}: {read:?}");
    }
    assert_eq!(read.len(), want.len(), "{name}");
    want.len()
}

fn cyclone_dx(name: &str, bytes: &[u8], document: &Value) -> usize {
    let read = cyclonedx::parse(bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
    let mut want = Vec::new();
    for vulnerability in list(&document["vulnerabilities"]) {
        let status = match vulnerability["analysis"]["state"].as_str() {
            Some("not_affected" | "false_positive") => Status::NotAffected,
            Some("resolved" | "resolved_with_pedigree") => Status::Fixed,
            Some("in_triage") => Status::UnderInvestigation,
            Some("exploitable") | None => Status::Affected,
            Some(other) => panic!("{name}: {other}"),
        };
        for affects in list(&vulnerability["affects"]) {
            let versions = list(&affects["versions"]);
            let id = vulnerability["id"].as_str().unwrap();
            want.extend(versions.iter().map(|version| match version["status"].as_str() {
                Some("affected") => (id, Status::Affected),
                Some("unaffected") if status == Status::Affected => (id, Status::NotAffected),
                _ => (id, status),
            }));
            want.extend(versions.is_empty().then_some((id, status)));
        }
    }
    let mine: Vec<(&str, Status)> = read.iter().map(|s| (s.ids[0].as_str(), s.status)).collect();
    assert_eq!(mine, want, "{name}");
    let names: BTreeSet<&str> = read.iter().map(|s| s.product.name.as_str()).collect();
    assert!(names.iter().all(|name| !name.is_empty()), "{name}: {names:?}");
    want.len()
}
