//! Statements weighed against findings: who may be believed, which product is meant, what was said last. Pure.
//!
//! The latest statement on a vulnerability of a package counts, at the same time the worse one (OpenVEX 0.2.0, "Combining
//! statements"). Only a vendor, and whoever the user names, can silence a finding; what is silenced is listed with its reason.

use super::{Product, Statement, Status, Versions, subject::Subject};
use crate::{
    advisory::{
        self, Bytes,
        reader::{Database, Error},
    },
    assess::{
        Class, Finding,
        host::{self, Assessment, HostFinding},
        installed::Judged,
        releases,
    },
    inventory::Distribution,
    package::Installed,
    sbom::Component,
    version::{scheme::Scheme, vers},
};
use serde::Serialize;
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

/// What the user gave and allowed.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Statements of files that the user named, with the file's name.
    pub statements: Vec<(String, Statement)>,
    /// Authors whose statements in feeds count as the vendor's do.
    pub authors: Vec<String>,
    /// What is assessed.
    pub subject: Subject,
}

/// One installed package, as statements name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Its package URL's parts, with its one version.
    pub product: Product,
    /// Its name in findings.
    pub label: String,
    /// Source package.
    pub source: String,
    /// Source version.
    pub source_version: String,
}

/// One statement that speaks of what was assessed, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Weighed {
    /// Vulnerability.
    pub id: String,
    /// Package or product.
    pub product: String,
    /// What is said.
    pub status: Status,
    /// Justification and words.
    pub why: String,
    /// Who says so.
    pub who: String,
    /// Whether that is the vendor.
    pub vendor: bool,
    /// The document's id.
    pub document: String,
    /// File or feed that it is from.
    pub from: String,
    /// It counts.
    pub honoured: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub because: String,
}

/// Items of installed Debian packages.
#[must_use]
pub fn of_installed(distribution: &Distribution, packages: &[Installed]) -> Vec<Item> {
    let item = |package: &Installed| Item {
        product: product("deb", &distribution.id, distribution, &package.name, package.version.as_str(), &package.arch),
        label: package.name.clone(),
        source: package.source.clone(),
        source_version: package.source_version.as_str().to_owned(),
    };
    packages.iter().map(item).collect()
}

/// Items of a document's or a foreign root's components. `label` gives a component's name in findings.
pub fn of_components(distribution: &Distribution, components: &[Component], label: impl Fn(&Component) -> String) -> Vec<Item> {
    let item = |component: &Component| {
        let (source, source_version) = component.source.clone().unwrap_or_else(|| (component.name.clone(), component.version.clone()));
        let namespace = component.namespace_in(distribution);
        let mut product = product(&component.kind, namespace, distribution, &component.name, &component.version, &component.arch);
        product.qualifiers.extend(releases::of_component(distribution, component).map(|release| ("release".to_owned(), release)));
        if !component.distro.is_empty() {
            product.qualifiers.insert("distro".into(), component.distro.clone());
        }
        let source = if matches!(component.kind.as_str(), "deb" | "rpm" | "apk") { source } else { label(component) };
        Item { product, label: label(component), source, source_version }
    };
    components.iter().map(item).collect()
}

fn product(kind: &str, namespace: &str, distribution: &Distribution, name: &str, version: &str, arch: &str) -> Product {
    let mut qualifiers = BTreeMap::new();
    qualifiers.insert("arch".to_owned(), arch.to_owned());
    qualifiers.insert("distro".to_owned(), format!("{}-{}", distribution.id, distribution.version));
    qualifiers.insert("codename".to_owned(), distribution.codename.clone());
    qualifiers.insert("release".to_owned(), releases::of_distribution(distribution).unwrap_or_default());
    qualifiers.retain(|_, value| !value.is_empty() && value != "-");
    Product {
        kind: kind.into(),
        namespace: namespace.into(),
        name: name.into(),
        versions: Versions::One(version.into()),
        qualifiers,
        ..Product::default()
    }
}

fn scheme(kind: &str) -> Scheme {
    match kind {
        "deb" => Scheme::Dpkg,
        "rpm" => Scheme::Rpm,
        "apk" => Scheme::Apk,
        "cargo" | "golang" | "npm" | "hex" | "pub" => Scheme::Semver,
        "pypi" => Scheme::Pep440,
        _ => Scheme::Opaque,
    }
}

/// Whether `said` means the version of an item; what cannot be compared counts as meant only where it is bad news.
fn means(said: &Versions, kind: &str, version: &str, status: Status) -> bool {
    let bad = matches!(status, Status::Affected | Status::UnderInvestigation);
    match said {
        Versions::Any => true,
        Versions::One(one) => one == version || scheme(kind).compare(one, version).is_some_and(Ordering::is_eq),
        Versions::Vers(range) => vers::parse(range).and_then(|range| range.contains(version)).unwrap_or(bad),
    }
}

fn version(product: &Product) -> &str {
    match &product.versions {
        Versions::One(version) | Versions::Vers(version) => version,
        Versions::Any => "",
    }
}

/// Whether a statement's product names this one. Everything that the statement says to narrow it must fit.
fn names(said: &Product, item: &Product, status: Status) -> bool {
    let shared: Vec<bool> = said.hashes.iter().filter_map(|(kind, digest)| item.hashes.get(kind).map(|own| own == digest)).collect();
    if shared.contains(&false) || !said.link.is_empty() {
        return false;
    }
    if said.kind.is_empty() && said.name.is_empty() {
        return shared.contains(&true);
    }
    let fits = |(key, value): (&String, &String)| match key.as_str() {
        "distro" => item.qualifiers.get("distro") == Some(value) || item.qualifiers.get("codename") == Some(value),
        // The same package name is another product in another release.
        "release" => item.qualifiers.get(key) == Some(value),
        key => item.qualifiers.get(key).is_none_or(|own| own == value),
    };
    said.kind == item.kind
        && said.namespace == item.namespace
        && said.name == item.name
        && means(&said.versions, &said.kind, version(item), status)
        && said.qualifiers.iter().all(fits)
}

/// Whether a statement's product names this item, as itself or as its source package.
fn names_item(said: &Product, item: &Item, status: Status) -> bool {
    let arch = said.qualifiers.get("arch").map(String::as_str);
    let of_source = || {
        let mut source =
            Product { name: item.source.clone(), versions: Versions::One(item.source_version.clone()), ..item.product.clone() };
        source.qualifiers.remove("arch");
        names(said, &source, status)
    };
    match arch {
        Some("source" | "src") => of_source(),
        Some(_) => names(said, &item.product, status),
        None => names(said, &item.product, status) || !item.source.is_empty() && of_source(),
    }
}

/// How a statement's product stands to what is assessed.
enum Target<'a> {
    /// All of it.
    Whole,
    /// Items that this names.
    Items(&'a Product),
}

fn target<'a>(said: &'a Product, subject: &'a Subject, status: Status) -> Option<Target<'a>> {
    if !said.link.is_empty() {
        return match subject.named(&said.link)? {
            // The link leaves the version open; the statement's own words on versions count.
            None => subject.product.as_ref().is_some_and(|p| means(&said.versions, &p.kind, version(p), status)).then_some(Target::Whole),
            Some(component) => means(&said.versions, &component.kind, version(component), status).then_some(Target::Items(component)),
        };
    }
    if subject.image.as_ref().is_some_and(|image| image.is(said))
        || subject.product.as_ref().is_some_and(|product| names(said, product, status))
    {
        Some(Target::Whole)
    } else {
        Some(Target::Items(said))
    }
}

fn covers(statement: &Statement, item: &Item, subject: &Subject) -> bool {
    match target(&statement.product, subject, statement.status) {
        None => false,
        Some(Target::Whole) if statement.parts.is_empty() => true,
        Some(Target::Whole) => statement.parts.iter().any(|part| names_item(part, item, statement.status)),
        // Of which product an item is a part cannot be told here.
        Some(Target::Items(product)) => statement.parts.is_empty() && names_item(product, item, statement.status),
    }
}

/// A statement, where it is from, and why it may not count.
struct Candidate {
    statement: Statement,
    from: String,
    refused: Option<String>,
}

/// Weighs all statements, and changes findings accordingly. `items` is asked for what is installed only where there are statements.
///
/// # Errors
/// Where the database is damaged.
pub fn apply<B: Bytes>(
    db: &Database<B>,
    given: &Given,
    items: impl FnOnce() -> Vec<Item>,
    assessment: &mut Assessment,
) -> Result<(), Error> {
    // Most often nobody states anything, and what is installed needs no names.
    if given.statements.is_empty() && db.count(advisory::format::Section::Statements) == 0 {
        return Ok(());
    }
    let items = items();
    let candidates = candidates(db, given, &items, assessment)?;
    if candidates.is_empty() {
        return Ok(());
    }
    let items = with_subject(given, &items);
    let mut by_id: BTreeMap<&str, Vec<&Candidate>> = BTreeMap::new();
    for candidate in &candidates {
        for id in candidate.statement.ids.iter().collect::<BTreeSet<_>>() {
            by_id.entry(id).or_default().push(candidate);
        }
    }
    let mut listed: BTreeSet<Weighed> = assessment.statements.drain(..).collect();
    let mut silenced: BTreeSet<String> = BTreeSet::new();
    for finding in &mut assessment.findings {
        let Some(candidates) = by_id.get(finding.id.as_str()) else { continue };
        finding.packages.retain(|package| {
            let mut own =
                items.iter().filter(|item| item.label == *package && (item.source == finding.source || item.source.is_empty())).peekable();
            let quiet = own.peek().is_some()
                && own.all(|item| {
                    let winner = winner(candidates, item, &given.subject);
                    winner.is_some_and(|winner| matches!(winner.statement.status, Status::NotAffected | Status::Fixed))
                });
            if quiet {
                silenced.insert(format!("{} {}", finding.id, finding.source));
            }
            !quiet
        });
    }
    assessment.findings.retain(|finding| !finding.packages.is_empty());
    assessment.not_affected.extend(silenced);
    assessment.not_affected.sort();
    assessment.not_affected.dedup();
    add(db, &by_id, given, &items, assessment)?;
    list(&by_id, given, &items, &mut listed);
    assessment.statements = listed.into_iter().collect();
    Ok(())
}

fn with_subject(given: &Given, items: &[Item]) -> Vec<Item> {
    let mut out = items.to_vec();
    if let Some(product) = &given.subject.product {
        out.push(Item { product: product.clone(), label: product.name.clone(), ..Item::default() });
    } else if let Some(image) = &given.subject.image {
        out.push(Item { product: image.product(), label: image.name().to_owned(), ..Item::default() });
    }
    out
}

fn candidates<B: Bytes>(db: &Database<B>, given: &Given, items: &[Item], assessment: &Assessment) -> Result<Vec<Candidate>, Error> {
    let mut out: Vec<Candidate> = given
        .statements
        .iter()
        .map(|(from, statement)| Candidate { statement: statement.clone(), from: from.clone(), refused: None })
        .collect();
    if db.count(advisory::format::Section::Statements) == 0 {
        return Ok(out);
    }
    let mut keys: BTreeSet<String> = items.iter().map(|item| item.product.key()).collect();
    keys.extend(items.iter().map(|item| Product { name: item.source.clone(), ..item.product.clone() }.key()));
    if let Some(product) = &given.subject.product {
        keys.insert(product.key());
        keys.insert(format!("name:{}", product.name));
        keys.extend(product.hashes.iter().map(|(kind, digest)| format!("hash:{kind}:{digest}")));
    }
    if let Some(image) = &given.subject.image {
        keys.extend(image.names().into_iter().map(|name| Product { kind: "oci".into(), name, ..Product::default() }.key()));
    }
    let references = given.subject.components.keys().chain(Some(&given.subject.reference));
    keys.extend(references.filter(|_| !given.subject.serial.is_empty()).map(|name| format!("link:{}#{name}", given.subject.serial)));
    for key in keys {
        for (body, feed) in db.statements(&key)? {
            let statement: Statement =
                serde_json::from_str(&body).map_err(|error| Error::Damaged(format!("a statement on {key}: {error}")))?;
            let from = assessment.feeds.get(feed as usize).map(|feed| feed.name.clone()).unwrap_or_default();
            let named = given.authors.iter().any(|author| is_author(author, &statement.author));
            let refused =
                (!statement.vendor && !named).then(|| format!("`{}` is not the vendor and was not named (--vex-author)", statement.author));
            out.push(Candidate { statement, from, refused });
        }
    }
    Ok(out)
}

/// The whole author, or the address in it.
fn is_author(named: &str, author: &str) -> bool {
    let mut words = author.split([' ', '<', '>', '(', ')', ',']).filter(|word| !word.is_empty());
    named.eq_ignore_ascii_case(author) || named.contains('@') && words.any(|word| word.eq_ignore_ascii_case(named))
}

/// The last honoured statement on an item; of several at the same time the worst.
fn winner<'a>(candidates: &[&'a Candidate], item: &Item, subject: &Subject) -> Option<&'a Candidate> {
    let honoured = candidates.iter().filter(|c| c.refused.is_none() && covers(&c.statement, item, subject));
    honoured.max_by_key(|c| (c.statement.at_ms, c.statement.status)).copied()
}

/// Findings for bad news of which no feed speaks.
fn add<B: Bytes>(
    db: &Database<B>,
    by_id: &BTreeMap<&str, Vec<&Candidate>>,
    given: &Given,
    items: &[Item],
    assessment: &mut Assessment,
) -> Result<(), Error> {
    for (id, candidates) in by_id {
        let bad = |c: &&&Candidate| matches!(c.statement.status, Status::Affected | Status::UnderInvestigation) && c.refused.is_none();
        // Other names of a vulnerability that stands under its first one.
        if !candidates.iter().filter(bad).any(|c| c.statement.ids.first().is_some_and(|first| first == id)) {
            continue;
        }
        for item in items {
            let known = |f: &HostFinding| {
                let same = f.id == *id || candidates.iter().any(|c| c.statement.ids.contains(&f.id));
                same && (f.source == item.source || f.packages.contains(&item.label))
            };
            // What is said of a whole is a finding of the whole, not of each of its parts.
            let whole = given.subject.is_whole() && !item.source.is_empty();
            let own: Vec<&Candidate> = candidates
                .iter()
                .filter(|c| {
                    !(whole
                        && c.statement.parts.is_empty()
                        && matches!(target(&c.statement.product, &given.subject, c.statement.status), Some(Target::Whole)))
                })
                .copied()
                .collect();
            let Some(winner) = winner(&own, item, &given.subject).filter(|c| bad(&c)) else { continue };
            if !assessment.findings.iter().any(known) {
                assessment.findings.push(finding(db, id, item, winner)?);
            }
        }
    }
    assessment.findings.sort_by(|a, b| (&a.id, &a.source, &a.version).cmp(&(&b.id, &b.source, &b.version)));
    Ok(())
}

fn finding<B: Bytes>(db: &Database<B>, id: &str, item: &Item, candidate: &Candidate) -> Result<HostFinding, Error> {
    let statement = &candidate.statement;
    let status = if statement.status == Status::Affected { advisory::Status::Open } else { advisory::Status::Undetermined };
    let said = [statement.author.as_str(), &statement.justification, &statement.words];
    let finding = Finding {
        id: id.to_owned(),
        vuln: db.vuln_by_id(id)?,
        status,
        fixed: None,
        advisories: Vec::new(),
        class: Class::Security,
        urgency: None,
        reboot: false,
        paid: false,
        remote: false,
        note: said.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": "),
        feeds: BTreeSet::new(),
    };
    let source = if item.source.is_empty() { item.label.clone() } else { item.source.clone() };
    let judged = Judged { release: String::new(), source, version: version(&item.product).to_owned(), because: String::new() };
    let mut out = host::plain(&judged, vec![item.label.clone()], &finding, &[]);
    out.feeds = vec![candidate.from.clone()];
    Ok(out)
}

/// Every statement that speaks of an item, with what became of it.
fn list(by_id: &BTreeMap<&str, Vec<&Candidate>>, given: &Given, items: &[Item], out: &mut BTreeSet<Weighed>) {
    for (id, candidates) in by_id {
        for candidate in candidates.iter().filter(|c| c.statement.ids.first().is_some_and(|first| first == id)) {
            let statement = &candidate.statement;
            let covered: Vec<&Item> = items.iter().filter(|item| covers(statement, item, &given.subject)).collect();
            let Some(first) = covered.first() else { continue };
            let last =
                covered.iter().all(|item| winner(candidates, item, &given.subject).is_some_and(|w| w.statement.status == statement.status));
            let because = match &candidate.refused {
                Some(why) => why.clone(),
                None if last => String::new(),
                None => "another statement is later, or says worse at the same time".into(),
            };
            let product = match covered.len() {
                1 => format!("{} {}", first.label, version(&first.product)),
                _ => statement.product.label(),
            };
            let why =
                [statement.justification.as_str(), &statement.words].into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(": ");
            out.insert(Weighed {
                id: (*id).to_owned(),
                product: product.trim().to_owned(),
                status: statement.status,
                why,
                who: statement.author.clone(),
                vendor: statement.vendor,
                document: statement.document.clone(),
                from: candidate.from.clone(),
                honoured: because.is_empty(),
                because,
            });
        }
    }
}
