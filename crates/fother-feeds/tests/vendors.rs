//! Feeds of rpm's and Alpine's vendors, of Ubuntu, and VEX, each by a small document of our own: what is found, what is honoured, and what is refused.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    Timestamp,
    advisory::{Status, Urgency, reader::Database},
    assess::{
        Class, components,
        host::{Assessment, HostFinding, Installable},
    },
    inventory::Distribution,
    sbom::{Component, Sbom},
    vex::{apply, subject},
};
use fother_feeds::{
    database::{self, Blocks},
    intake::{self, Intake},
};
use std::{fs, path::Path};

/// 2026-02-20.
const NOW: Timestamp = Timestamp(1_771_545_600_000);

fn import(files: &[(&str, &str)]) -> (tempfile::TempDir, Database<Blocks>) {
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().join("in");
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let outcome = take(keep.path(), &dir).unwrap();
    assert!(outcome.refused.is_empty() && outcome.passed_over.is_empty(), "{outcome:?}");
    let db = database::open(&keep.path().join("feeds/advisories.db")).unwrap();
    (keep, db)
}

fn take(keep: &Path, dir: &Path) -> Result<intake::Outcome, intake::IntakeError> {
    Intake::new(&keep.join("feeds")).take(intake::offered(dir, None), NOW, false)
}

fn rpm(name: &str, version: &str, source: &str, module: &str) -> Component {
    Component {
        kind: "rpm".into(),
        namespace: "redhat".into(),
        name: name.into(),
        version: version.into(),
        source: Some((source.into(), version.into())),
        module: module.into(),
        arch: "x86_64".into(),
        ..Component::default()
    }
}

fn assess(db: &Database<Blocks>, id: &str, version: &str, components: Vec<Component>, given: &apply::Given) -> Assessment {
    let distribution = Distribution { id: id.into(), version: version.into(), codename: String::new() };
    let items = apply::of_components(&distribution, &components, components::label);
    let sbom = Sbom { distribution: Some(distribution), components, ..Sbom::default() };
    let (_, mut assessment) = components::document(db, sbom, NOW, None).unwrap();
    apply::apply(db, given, || items, &mut assessment).unwrap();
    assessment
}

fn plain(db: &Database<Blocks>, id: &str, version: &str, components: Vec<Component>) -> Assessment {
    assess(db, id, version, components, &apply::Given::default())
}

fn ids(assessment: &Assessment) -> Vec<&str> {
    assessment.findings.iter().map(|finding| finding.id.as_str()).collect()
}

fn of<'a>(assessment: &'a Assessment, id: &str) -> &'a HostFinding {
    assessment.findings.iter().find(|finding| finding.id == id).unwrap_or_else(|| panic!("{id}: {:?}", ids(assessment)))
}

/// A document of Red Hat's own form: tomcat in Enterprise Linux 8, nodejs in a module, cri-o in OpenShift.
fn red_hat(id: &str, publisher: &str, status: &str, more: &str) -> String {
    let package = |id: &str, purl: &str| {
        format!(
            r#"{{"category":"product_version","name":"{id}","product":{{"product_id":"{id}","name":"{id}","product_identification_helper":{{"purl":"{purl}"}}}}}}"#
        )
    };
    let product = |id: &str, cpe: &str| {
        format!(
            r#"{{"category":"product_name","name":"{id}","product":{{"product_id":"{id}","name":"{id}","product_identification_helper":{{"cpe":"{cpe}"}}}}}}"#
        )
    };
    let relation = |part: &str, whole: &str| {
        format!(
            r#"{{"category":"default_component_of","full_product_name":{{"product_id":"{whole}/{part}","name":"{part} of {whole}"}},"product_reference":"{part}","relates_to_product_reference":"{whole}"}}"#
        )
    };
    let branches = [
        product("EL8", "cpe:/a:redhat:enterprise_linux:8::appstream"),
        product("OCP", "cpe:/a:redhat:openshift:4.12::el8"),
        package("tomcat", "pkg:rpm/redhat/tomcat@9.0.87-1.el8_10.1?arch=noarch&epoch=1"),
        package("tomcat-src", "pkg:rpm/redhat/tomcat?arch=src"),
        package("nodejs", "pkg:rpm/redhat/nodejs@18.19.0-1.module+el8.9.0+1+a?arch=x86_64&epoch=1"),
        package("module", "pkg:rpmmod/redhat/nodejs@18:8090020240101"),
        package("cri-o", "pkg:rpm/redhat/cri-o@1.25.5-16.2.rhaos4.12.gitcb0.el8?arch=x86_64"),
        package("zlib", "pkg:rpm/redhat/zlib?arch=src"),
    ]
    .join(",");
    let relations = [
        relation("tomcat", "EL8"),
        relation("tomcat-src", "EL8"),
        relation("module", "EL8"),
        relation("nodejs", "EL8/module"),
        relation("cri-o", "OCP"),
        relation("zlib", "EL8"),
    ]
    .join(",");
    format!(
        r#"{{"document":{{"category":"csaf_vex","csaf_version":"2.0","title":"t","publisher":{{"category":"vendor","name":"Red Hat Product Security","namespace":"{publisher}"}},
        "tracking":{{"id":"{id}","status":"final","current_release_date":"2026-02-18T00:00:00Z","initial_release_date":"2026-02-01T00:00:00Z"}}}},
        "product_tree":{{"branches":[{{"category":"vendor","name":"Red Hat","branches":[{branches}]}}],"relationships":[{relations}]}},
        "vulnerabilities":[{{"cve":"CVE-2026-0001","title":"a flaw","product_status":{status}{more}}}]}}"#
    )
}

const RED_HAT: &str = "https://www.redhat.com";

#[test]
fn csaf_fixes_are_compared_as_rpm_does_within_release_module_and_product() {
    let fixed = r#"{"fixed":["EL8/tomcat","EL8/module/nodejs","OCP/cri-o"]}"#;
    let more = r#","remediations":[{"category":"vendor_fix","details":"d","date":"2026-02-03T00:00:00Z","url":"https://access.redhat.com/errata/RHSA-2026:0007","product_ids":["EL8/tomcat"],"restart_required":{"category":"system"}}],
        "threats":[{"category":"impact","details":"Important"}],"scores":[{"products":["EL8/tomcat"],"cvss_v3":{"vectorString":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}}]"#;
    let (_keep, db) = import(&[("rhsa.json", &red_hat("CVE-2026-0001", RED_HAT, fixed, more))]);
    let found = |component: Component| ids(&plain(&db, "rhel", "8.10", vec![component])).len();
    assert_eq!(found(rpm("tomcat", "1:9.0.87-1.el8_10.0", "tomcat", "")), 1);
    assert_eq!(found(rpm("tomcat", "1:9.0.87-1.el8_10.1", "tomcat", "")), 0);
    assert_eq!(found(rpm("tomcat", "2:1-1.el8", "tomcat", "")), 0);
    assert_eq!(found(rpm("nodejs", "1:18.18.0-1.module+el8.9.0+1+a", "nodejs", "nodejs:18")), 1);
    assert_eq!(found(rpm("nodejs", "1:16.20.0-1.module+el8.9.0+1+a", "nodejs", "nodejs:16")), 0, "another stream");
    assert_eq!(found(rpm("nodejs", "1:10.1-1.el8", "nodejs", "")), 0, "no module at all");
    assert_eq!(found(rpm("cri-o", "1.25.5-3.rhaos4.12.gitabc.el8", "cri-o", "")), 1);
    assert_eq!(found(rpm("cri-o", "1.24.5-3.rhaos4.11.gitabc.el8", "cri-o", "")), 0, "another OpenShift");
    let assessment = plain(&db, "rhel", "8.10", vec![rpm("tomcat", "1:9.0.80-1.el8", "tomcat", "")]);
    let tomcat = of(&assessment, "CVE-2026-0001");
    assert_eq!((tomcat.fixed.as_deref(), tomcat.advisories.as_slice()), (Some("1:9.0.87-1.el8_10.1"), &["RHSA-2026:0007".to_owned()][..]));
    assert_eq!(
        (tomcat.urgency, tomcat.reboot_suggested, tomcat.published.to_string().as_str()),
        (Some(Urgency::Important), true, "2026-02-03")
    );
    assert_eq!(tomcat.cvss.unwrap().to_string(), "9.8");
    let unsaid = plain(&db, "rhel", "8.10", vec![rpm("nodejs", "1:18.18.0-1.module+el8.9.0+1+a", "nodejs", "")]);
    assert!(unsaid.unknown.iter().any(|why| why.contains("of which stream is not said")), "{:?}", unsaid.unknown);
    assert!(plain(&db, "rhel", "9.4", vec![rpm("tomcat", "1:9.0.80-1.el9", "tomcat", "")]).findings.is_empty());
}

#[test]
fn a_vendor_s_statuses_without_a_version_hold_for_the_source_until_a_fix_is_published() {
    let open = r#"{"known_affected":["EL8/tomcat-src"],"known_not_affected":["EL8/zlib"]}"#;
    let more = r#","flags":[{"label":"vulnerable_code_not_present","product_ids":["EL8/zlib"]}],"remediations":[{"category":"no_fix_planned","details":"Out of support scope","product_ids":["EL8/tomcat-src"]}]"#;
    let document = red_hat("CVE-2026-0001", RED_HAT, open, more);
    let (_keep, db) = import(&[("vex.json", &document)]);
    let packages = || vec![rpm("tomcat-lib", "1:9.0.87-1.el8_10.1", "tomcat", ""), rpm("zlib-devel", "1.2-1.el8", "zlib", "")];
    let assessment = plain(&db, "rhel", "8.10", packages());
    let finding = of(&assessment, "CVE-2026-0001");
    assert_eq!(
        (finding.status, finding.fixed.as_deref(), finding.packages.as_slice()),
        (Status::EndOfLife, None, &["tomcat-lib".to_owned()][..])
    );
    let [stated] = assessment.statements.as_slice() else { panic!("{:?}", assessment.statements) };
    assert!(stated.honoured && stated.vendor && stated.product.starts_with("zlib-devel"));
    assert_eq!(
        (stated.who.as_str(), stated.why.as_str(), stated.document.as_str()),
        ("Red Hat Product Security", "vulnerable_code_not_present", "CVE-2026-0001")
    );
    // The advisory comes: what was open is judged by its version.
    let fix = red_hat("RHSA-2026:1", RED_HAT, r#"{"fixed":["EL8/tomcat"]}"#, "");
    let (_keep, db) = import(&[("d/vex.json", &document), ("d/rhsa.json", &fix)]);
    assert!(plain(&db, "rhel", "8.10", vec![rpm("tomcat", "1:9.0.87-1.el8_10.1", "tomcat", "")]).findings.is_empty());
    assert_eq!(ids(&plain(&db, "rhel", "8.10", vec![rpm("tomcat", "1:9.0.1-1.el8", "tomcat", "")])), ["CVE-2026-0001"]);
}

#[test]
fn contradictions_and_drafts_clear_nothing() {
    let both = r#"{"known_affected":["EL8/zlib"],"known_not_affected":["EL8/zlib"]}"#;
    let document = red_hat("CVE-2026-0001", RED_HAT, both, "");
    let (_keep, db) = import(&[("vex.json", &document)]);
    let zlib = || vec![rpm("zlib", "1-1.el8", "zlib", "")];
    assert_eq!(ids(&plain(&db, "rhel", "8", zlib())), ["CVE-2026-0001"]);
    // One document says that it is, another of the same vendor that it is not.
    let yes = red_hat("CVE-2026-0001", RED_HAT, r#"{"known_affected":["EL8/zlib"]}"#, "");
    let no = red_hat("RHSA-2026:2", RED_HAT, r#"{"known_not_affected":["EL8/zlib"]}"#, "");
    let (_keep, db) = import(&[("d/a.json", &yes), ("d/b.json", &no)]);
    let assessment = plain(&db, "rhel", "8", zlib());
    assert_eq!(ids(&assessment), ["CVE-2026-0001"]);
    assert!(assessment.statements.iter().all(|stated| !stated.honoured) && assessment.findings[0].note.contains("not affected"));
    let draft = no.replace("\"final\"", "\"draft\"");
    let (_keep, db) = import(&[("d/a.json", &yes), ("d/b.json", &draft)]);
    assert!(plain(&db, "rhel", "8", zlib()).statements.is_empty());
}

#[test]
fn only_the_vendor_speaks_for_its_packages_unless_the_user_names_another() {
    let fix = red_hat("RHSA-2026:1", RED_HAT, r#"{"fixed":["EL8/tomcat"]}"#, "");
    let stranger = red_hat("X-1", "https://redhat.com.evil.test", r#"{"known_not_affected":["EL8/tomcat-src"]}"#, "");
    let (keep, db) = import(&[("a/fix.json", &fix), ("b/x.json", &stranger)]);
    let tomcat = || vec![rpm("tomcat", "1:9.0.1-1.el8", "tomcat", "")];
    let assessment = plain(&db, "rhel", "8", tomcat());
    assert_eq!(ids(&assessment), ["CVE-2026-0001"]);
    let [stated] = assessment.statements.as_slice() else { panic!("{:?}", assessment.statements) };
    assert!(!stated.honoured && stated.because.contains("was not named"), "{stated:?}");
    let named = apply::Given { authors: vec![stated.who.clone()], ..apply::Given::default() };
    let assessment = assess(&db, "rhel", "8", tomcat(), &named);
    assert!(assessment.findings.is_empty() && assessment.statements[0].honoured && !assessment.statements[0].vendor);
    // The same document as a file that the user names.
    let statements = fother_feeds::vendor::vex::statements(&keep.path().join("in/b/x.json")).unwrap();
    let given = apply::Given { statements: statements.into_iter().map(|s| ("x.json".to_owned(), s)).collect(), ..apply::Given::default() };
    assert!(assess(&db, "rhel", "8", tomcat(), &given).findings.is_empty());
}

/// `fother scan --vex`: each case is the statements, then whether the finding stays.
#[test]
fn the_latest_statement_counts_and_at_the_same_time_the_worse_one() {
    let (keep, db) = import(&[("a.json", &red_hat("RHSA-2026:1", RED_HAT, r#"{"fixed":["EL8/tomcat"]}"#, ""))]);
    let no = r#""status":"not_affected","justification":"component_not_present""#;
    let yes = r#""status":"affected","action_statement":"update""#;
    let cases = [
        (vec![(no, "2026-01-01", "pkg:rpm/redhat/tomcat")], false),
        (vec![(no, "2026-01-01", "pkg:rpm/redhat/tomcat@9.0.1-1.el8?epoch=1&arch=x86_64")], false),
        (vec![(no, "2026-01-01", "pkg:rpm/redhat/tomcat@9.0.2-1.el8?epoch=1")], true),
        (vec![(no, "2026-01-01", "pkg:rpm/redhat/tomcat?arch=s390x")], true),
        (vec![(no, "2026-01-01", "pkg:rpm/suse/tomcat")], true),
        (vec![(no, "2026-01-01", "pkg:deb/debian/tomcat")], true),
        (vec![(yes, "2026-01-01", "pkg:rpm/redhat/tomcat"), (no, "2026-01-02", "pkg:rpm/redhat/tomcat")], false),
        (vec![(yes, "2026-01-02", "pkg:rpm/redhat/tomcat"), (no, "2026-01-01", "pkg:rpm/redhat/tomcat")], true),
        (vec![(yes, "2026-01-01", "pkg:rpm/redhat/tomcat"), (no, "2026-01-01", "pkg:rpm/redhat/tomcat")], true),
        (vec![(r#""status":"not_affected""#, "2026-01-01", "pkg:rpm/redhat/tomcat")], true),
        (vec![(r#""status":"under_investigation""#, "2026-01-01", "pkg:rpm/redhat/tomcat")], true),
        (vec![(r#""status":"fixed""#, "2026-01-01", "pkg:rpm/redhat/tomcat")], false),
    ];
    for (statements, stays) in cases {
        let words: Vec<String> = statements
            .iter()
            .map(|(status, day, purl)| format!(r#"{{"vulnerability":{{"name":"CVE-2026-0001"}},"timestamp":"{day}T00:00:00Z","products":[{{"@id":"{purl}"}}],{status}}}"#))
            .collect();
        let text = format!(r#"{{"@context":"https://openvex.dev/ns/v0.2.0","@id":"d","author":"Ann","statements":[{}]}}"#, words.join(","));
        let path = keep.path().join("vex.json");
        fs::write(&path, &text).unwrap();
        let statements = fother_feeds::vendor::vex::statements(&path).unwrap();
        let given =
            apply::Given { statements: statements.into_iter().map(|s| ("vex.json".to_owned(), s)).collect(), ..apply::Given::default() };
        let assessment = assess(&db, "rhel", "8", vec![rpm("tomcat", "1:9.0.1-1.el8", "tomcat", "")], &given);
        assert_eq!(!assessment.findings.is_empty(), stays, "{text}");
        assert_eq!(!assessment.not_affected.is_empty(), !stays, "{text}");
    }
}

#[test]
fn a_statement_on_a_whole_holds_for_it_only_and_bad_news_is_a_finding() {
    let (keep, db) = import(&[("a.json", &red_hat("RHSA-2026:1", RED_HAT, r#"{"fixed":["EL8/tomcat"]}"#, ""))]);
    let path = keep.path().join("vex.json");
    let vex = r#"{"@context":"https://openvex.dev/ns/v0.2.0","@id":"d","author":"Ann","timestamp":"2026-01-01T00:00:00Z","statements":[
        {"vulnerability":{"name":"CVE-2026-0001"},"products":[{"@id":"pkg:oci/shop@sha256:ab","subcomponents":[{"@id":"pkg:rpm/redhat/tomcat"}]}],"status":"not_affected","justification":"inline_mitigations_already_exist"},
        {"vulnerability":{"name":"CVE-2026-0009"},"products":[{"@id":"pkg:rpm/redhat/zlib"}],"status":"affected","action_statement":"remove it"}]}"#;
    fs::write(&path, vex).unwrap();
    let statements = fother_feeds::vendor::vex::statements(&path).unwrap();
    let mut given =
        apply::Given { statements: statements.into_iter().map(|s| ("vex.json".to_owned(), s)).collect(), ..apply::Given::default() };
    let packages = || vec![rpm("tomcat", "1:9.0.1-1.el8", "tomcat", ""), rpm("zlib", "1-1.el8", "zlib", "")];
    let without = assess(&db, "rhel", "8", packages(), &given);
    assert_eq!(ids(&without), ["CVE-2026-0001", "CVE-2026-0009"]);
    assert_eq!(of(&without, "CVE-2026-0009").status, Status::Open);
    let sbom = |digest: &str| {
        let text = format!(
            r#"{{"bomFormat":"CycloneDX","metadata":{{"component":{{"bom-ref":"r","name":"shop","purl":"pkg:oci/shop@sha256:{digest}"}}}}}}"#
        );
        subject::of_document(text.as_bytes())
    };
    given.subject = sbom("cd");
    assert_eq!(ids(&assess(&db, "rhel", "8", packages(), &given)), ["CVE-2026-0001", "CVE-2026-0009"], "another image");
    given.subject = sbom("ab");
    assert_eq!(ids(&assess(&db, "rhel", "8", packages(), &given)), ["CVE-2026-0009"]);
}

/// A repository of each vendor's form.
fn updateinfo(id: &str, kind: &str, severity: &str, collection: &str, packages: &str, more: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><updates><update from="x" status="final" type="{kind}" version="1"><id>{id}</id><title>{id} &amp; more</title>
        <severity>{severity}</severity><release>r</release><issued date="2026-02-10 12:00:00"/><updated date="2026-02-11 12:00:00"/>
        <references><reference href="h" id="CVE-2026-0001" type="cve" title="CVE-2026-0001"/><reference href="h" id="123" type="bugzilla"/></references>
        <pkglist><collection short="{collection}"><name>{collection}</name>{packages}</collection></pkglist>{more}</update></updates>"#
    )
}

fn package(name: &str, epoch: &str, version: &str, release: &str) -> String {
    format!(
        r#"<package name="{name}" version="{version}" release="{release}" epoch="{epoch}" arch="x86_64" src="s.src.rpm"><filename>f</filename><reboot_suggested>True</reboot_suggested></package>"#
    )
}

#[test]
fn updateinfo_of_every_vendor_is_read_for_its_release() {
    let cases = [
        ("ALSA-2026:1", "almalinux", "9.5", "almalinux-9", "1.el9_5.2", "1.el9_5.1"),
        ("RLSA-2026:1", "rocky", "8.10", "Rocky Linux 8", "1.el8_10", "0.el8"),
        ("ALAS2023-2026-1", "amzn", "2023", "amazon-linux-2023", "1.amzn2023.0.2", "1.amzn2023.0.1"),
        ("ALAS-2026-1", "amzn", "2", "amazon-linux-2", "1.amzn2.0.2", "1.amzn2.0.1"),
        ("FEDORA-2026-abc", "fedora", "41", "F41", "1.fc41", "0.fc41"),
        ("SUSE-SLE-Module-Basesystem-15-SP5-2026-1", "sles", "15.5", "SLE-Module-Basesystem-15-SP5", "150500.3.2", "150500.3.1"),
        ("SUSE-2026-1", "sles", "15.5", "updates", "150500.3.2", "150500.3.1"),
        ("openSUSE-SLE-15.6-2026-1", "opensuse-leap", "15.6", "openSUSE-SLE-15.6", "150600.3.2", "150600.3.1"),
        ("openSUSE-2026-1", "opensuse-leap", "15.6", "x", "lp156.2.1", "lp156.1.1"),
        ("RHSA-2026:1", "rhel", "9.4", "rhel-9", "2.el9", "1.el9"),
        ("ELSA-2026-1", "ol", "9.4", "ol9", "2.el9", "1.el9"),
    ];
    for (id, distribution, version, collection, fixed, old) in cases {
        let text = updateinfo(id, "security", "Important", collection, &package("bind", "32", "9.16", fixed), "");
        let (_keep, db) = import(&[("repo/repodata/updateinfo.xml", &text)]);
        let bind = |release: &str| vec![rpm("bind", &format!("32:9.16-{release}"), "bind", "")];
        let found = plain(&db, distribution, version, bind(old));
        let finding = of(&found, "CVE-2026-0001");
        assert_eq!((finding.advisories[0].as_str(), finding.urgency, finding.reboot_suggested), (id, Some(Urgency::Important), true));
        assert!(plain(&db, distribution, version, bind(fixed)).findings.is_empty(), "{id}");
    }
}

#[test]
fn updateinfo_tells_kinds_and_streams_apart_as_the_vendor_does() {
    let kinds = [
        ("security", Class::Security),
        ("bugfix", Class::Bugfix),
        ("recommended", Class::Bugfix),
        ("enhancement", Class::Enhancement),
        ("newpackage", Class::NewPackage),
    ];
    let old = || vec![rpm("nodejs", "1:18.1-1.module+el9+1+a", "nodejs", "nodejs:18")];
    for (kind, class) in kinds {
        let module = format!(
            r#"<module name="nodejs" stream="18" version="9" context="c" arch="x86_64"/>{}"#,
            package("nodejs", "1", "18.2", "1.module+el9+2+a")
        );
        let (_keep, db) = import(&[("updateinfo.xml", &updateinfo("ALSA-2026:1", kind, "", "m", &module, ""))]);
        let assessment = plain(&db, "almalinux", "9.5", old());
        assert_eq!(of(&assessment, "CVE-2026-0001").class, class, "{kind}");
        let other = vec![rpm("nodejs", "1:16.1-1.module+el9+1+a", "nodejs", "nodejs:16"), rpm("nodejs", "1:16.1-1.el9", "nodejs", "")];
        assert!(plain(&db, "almalinux", "9.5", other).findings.is_empty());
    }
}

#[test]
fn hostile_xml_is_refused_in_bounded_memory() {
    let keep = tempfile::tempdir().unwrap();
    let laughs =
        "<?xml version=\"1.0\"?><!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]><updates><update><id>&b;</id></update></updates>"
            .to_owned();
    let good = updateinfo("ALSA-2026:1", "security", "Low", "c", &package("a", "0", "1", "1.el9"), "");
    let cases = [
        (laughs, "document type"),
        (good.replace("&amp;", "&bomb;"), "not one of XML's"),
        (good[..good.len() - 20].to_owned(), "malformed XML"),
        (good.replace("</updates>", ""), "cut short"),
        (good.replace("</pkglist>", ""), "malformed XML"),
        (good.replace("<severity>", &format!("<severity>{}", "<d>".repeat(200))), "nested deeper"),
        (good.replace("x86_64", &"x".repeat(5 << 20)), "longer than"),
        (good.replace("ALSA-2026:1", "NOBODY-1"), "no updateinfo records"),
        (good.replace("name=\"a\"", ""), "without a name"),
        (good.replace("name=\"a\"", "name=\"a\" name=\"b\""), "malformed XML"),
        ("<updates/>".to_owned(), "no updateinfo records"),
    ];
    for (text, want) in cases {
        let path = keep.path().join("updateinfo.xml");
        fs::write(&path, &text).unwrap();
        let why = take(keep.path(), &path).unwrap_err().to_string();
        assert!(why.contains(want), "{want}: {why}");
    }
}

#[test]
fn a_bad_feed_keeps_the_last_good_one_and_says_so() {
    let keep = tempfile::tempdir().unwrap();
    let (csaf, xml) = (keep.path().join("in/a.json"), keep.path().join("in/updateinfo.xml"));
    fs::create_dir(keep.path().join("in")).unwrap();
    let document = red_hat("RHSA-2026:1", RED_HAT, r#"{"fixed":["EL8/tomcat"]}"#, "");
    fs::write(&csaf, &document).unwrap();
    fs::write(&xml, updateinfo("ALSA-2026:1", "security", "Low", "c", &package("a", "0", "1", "1.el9"), "")).unwrap();
    assert_eq!(take(keep.path(), &keep.path().join("in")).unwrap().taken.len(), 2);
    let branch = r#"{"category":"c","name":"n","branches":["#;
    let deep = document.replace(
        "\"branches\":[{\"category\":\"vendor\"",
        &format!("\"branches\":[{}{},{{\"category\":\"vendor\"", branch.repeat(100), "]}".repeat(100)),
    );
    assert_ne!(deep, document);
    let twice = document.replace("\"title\":\"t\"", "\"title\":\"t\",\"title\":\"t\"");
    let wrong = document.replace("\"product_status\":{", "\"product_status\":3,\"y\":{");
    let ids = document.replace("\"product_id\":\"zlib\"", "\"product_id\":\"tomcat\"");
    for bad in [&document[..document.len() - 30], &deep, &twice, &wrong, &ids, &document.replace("\"2.0\"", "\"1.2\"")] {
        fs::write(&csaf, bad).unwrap();
        let outcome = take(keep.path(), &keep.path().join("in")).unwrap();
        assert!(outcome.refused.len() == 1 && outcome.refused[0].contains("the last good one stays"), "{:?}", outcome.refused);
        let db = database::open(&keep.path().join("feeds/advisories.db")).unwrap();
        assert_eq!(ids_of(&db), ["CVE-2026-0001"]);
    }
}

fn ids_of(db: &Database<Blocks>) -> Vec<String> {
    let assessment = plain(db, "rhel", "8", vec![rpm("tomcat", "1:9.0.1-1.el8", "tomcat", "")]);
    assessment.findings.into_iter().map(|finding| finding.id).collect()
}

#[test]
fn alpine_s_secdb_knows_fixes_and_what_was_never_affected() {
    let secdb = r#"{"apkurl":"u","archs":["x86_64"],"reponame":"main","urlprefix":"p","distroversion":"v3.20","packages":[
        {"pkg":{"name":"zlib","secfixes":{"1.3.1-r1":["CVE-2026-0001 XSA-7"],"0":["CVE-2026-0002"]}}},{"pkg":{"name":"none","secfixes":[]}}]}"#;
    let (_keep, db) = import(&[("v3.20/main.json", secdb)]);
    let apk = |name: &str, version: &str| Component {
        kind: "apk".into(),
        name: name.into(),
        version: version.into(),
        source: Some(("zlib".into(), version.into())),
        ..Component::default()
    };
    assert_eq!(ids(&plain(&db, "alpine", "3.20.3", vec![apk("zlib-dev", "1.3.1-r0")])), ["CVE-2026-0001"]);
    assert!(plain(&db, "alpine", "3.20.3", vec![apk("zlib", "1.3.1-r1")]).findings.is_empty());
    let twice = secdb.replace("\"reponame\"", "\"distroversion\":\"v3.19\",\"reponame\"");
    let keep = tempfile::tempdir().unwrap();
    fs::write(keep.path().join("main.json"), twice).unwrap();
    assert!(take(keep.path(), &keep.path().join("main.json")).unwrap_err().to_string().contains("twice"));
}

#[test]
fn a_fix_that_needs_a_subscription_is_published_but_not_installable() {
    let entry = |ecosystem: &str, events: &str| {
        format!(
            r#"{{"package":{{"ecosystem":"{ecosystem}","name":"zlib"}},"ranges":[{{"type":"ECOSYSTEM","events":[{{"introduced":"0"}}{events}]}}]}}"#
        )
    };
    let record = |id: &str, cve: &str, affected: &[String]| {
        format!(
            r#"{{"id":"{id}","modified":"2026-02-18T00:00:00Z","published":"2026-02-01T00:00:00Z","upstream":["{cve}"],"affected":[{}]}}"#,
            affected.join(",")
        )
    };
    let fixed = |version: &str| format!(r#",{{"fixed":"{version}"}}"#);
    let all = [
        record(
            "UBUNTU-CVE-2026-0001",
            "CVE-2026-0001",
            &[entry("Ubuntu:22.04:LTS", ""), entry("Ubuntu:Pro:22.04:LTS", &fixed("1.2-1ubuntu1+esm1"))],
        ),
        record(
            "UBUNTU-CVE-2026-0002",
            "CVE-2026-0002",
            &[entry("Ubuntu:22.04:LTS", &fixed("1.2-1ubuntu2")), entry("Ubuntu:Pro:22.04:LTS", &fixed("1.2-1ubuntu3"))],
        ),
        record("UBUNTU-CVE-2026-0003", "CVE-2026-0003", &[entry("Ubuntu:22.04:LTS", "")]),
        record("USN-7000-1", "CVE-2026-0004", &[entry("Ubuntu:22.04:LTS", &fixed("1.2-1ubuntu1"))]),
    ]
    .join("\n");
    let (_keep, db) = import(&[("ubuntu.jsonl", &all)]);
    let deb = |version: &str| {
        let source = Some(("zlib".to_owned(), version.to_owned()));
        vec![Component {
            kind: "deb".into(),
            namespace: "ubuntu".into(),
            name: "zlib1g".into(),
            version: version.into(),
            source,
            ..Component::default()
        }]
    };
    let assessment = plain(&db, "ubuntu", "22.04", deb("1.2-1ubuntu1"));
    assert_eq!(ids(&assessment), ["CVE-2026-0001", "CVE-2026-0002", "CVE-2026-0003"]);
    let paid = of(&assessment, "CVE-2026-0001");
    assert_eq!(
        (paid.status, paid.fixed.as_deref(), paid.note.as_str()),
        (Status::Fixed, Some("1.2-1ubuntu1+esm1"), "fix needs Ubuntu Pro")
    );
    assert_eq!(paid.installable, Installable::No { packages: vec!["zlib1g".into()] });
    let free = of(&assessment, "CVE-2026-0002");
    assert_eq!((free.fixed.as_deref(), &free.installable), (Some("1.2-1ubuntu2"), &Installable::Unknown));
    assert_eq!(of(&assessment, "CVE-2026-0003").status, Status::Open);
    assert_eq!(ids(&plain(&db, "ubuntu", "22.04", deb("1.2-1ubuntu2+esm1"))), ["CVE-2026-0003"]);
}

#[test]
fn modular_packages_of_osv_records_are_of_the_stream_that_the_record_names() {
    let record = r#"{"id":"ALSA-2026:9","modified":"2026-02-18T00:00:00Z","summary":"Important: nodejs:18 security update","related":["CVE-2026-0001"],"affected":[{"package":{"ecosystem":"AlmaLinux:8","name":"nodejs"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1:18.2-1.module_el8.9.0+1+a"}]}]}]}"#;
    let (_keep, db) = import(&[("alma.jsonl", record)]);
    let node = |module: &str| vec![rpm("nodejs", "1:16.1-1.module_el8.9.0+1+a", "nodejs", module)];
    assert_eq!(ids(&plain(&db, "almalinux", "8.9", node("nodejs:18"))), ["CVE-2026-0001"]);
    assert!(plain(&db, "almalinux", "8.9", node("nodejs:16")).findings.is_empty());
}
