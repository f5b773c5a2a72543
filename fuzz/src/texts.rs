//! Small texts: versions, package URLs, CVSS, control data, dates.

use super::{Target, texts_of};
use fother_core::{
    advisory::{self, Day},
    cvss,
    deb822::{Stanza, stanzas},
    image::Image,
    purl::Purl,
    ssvc,
    version::scheme::Scheme,
    vex::{Product, subject},
};
use std::cmp::Ordering;

pub const ALL: &[Target] = &[
    Target { name: "version-dpkg", run: |d| order(d, Scheme::Dpkg), seeds: version_seeds },
    Target { name: "version-rpm", run: |d| order(d, Scheme::Rpm), seeds: version_seeds },
    Target { name: "version-apk", run: |d| order(d, Scheme::Apk), seeds: version_seeds },
    Target { name: "version-semver", run: |d| order(d, Scheme::Semver), seeds: version_seeds },
    Target { name: "version-pep440", run: |d| order(d, Scheme::Pep440), seeds: version_seeds },
    Target { name: "version-gem", run: |d| order(d, Scheme::Gem), seeds: version_seeds },
    Target { name: "version-maven", run: |d| order(d, Scheme::Maven), seeds: version_seeds },
    Target { name: "version-composer", run: |d| order(d, Scheme::Composer), seeds: version_seeds },
    Target { name: "purl", run: purl, seeds: purl_seeds },
    Target {
        name: "image-reference",
        run: reference,
        seeds: || texts_of(&["ghcr.io/acme/app:1.2", "debian:12", "localhost:5000/a@sha256:00", "a"]),
    },
    Target { name: "sbom-subject", run: subject, seeds: subject_seeds },
    Target { name: "cvss", run: score, seeds: cvss_seeds },
    Target { name: "deb822", run: deb822, seeds: deb822_seeds },
    Target { name: "days", run: days, seeds: || texts_of(&["2026-02-29", "2024-02-29", "CVE-2026-12345", "CVE-1999-0001"]) },
    Target { name: "ssvc-table", run: table, seeds: || texts_of(&["row,A,B,Out\n1,x,\"y, z\",act\n2,q,\"y, z\",track\n"]) },
];

/// What an archive calls an image gives a package URL that means this image, and a statement on another digest never does.
fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let digest = |n: u8| format!("sha256:{}", format!("{n:02x}").repeat(32));
    let mut image = Image { manifest: Some(digest(1)), digests: [digest(1)].into(), platform: "linux/amd64".into(), ..Image::default() };
    image.refer(text);
    if let Some(purl) = image.purl() {
        assert!(image.is(&Product::of_purl(&purl).expect("what is written is a package URL")), "{purl}");
    }
    if let Ok(said) = Product::of_purl(text) {
        let other = Image { digests: [digest(2)].into(), references: Vec::new(), ..image };
        let is_that = text.contains(&"02".repeat(32));
        assert!(is_that || !other.is(&said), "an image without a name is meant by {text:?}");
    }
}

fn subject_seeds() -> Vec<Vec<u8>> {
    texts_of(&[
        r#"{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":"urn:uuid:1","metadata":{"component":{"type":"container","bom-ref":"i","name":"a","purl":"pkg:oci/a@sha256:00"}},"components":[{"type":"library","bom-ref":"b","name":"b"}]}"#,
        r#"{"spdxVersion":"SPDX-2.3","packages":[{"SPDXID":"SPDXRef-Image","name":"a","checksums":[{"algorithm":"SHA256","checksumValue":"AB"}],"externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:oci/a"}]}],"relationships":[{"spdxElementId":"SPDXRef-DOCUMENT","relationshipType":"DESCRIBES","relatedSpdxElement":"SPDXRef-Image"}]}"#,
    ])
}

fn subject(data: &[u8]) {
    let subject = subject::of_document(data);
    assert!(subject.image.is_none(), "a document is no image");
    assert_eq!(subject.named("urn:cdx:other/1#x"), None, "a link into another document names something here");
}

fn version_seeds() -> Vec<Vec<u8>> {
    texts_of(&[
        "1.0-1\n1.0-1+b1\n1.0~rc1-1",
        "1:2.38.1-5+deb12u3\n2:0\n0",
        "1.2.3-alpha.1\n1.2.3-alpha.beta\n1.2.3+build",
        "1!2.0.post1.dev3+local.1\n2.0rc1\n2.0",
        "1.2.3_pre1-r4\n1.2.3b\n1.2_git20200101",
        "1.0^git1\n1.0~~\n1..0",
        "00001\n1\n1.",
        "1.0.a.2\n1.0.pre.1\n1.0-1",
        "1-alpha-1\n1.0.0.RC1\n31.1-jre",
        "v1.0.0-RC1-dev\n1.0.0-p1\n1.0-beta.2",
        "99999999999999999999999\n9223372036854775808\n18446744073709551616",
    ])
}

/// An order is reflexive, antisymmetric, transitive and total over what it takes for versions.
fn order(data: &[u8], scheme: Scheme) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parts: Vec<&str> = text.split('\n').take(3).collect();
    for one in &parts {
        if let Some(order) = scheme.compare(one, one) {
            assert_eq!(order, Ordering::Equal, "{scheme:?}: {one:?} is not equal to itself");
        }
    }
    let valid = |text: &str| scheme.compare(text, text).is_some();
    let [a, b, c] = parts.as_slice() else { return };
    let compare = |x: &str, y: &str| {
        let (there, back) = (scheme.compare(x, y), scheme.compare(y, x));
        assert_eq!(there.map(Ordering::reverse), back, "{scheme:?}: {x:?} and {y:?} are not antisymmetric");
        assert_eq!(there.is_some(), valid(x) && valid(y), "{scheme:?}: {x:?} and {y:?}: not total");
        there
    };
    // rpm compares releases only where both have one: such versions are no order among themselves, and no vendor mixes them.
    if scheme == Scheme::Rpm && parts.iter().any(|part| part.contains('-') != a.contains('-')) {
        return;
    }
    let (Some(ab), Some(bc), Some(ac)) = (compare(a, b), compare(b, c), compare(a, c)) else { return };
    if ab == bc {
        assert_eq!(ac, ab, "{scheme:?}: {a:?} {b:?} {c:?} are not transitive");
    }
    if ab == Ordering::Equal {
        assert_eq!(ac, bc, "{scheme:?}: {a:?} and {b:?} are equal but differ against {c:?}");
    }
}

fn purl_seeds() -> Vec<Vec<u8>> {
    texts_of(&[
        "pkg:deb/debian/bsdutils@1:2.38.1-5%2Bdeb12u3?arch=amd64&distro=debian-12.11&epoch=1",
        "pkg:npm/%40angular/animation@12.3.1",
        "pkg:golang/google.golang.org/genproto#googleapis/api/annotations",
        "pkg:git/github.com/a/b/c@1",
        "pkg:PyPI/Django_x@1.0?upstream=a%26b=c",
        "pkg:rpm/fedora/curl@7.50.3-1.fc25?arch=i386",
        "pkg:/maven//a.b/c@%31",
        "pkg:oci/debian@sha256%3A244?repository_url=x/y",
    ])
}

fn purl(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(first) = Purl::parse(text) else { return };
    let printed = first.to_string();
    let again = Purl::parse(&printed).unwrap_or_else(|error| panic!("{text:?} prints as {printed:?}, which cannot be read: {error}"));
    assert_eq!(again, first, "{text:?} prints as {printed:?}");
    assert_eq!(again.to_string(), printed);
}

fn cvss_seeds() -> Vec<Vec<u8>> {
    texts_of(&[
        "CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:L/I:N/A:N",
        "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N/E:A",
        "AV:N/AC:L/Au:N/C:P/I:P/A:P",
        "CVSS:3.0/AV:P/AC:H/PR:H/UI:R/S:C/C:H/I:H/A:H/E:U/RL:O/RC:U",
    ])
}

fn score(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = cvss::version(text);
    if let Some(score) = cvss::score(text) {
        assert!(score.0 <= 100, "{text:?} scores {score:?}");
        let _ = score.severity();
    }
}

fn deb822_seeds() -> Vec<Vec<u8>> {
    texts_of(&["Package: a\nDepends: b,\n c\n# x\nDescription: x\n long\n .\n\n\nPackage: d\n", "A:b\r\n c\r\n\r\nX : y", ": \n:\n"])
}

fn deb822(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for raw in stanzas(&text) {
        assert!(!raw.is_empty() && !raw.contains("\n\n"), "a stanza holds a blank line: {raw:?}");
        let stanza = Stanza::parse(raw);
        let printed: String = stanza.fields().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let fine = stanza.fields().all(|(name, value)| {
            !name.is_empty()
                && !name.starts_with([' ', '\t', '#'])
                && !value.contains('\r')
                && name.trim() == name
                && !value.contains("\n#")
        });
        if fine {
            assert_eq!(Stanza::parse(&printed), stanza, "{raw:?} prints as {printed:?}");
        }
    }
}

fn days(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(day) = Day::parse(text).filter(|day| day.is_known()) {
        assert_eq!(Day::parse(&day.to_string()), Some(day), "{text:?}");
    }
    if let Some(key) = advisory::cve_key(text) {
        assert_eq!(advisory::cve_text(key), text, "two ids have one key");
    }
    let _ = fother_feeds::release::parse_date(text);
    if let Ok(time) = text.parse::<fother_core::Timestamp>() {
        assert_eq!(time.to_string().parse(), Ok(time), "{text:?}");
    }
}

fn table(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(table) = ssvc::Table::parse(text) else { return };
    let open = table.open(&vec![None; table.inputs.len()]);
    assert_eq!(open.len(), table.rows().count(), "a row is out of reach");
}
