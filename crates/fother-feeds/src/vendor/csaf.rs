//! Security advisories and VEX documents of the Common Security Advisory Framework (OASIS CSAF 2.0 and 2.1).
//!
//! What a distribution's vendor says about its own packages becomes claims; everything else becomes statements on products.

// The fields' meaning is the specification's.
#[allow(missing_docs)]
pub mod document;
pub mod products;

use super::input;
use crate::compile::{Builder, Statement as Words, Taken};
use document::{Csaf, Str, Vulnerability};
use fother_core::{
    advisory::{
        Day, Exploits, Said, Status, Urgency,
        format::{Claim, Release, Subject},
    },
    version::scheme::Scheme,
    vex::{self, Product, Versions},
};
use products::{Meant, Products};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
};

/// From how many documents on a feed is the vendor's whole list of what is open, not a few that somebody picked.
const WHOLE_DOCUMENTS_MIN: u32 = 1_000;
/// Longest words on one product, in characters.
const WORDS_CHARS_MAX: usize = 200;

/// What a document says about one product and one vulnerability. What is worse sorts later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stance {
    NotAffected,
    Fixed,
    Investigated,
    Affected,
    LastAffected,
}

/// Reads all documents of a file.
///
/// # Errors
/// Where it is damaged or a document is no CSAF.
pub fn read(builder: &mut Builder, path: &Path) -> Result<Taken, String> {
    let mut taken = Taken::default();
    let mut open = BTreeSet::new();
    input::documents(path, |name, bytes| {
        let csaf = parse(bytes).map_err(|why| format!("{name}: {why}"))?;
        taken.one(csaf.document.tracking.current_release_date.as_deref().and_then(Day::parse));
        if counts(&csaf) {
            Reader { builder, csaf: &csaf, seen: HashSet::new(), open: &mut open }.add().map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(true)
    })?;
    if taken.records >= WHOLE_DOCUMENTS_MIN {
        open.iter().for_each(|release| builder.covers(*release, Release::KNOWS_OPEN));
    }
    Ok(taken)
}

/// Statements of one document, for `--vex`.
///
/// # Errors
/// Where it is no CSAF document.
pub fn statements(bytes: &[u8]) -> Result<Vec<vex::Statement>, String> {
    let csaf = parse(bytes)?;
    if !counts(&csaf) {
        return Ok(Vec::new());
    }
    let products = Products::of(&csaf, distribution(&csaf))?;
    let mut out = Vec::new();
    for vulnerability in &csaf.vulnerabilities {
        let facts = Facts::of(&products, vulnerability);
        for (id, said) in said(vulnerability) {
            out.extend(products.meant(id).into_iter().map(|meant| statement(&csaf, vulnerability, id, meant, said, &facts)));
            if out.len() > vex::STATEMENTS_MAX {
                return Err(format!("more than {} statements", vex::STATEMENTS_MAX));
            }
        }
    }
    Ok(out)
}

fn parse(bytes: &[u8]) -> Result<Csaf<'_>, String> {
    let csaf: Csaf<'_> = serde_json::from_slice(bytes).map_err(|error| format!("not a CSAF document: {error}"))?;
    match &*csaf.document.csaf_version {
        "2.0" | "2.1" => Ok(csaf),
        other => Err(format!("CSAF {} is not known; 2.0 and 2.1 are", fother_core::text::printable(other, 20))),
    }
}

/// Drafts and what was taken back say nothing.
fn counts(csaf: &Csaf<'_>) -> bool {
    &*csaf.document.tracking.status != "draft" && !matches!(&*csaf.document.category, "csaf_withdrawn" | "csaf_superseded")
}

/// Whether the publisher makes a distribution's packages, by its own address.
fn distribution(csaf: &Csaf<'_>) -> bool {
    let publisher = &csaf.document.publisher;
    let of = |namespace: &str| Product { kind: "rpm".into(), namespace: namespace.into(), ..Product::default() };
    &*publisher.category == "vendor" && ["redhat", "suse"].into_iter().any(|name| vex::is_vendor(&publisher.namespace, &of(name)))
}

/// The CVE, else the vendor's own id.
fn id<'x>(vulnerability: &'x Vulnerability<'_>) -> Option<&'x str> {
    let own = vulnerability.ids.first().map(|id| &*id.text);
    vulnerability.cve.as_deref().or(own).filter(|id| !id.is_empty())
}

/// What is said about each product; of contradictory groups (section 6.1.6) the worse one.
fn said<'x>(vulnerability: &'x Vulnerability<'_>) -> BTreeMap<&'x str, Stance> {
    let status = &vulnerability.product_status;
    let lists: [(&[Str<'_>], Stance); 9] = [
        (&status.known_not_affected, Stance::NotAffected),
        (&status.recommended, Stance::Fixed),
        (&status.first_fixed, Stance::Fixed),
        (&status.fixed, Stance::Fixed),
        (&status.unknown, Stance::Investigated),
        (&status.under_investigation, Stance::Investigated),
        (&status.first_affected, Stance::Affected),
        (&status.known_affected, Stance::Affected),
        (&status.last_affected, Stance::LastAffected),
    ];
    let mut out: BTreeMap<&str, Stance> = BTreeMap::new();
    for (list, said) in lists {
        for id in list {
            let known = out.entry(id).or_insert(said);
            *known = said.max(*known);
        }
    }
    out
}

/// What stands beside the statuses, by product id.
#[derive(Default)]
struct Facts<'x> {
    labels: BTreeMap<&'x str, &'x str>,
    impacts: BTreeMap<&'x str, &'x str>,
    fixes: BTreeMap<&'x str, usize>,
    plans: BTreeMap<&'x str, usize>,
    workarounds: BTreeMap<&'x str, usize>,
}

impl<'x> Facts<'x> {
    fn of(products: &'x Products<'_, '_>, vulnerability: &'x Vulnerability<'_>) -> Self {
        let mut out = Self::default();
        for flag in &vulnerability.flags {
            out.labels.extend(products.ids(&flag.product_ids, &flag.group_ids).map(|id| (id, &*flag.label)));
        }
        for threat in vulnerability.threats.iter().filter(|threat| &*threat.category == "impact") {
            let all = threat.product_ids.is_empty() && threat.group_ids.is_empty();
            out.impacts.extend(all.then_some(("", &*threat.details)));
            out.impacts.extend(products.ids(&threat.product_ids, &threat.group_ids).map(|id| (id, &*threat.details)));
        }
        for (at, remediation) in vulnerability.remediations.iter().enumerate() {
            let list = match &*remediation.category {
                "vendor_fix" | "optional_patch" => &mut out.fixes,
                "workaround" | "mitigation" => &mut out.workarounds,
                // `no_fix_planned`, `none_available`, and 2.1's `fix_planned`.
                _ => &mut out.plans,
            };
            for id in products.ids(&remediation.product_ids, &remediation.group_ids) {
                list.entry(id).or_insert(at);
            }
        }
        out
    }

    fn impact(&self, id: &str) -> &'x str {
        self.impacts.get(id).or(self.impacts.get("")).copied().unwrap_or_default()
    }
}

fn words(parts: &[&str]) -> String {
    let text = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("; ");
    fother_core::text::printable(&text.split_whitespace().collect::<Vec<_>>().join(" "), WORDS_CHARS_MAX)
}

/// Why a product is not affected: the flag, and the impact where it is no word of severity.
fn why(facts: &Facts<'_>, id: &str) -> String {
    let impact = facts.impact(id);
    let impact = if Urgency::of_word(impact).is_some() { "" } else { impact };
    words(&[facts.labels.get(id).copied().unwrap_or_default(), impact])
}

fn at_ms(csaf: &Csaf<'_>) -> u64 {
    let at = csaf.document.tracking.current_release_date.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    at.and_then(|at| u64::try_from(at.as_millisecond()).ok()).unwrap_or_default()
}

fn statement(
    csaf: &Csaf<'_>,
    vulnerability: &Vulnerability<'_>,
    id: &str,
    meant: Meant,
    said: Stance,
    facts: &Facts<'_>,
) -> vex::Statement {
    let remediation = |at: Option<&usize>| at.and_then(|at| vulnerability.remediations.get(*at)).map(|r| &*r.details).unwrap_or_default();
    let publisher = &csaf.document.publisher;
    let (status, text) = match said {
        Stance::NotAffected => (vex::Status::NotAffected, words(&[facts.impact(id)])),
        Stance::Fixed => (vex::Status::Fixed, String::new()),
        Stance::Investigated => (vex::Status::UnderInvestigation, String::new()),
        Stance::Affected | Stance::LastAffected => {
            let fix = remediation(facts.fixes.get(id));
            (vex::Status::Affected, words(&[facts.impact(id), remediation(facts.plans.get(id)), fix]))
        }
    };
    let mut product = meant.product;
    if let (Stance::LastAffected, Versions::One(version)) = (said, &product.versions) {
        product.versions = Versions::Vers(format!("vers:{}/<={version}", if product.kind.is_empty() { "generic" } else { &product.kind }));
    }
    let vendor = &*publisher.category == "vendor" && vex::is_vendor(&publisher.namespace, &product);
    vex::Statement {
        ids: vulnerability.cve.iter().map(|cve| &**cve).chain(vulnerability.ids.iter().map(|id| &*id.text)).map(str::to_owned).collect(),
        product,
        parts: Vec::new(),
        status,
        justification: facts.labels.get(id).map(|label| words(&[label])).unwrap_or_default(),
        words: text,
        author: words(&[&publisher.name, &publisher.namespace]),
        vendor,
        document: words(&[&csaf.document.tracking.id]),
        at_ms: at_ms(csaf),
    }
}

/// One document on its way into the database.
struct Reader<'b, 'd, 'a> {
    builder: &'b mut Builder,
    csaf: &'d Csaf<'a>,
    /// Packages stand there once for each architecture.
    seen: HashSet<(u32, u32, String, Stance)>,
    open: &'b mut BTreeSet<u32>,
}

impl Reader<'_, '_, '_> {
    fn add(&mut self) -> Result<(), String> {
        let csaf = self.csaf;
        let products = Products::of(csaf, distribution(csaf))?;
        for vulnerability in &csaf.vulnerabilities {
            let Some(id) = id(vulnerability) else { return Err("a vulnerability has neither a CVE nor an id".into()) };
            let vuln = self.builder.vuln(id)?;
            self.about(vuln, vulnerability);
            let facts = Facts::of(&products, vulnerability);
            let mut sources = Vec::new();
            let mut built = BTreeSet::new();
            for (id, said) in said(vulnerability) {
                for meant in products.meant(id) {
                    let Some(release) = meant.release.clone() else {
                        let statement = statement(csaf, vulnerability, id, meant, said, &facts);
                        self.builder.statement(&statement)?;
                        continue;
                    };
                    let release = self.builder.release(&release, Scheme::Rpm)?;
                    self.builder.covers(release, Release::KNOWS_FIXED);
                    // A source stands beside what was built from it; only alone it says something.
                    if said == Stance::Fixed && meant.is_source {
                        sources.push((id, release, meant));
                        continue;
                    }
                    built.extend((said == Stance::Fixed).then_some(release));
                    self.claim(vuln, vulnerability, id, release, &meant, said, &facts)?;
                }
            }
            for (id, release, meant) in sources.iter().filter(|(_, release, _)| !built.contains(release)) {
                self.claim(vuln, vulnerability, id, *release, meant, Stance::Fixed, &facts)?;
            }
        }
        Ok(())
    }

    fn about(&mut self, vuln: u32, vulnerability: &Vulnerability<'_>) {
        let title = vulnerability.title.as_deref().unwrap_or(&self.csaf.document.title);
        self.builder.title(vuln, title);
        let published = vulnerability.release_date.as_deref().and_then(Day::parse);
        let exploited = vulnerability.threats.iter().any(|threat| &*threat.category == "exploit_status" && threat.details.contains("CISA"));
        self.builder.about(vuln, |known| {
            known.published = if known.published.is_known() { known.published } else { published.unwrap_or_default() };
            known.exploits |= if exploited { Exploits::EXPLOITED_ELSEWHERE } else { 0 };
        });
        for content in vulnerability.scores.iter().chain(vulnerability.metrics.iter().map(|metric| &metric.content)) {
            let vectors = [&content.cvss_v2, &content.cvss_v3, &content.cvss_v4];
            vectors.into_iter().flatten().for_each(|cvss| self.builder.vector(vuln, &cvss.vector_string));
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn claim(
        &mut self,
        vuln: u32,
        vulnerability: &Vulnerability<'_>,
        id: &str,
        release: u32,
        meant: &Meant,
        said: Stance,
        facts: &Facts<'_>,
    ) -> Result<(), String> {
        let name = fother_core::assess::releases::key(&meant.module, meant.is_source, &meant.name);
        let package = self.builder.package(release, &name)?;
        let version = meant.version.as_deref().unwrap_or_default();
        if !self.seen.insert((vuln, package, version.to_owned(), said)) {
            return Ok(());
        }
        let one = |status: Status, note: &str, builder: &mut Builder| {
            let flags = if version.is_empty() { Claim::UNTIL_FIXED } else { Claim::EXACT };
            let words = Words { introduced: version, end: "", status, flags, note };
            builder.claim(package, Subject::Vuln(vuln), &words)
        };
        match said {
            Stance::NotAffected => {
                let csaf = &self.csaf.document;
                let said = Said { who: words(&[&csaf.publisher.name]), why: why(facts, id), document: words(&[&csaf.tracking.id]) };
                let flags = if version.is_empty() { 0 } else { Claim::EXACT };
                let note = said.note();
                let words = Words { introduced: version, end: "", status: Status::NotAffected, flags, note: &note };
                self.builder.claim(package, Subject::Vuln(vuln), &words)
            }
            Stance::Fixed if version.is_empty() => Ok(()),
            Stance::Fixed => self.fixed(vuln, vulnerability, id, package, meant, facts),
            Stance::Investigated => one(Status::Undetermined, "under investigation", self.builder),
            Stance::LastAffected if !version.is_empty() => {
                let words = Words { introduced: "", end: version, status: Status::Open, flags: Claim::LAST_AFFECTED, note: "" };
                self.builder.claim(package, Subject::Vuln(vuln), &words)
            }
            Stance::Affected | Stance::LastAffected => {
                if version.is_empty() && self.csaf.document.tracking.id.starts_with("CVE-") {
                    self.open.insert(release);
                }
                let remediation = |at: Option<&usize>| at.and_then(|at| vulnerability.remediations.get(*at));
                let plan = remediation(facts.plans.get(id));
                let status = plan.map_or(Status::Open, |plan| planned(&plan.category, &plan.details));
                let details = plan.map(|plan| &*plan.details).unwrap_or_default();
                let workaround = remediation(facts.workarounds.get(id)).map(|_| "the vendor describes a workaround").unwrap_or_default();
                one(status, &words(&[facts.impact(id), details, workaround]), self.builder)
            }
        }
    }

    fn fixed(
        &mut self,
        vuln: u32,
        vulnerability: &Vulnerability<'_>,
        id: &str,
        package: u32,
        meant: &Meant,
        facts: &Facts<'_>,
    ) -> Result<(), String> {
        let tracking = &self.csaf.document.tracking;
        let fix = facts.fixes.get(id).and_then(|at| vulnerability.remediations.get(*at));
        // A VEX document names the advisory by its address: `https://access.redhat.com/errata/RHSA-2024:3666`.
        let linked = fix.and_then(|fix| fix.url.as_deref()).and_then(|url| url.rsplit('/').next());
        let linked = linked.filter(|id| id.get(2..4).is_some_and(|kind| matches!(kind, "SA" | "BA" | "EA")) && id.contains([':', '-']));
        let advisory_id = linked.unwrap_or(&tracking.id);
        let own = tracking.initial_release_date.as_deref().filter(|_| advisory_id == &*tracking.id);
        let date = own.or(fix.and_then(|fix| fix.date.as_deref())).or(tracking.initial_release_date.as_deref()).and_then(Day::parse);
        let advisory = self.builder.advisory_on(advisory_id, vuln, date, class(advisory_id), &self.csaf.document.title)?;
        let severity = self.csaf.document.aggregate_severity.as_ref().map(|severity| &*severity.text).unwrap_or_default();
        let urgency = Urgency::of_word(facts.impact(id)).or_else(|| Urgency::of_word(severity));
        let restart =
            fix.and_then(|fix| fix.restart_required.as_ref()).is_some_and(|restart| matches!(&*restart.category, "machine" | "system"));
        self.builder.urgent(advisory, urgency, restart);
        let version = meant.version.as_deref().unwrap_or_default();
        let note = meant.paid.map(|what| format!("fix needs {what}")).unwrap_or_default();
        let flags = if meant.paid.is_some() { Claim::PAID } else { 0 };
        self.builder.claim(package, Subject::Advisory(advisory), &Words { flags, note: &note, ..Words::fixed(version) })
    }
}

/// What the vendor plans for what it has not fixed.
fn planned(category: &str, details: &str) -> Status {
    let details = details.to_ascii_lowercase();
    match category {
        "no_fix_planned" if details.contains("out of support") || details.contains("end of life") => Status::EndOfLife,
        "no_fix_planned" => Status::Ignored,
        _ if details.contains("deferred") || category == "fix_planned" => Status::Postponed,
        _ => Status::Open,
    }
}

/// 0 security, 1 bugfix, 2 enhancement: as the id says (`RHBA-2024:1440`).
pub(super) fn class(id: &str) -> u8 {
    match id.get(2..4) {
        Some("BA") => 1,
        Some("EA") => 2,
        Some(_) | None => 0,
    }
}
