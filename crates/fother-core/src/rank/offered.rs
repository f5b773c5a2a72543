//! Findings from what a signed archive itself offers: the CVEs in the changelogs inside its packages, where no advisory speaks yet. Pure.

use crate::{
    advisory::{Day, Status, reader::VulnInfo},
    assess::{
        Class,
        host::{HostFinding, InEffect, Installable},
        in_use::InUse,
    },
    inventory::Closes,
    package::UpdateClass,
    resolution::PackageChange,
};
use std::collections::{BTreeMap, BTreeSet};

/// One update of a source package, as archives offer it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Installed version, the lowest where there are several.
    pub from: String,
    /// Offered version.
    pub to: String,
    /// Binary packages.
    pub packages: BTreeSet<String>,
    /// What the changelog says.
    pub closes: BTreeSet<Closes>,
    /// It comes from a security archive.
    pub security: bool,
}

/// The updates of transactions, by source package.
#[must_use]
pub fn sources<'a>(changes: impl IntoIterator<Item = &'a PackageChange>) -> BTreeMap<String, Offered> {
    let mut out: BTreeMap<String, Offered> = BTreeMap::new();
    for change in changes {
        let known = out.entry(change.source.clone()).or_default();
        if let Some(from) = &change.from {
            from.as_str().clone_into(&mut known.from);
        }
        if let Some(to) = &change.to {
            to.as_str().clone_into(&mut known.to);
        }
        known.packages.insert(change.name.clone());
        known.closes.extend(change.closes.iter().cloned());
        let archive = change.offer.as_ref().is_some_and(|offer| offer.suite.contains("-security") || offer.label.ends_with("-Security"));
        known.security |= archive || change.class == UpdateClass::Security;
    }
    out
}

/// Findings of these updates. `known` says what feeds know about a vulnerability; nothing where there are none.
#[must_use]
pub fn findings(offered: &BTreeMap<String, Offered>, known: &dyn Fn(&str) -> Option<VulnInfo>) -> Vec<HostFinding> {
    let mut out = Vec::new();
    for (source, update) in offered {
        for closes in &update.closes {
            let because = format!("{} of {source} in its signed package", closes.evidence);
            let published = closes.evidence.rsplit_once(" of ").and_then(|(_, day)| Day::parse(day)).unwrap_or_default();
            out.push(finding(source, update, &closes.cve, Class::Security, (because, published), known(&closes.cve)));
        }
        if update.closes.is_empty() {
            let (class, because) = if update.security {
                (Class::Security, "offered by the signed security archive; its changelog names no vulnerability")
            } else {
                (Class::Bugfix, "offered by a signed archive; no security content is known")
            };
            out.push(finding(source, update, &format!("{source} {}", update.to), class, (because.into(), Day::default()), None));
        }
    }
    out
}

fn finding(
    source: &str,
    update: &Offered,
    id: &str,
    class: Class,
    (because, published): (String, Day),
    known: Option<VulnInfo>,
) -> HostFinding {
    let known = known.as_ref();
    HostFinding {
        id: id.to_owned(),
        title: known.map(|vuln| vuln.title.clone()).unwrap_or_default(),
        source: source.to_owned(),
        version: update.from.clone(),
        packages: update.packages.iter().cloned().collect(),
        places: Vec::new(),
        status: Status::Fixed,
        fixed: Some(update.to.clone()),
        installable: Installable::Yes { packages: update.packages.iter().cloned().collect() },
        in_effect: InEffect::NotInstalled,
        in_use: InUse::NotLooked,
        in_use_because: String::new(),
        class,
        advisories: Vec::new(),
        published,
        cvss: known.and_then(|vuln| vuln.cvss),
        vector: known.map(|vuln| vuln.vector.clone()).unwrap_or_default(),
        epss_millionths: known.and_then(|vuln| vuln.epss),
        kev_added: known.map(|vuln| vuln.kev_added).unwrap_or_default(),
        kev_due: known.map(|vuln| vuln.kev_due).unwrap_or_default(),
        exploits: known.map(|vuln| vuln.exploits).unwrap_or_default().names(),
        ssvc: known.map(|vuln| vuln.ssvc).unwrap_or_default(),
        remote: false,
        urgency: None,
        reboot_suggested: false,
        note: String::new(),
        because,
        feeds: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::{self, Asset, rules::Pack};

    fn update(closes: &[(&str, &str)], security: bool) -> Offered {
        let closes = closes.iter().map(|(cve, evidence)| Closes { cve: (*cve).into(), evidence: (*evidence).into() }).collect();
        Offered { from: "1-1".into(), to: "1-2".into(), packages: BTreeSet::from(["p".into()]), closes, security }
    }

    #[test]
    fn an_update_with_cves_in_its_changelog_is_a_ranked_line_with_reason_and_deadline() {
        let offered = BTreeMap::from([
            ("openssl".to_owned(), update(&[("CVE-2026-0001", "changelog 1-2 of 2026-11-14")], true)),
            ("quiet".to_owned(), update(&[], true)),
            ("tool".to_owned(), update(&[], false)),
        ]);
        let packs = Pack::built_in().unwrap();
        let today = Day::parse("2026-11-27").unwrap();
        let queue = rank::queue(&findings(&offered, &|_| None), Asset::default(), &packs, today);
        let order: Vec<&str> = queue.updates.iter().map(|update| update.source.as_str()).collect();
        assert_eq!(order, ["openssl", "quiet", "tool"]);
        let first = &queue.updates[0];
        assert!(first.reasons[0].contains("changelog 1-2 of 2026-11-14 of openssl in its signed package"), "{:?}", first.reasons);
        assert!(first.reasons[0].contains("no CVSS score, taken as 8.0"), "{:?}", first.reasons);
        let due = first.deadline.as_ref().unwrap();
        assert_eq!(due.counts_from.to_string(), "2026-11-14");
        assert!(due.missing.contains(&"publicly exposed"), "{due:?}");
        assert_eq!((queue.updates[2].risk_millionths, queue.updates[2].deadline.is_none()), (0, true));
    }

    #[test]
    fn an_unknown_day_of_publication_counts_from_the_start_of_the_year_and_says_so() {
        let offered = BTreeMap::from([("a".to_owned(), update(&[("CVE-2026-0001", "changelog 1-2")], true))]);
        let today = Day::parse("2026-11-27").unwrap();
        let queue = rank::queue(&findings(&offered, &|_| None), Asset::default(), &Pack::built_in().unwrap(), today);
        let due = queue.updates[0].deadline.as_ref().unwrap();
        assert_eq!(due.counts_from.to_string(), "2026-01-01");
        assert!(due.missing.contains(&"day of first publication"));
    }
}
