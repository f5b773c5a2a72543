//! Vectors from outside the project, read from `FOTHER_SHARED` (default `../shared` beside the workspace); each test says when it is skipped.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    cvss,
    purl::Purl,
    ssvc,
    version::{self, apk, rpm},
};
use serde_json::Value;
use std::{cmp::Ordering, collections::BTreeSet, fs, path::PathBuf};

/// A file or folder below the shared vectors; `None`, with the reason printed, where it is absent.
fn shared(path: &str) -> Option<PathBuf> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("FOTHER_SHARED").map_or(default, PathBuf::from);
    let path = root.join("vectors").join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is absent (set FOTHER_SHARED)", path.display());
    None
}

fn order_of(text: &str) -> Ordering {
    match text {
        "-1" | "<" => Ordering::Less,
        "0" | "=" => Ordering::Equal,
        "1" | ">" => Ordering::Greater,
        other => panic!("no order: {other}"),
    }
}

fn tsv(path: PathBuf, compare: impl Fn(&str, &str) -> Ordering) -> usize {
    let text = fs::read_to_string(path).unwrap();
    let mut count = 0;
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        let [a, b, want] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!(compare(a, b), order_of(want), "{line}");
        assert_eq!(compare(b, a), order_of(want).reverse(), "reversed: {line}");
        count += 1;
    }
    count
}

#[test]
fn dpkg_orders_as_dpkg_says() {
    let Some(path) = shared("version/dpkg-Dpkg_Version.tsv") else { return };
    assert_eq!(tsv(path, |a, b| version::compare_text(a, b).unwrap()), 43);
}

#[test]
fn rpm_orders_as_rpm_says() {
    let Some(path) = shared("version/rpm-rpmvercmp.tsv") else { return };
    assert_eq!(tsv(path, rpm::segments), 91);
}

#[test]
fn apk_orders_as_apk_says() {
    let Some(path) = shared("version/apk-version.data") else { return };
    let (mut orders, mut validity) = (0, 0);
    for line in fs::read_to_string(path).unwrap().lines() {
        let line = line.split('#').next().unwrap().trim();
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [] => {}
            [a, "~", b] => assert!(apk::is_within(a, b), "{line}"),
            [a, "!~", b] => assert!(!apk::is_within(a, b), "{line}"),
            // `<~` and `>~`: smaller or within, greater or within.
            [a, "<~", b] => assert!(apk::is_within(a, b) || apk::compare(a, b).is_lt(), "{line}"),
            [a, ">~", b] => assert!(apk::is_within(a, b) || apk::compare(a, b).is_gt(), "{line}"),
            [a, order, b] => {
                assert_eq!(apk::compare(a, b), order_of(order), "{line}");
                assert_eq!(apk::compare(b, a), order_of(order).reverse(), "reversed: {line}");
                orders += 1;
            }
            [text] => {
                let (want, text) = text.strip_prefix('!').map_or((true, text), |text| (false, text));
                assert_eq!(apk::is_valid(text), want, "{line}");
                validity += 1;
            }
            _ => panic!("{line}"),
        }
    }
    assert!(orders > 700 && validity > 10, "{orders} {validity}");
}

fn cvss_file(name: &str) -> usize {
    let Some(path) = shared(&format!("cvss/{name}")) else { return 0 };
    let mut count = 0;
    for line in fs::read_to_string(path).unwrap().lines().filter(|line| !line.is_empty()) {
        let (vector, scores) = line.split_once(" - (").unwrap();
        let base = scores.split([',', ')']).next().unwrap();
        assert_eq!(cvss::score(vector).map(|s| s.to_string()).as_deref(), Some(base), "{line}");
        count += 1;
    }
    count
}

#[test]
fn cvss_base_scores_are_exact() {
    if shared("cvss").is_some() {
        assert_eq!((cvss_file("vectors_simple31"), cvss_file("vectors_simple4")), (2592, 1058));
    }
}

fn purl_of(input: &Value) -> Option<Purl> {
    let text = |key: &str| input[key].as_str().map(str::to_owned);
    let qualifiers = input["qualifiers"].as_object().into_iter().flatten();
    let purl = Purl {
        kind: text("type")?,
        namespace: text("namespace"),
        name: text("name")?,
        version: text("version"),
        qualifiers: qualifiers.map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect(),
        subpath: text("subpath"),
    };
    purl.normalised().ok()
}

/// What one case gives: the canonical text of a build or a round trip, the parts of a parse.
fn purl_result(case: &Value) -> Option<(Purl, String)> {
    let purl = match case["test_type"].as_str().unwrap() {
        "build" => purl_of(&case["input"])?,
        _ => Purl::parse(case["input"].as_str().unwrap()).ok()?,
    };
    let text = purl.to_string();
    Some((purl, text))
}

#[test]
fn package_urls_read_and_write_as_the_specification_says() {
    // Two inputs must fail as "parse" and succeed as "validate" with the same text: capitals in type and keys.
    // A reader of foreign SBOMs takes them in.
    let lenient: BTreeSet<&str> =
        ["pkg:Rpm/fedora/curl@7.50.3-1.fc25?Arch=i386&Distro=fedora-25", "pkg:gem/jruby-launcher@1.1.2?Platform=java"].into();
    let Some(dir) = shared("purl") else { return };
    let (mut count, mut bad) = (0, Vec::new());
    for entry in fs::read_dir(dir).unwrap() {
        let file: Value = serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
        for case in file["tests"].as_array().unwrap() {
            count += 1;
            let got = purl_result(case);
            let want = &case["expected_output"];
            let fine = match (case["expected_failure"].as_bool().unwrap(), &got) {
                (true, None) => true,
                (true, Some(_)) => lenient.contains(case["input"].as_str().unwrap_or_default()),
                (false, None) => false,
                (false, Some((purl, text))) => match want.as_str() {
                    Some(want) => text == want,
                    None => purl_of(want).is_some_and(|want| want == *purl),
                },
            };
            if !fine {
                bad.push(format!("{} {} -> {:?}, not {want}", case["test_type"], case["input"], got.map(|g| g.1)));
            }
        }
    }
    assert!(bad.is_empty(), "{} of {count}:\n{}", bad.len(), bad.join("\n"));
    assert_eq!(count, 586);
}

#[test]
fn decision_tables_read_row_by_row() {
    let Some(dir) = shared("ssvc") else { return };
    let mut tables = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let csv = fs::read_to_string(&path).unwrap();
        let table = ssvc::Table::parse(&csv).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        assert_eq!(table.rows().count(), csv.lines().filter(|l| !l.is_empty()).count() - 1, "{}", path.display());
        tables += 1;
    }
    assert_eq!(tables, 9);
}

#[test]
fn bod_26_04_has_its_sixteen_rows() {
    let Some(path) = shared("ssvc/cisa_bod_26_04_1_0_0.csv") else { return };
    let table = ssvc::Table::parse(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(table.rows().count(), 16);
    assert_eq!(table.decide(&["yes", "yes", "no", "total"]), Some("3 days & forensic investigation"));
    assert_eq!(table.decide(&["no", "no", "no", "total"]), Some("fix on system upgrade"));
    assert_eq!(table.open(&[Some("yes"), None, Some("yes"), Some("partial")]).len(), 2);
}

#[test]
fn the_built_in_bod_26_04_pack_decides_as_its_table() {
    use fother_core::rank::rules::{Due, Facts, Pack};
    let Some(path) = shared("ssvc/cisa_bod_26_04_1_0_0.csv") else { return };
    let table = ssvc::Table::parse(&fs::read_to_string(path).unwrap()).unwrap();
    let pack = Pack::built_in().unwrap().into_iter().find(|pack| pack.id == "cisa-bod-26-04").unwrap();
    for (inputs, outcome) in table.rows() {
        let yes = |at: usize| Some(matches!(inputs[at].as_str(), "yes" | "total"));
        let facts = Facts { kev: yes(0).unwrap(), publicly_exposed: yes(1), automatable: yes(2), total_impact: yes(3), severity: None };
        let verdict = pack.judge(&facts).unwrap();
        let want = match outcome.split(' ').next().unwrap() {
            "fix" => Due::OnUpgrade,
            days => Due::Days(days.parse().unwrap()),
        };
        assert_eq!(verdict.due, want, "{inputs:?}");
        assert_eq!(verdict.what.contains("forensic"), outcome.contains("forensic"), "{inputs:?}");
        assert!(verdict.missing.is_empty());
    }
}
