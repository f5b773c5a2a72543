//! CSV of any scanner or spreadsheet (RFC 4180; comma, semicolon or tab): columns are told by their heading.

use super::{Foreign, Report};

/// Headings by what they mean, in lower case and without spaces, dashes and underscores.
const ID: [&str; 9] = ["id", "cve", "cveid", "cves", "vulnerability", "vulnerabilityid", "vulnid", "cveidentifier", "vulnerabilityname"];
const PACKAGE: [&str; 9] = ["package", "packagename", "pkgname", "pkg", "component", "componentname", "name", "library", "affectedpackage"];
const VERSION: [&str; 7] =
    ["version", "installedversion", "installed", "currentversion", "packageversion", "componentversion", "affectedversion"];
const FIXED: [&str; 6] = ["fixed", "fixedversion", "fixversion", "fixedin", "fixedinversion", "fix"];
const SEVERITY: [&str; 4] = ["severity", "risk", "cvssseverity", "level"];
const PURL: [&str; 3] = ["purl", "packageurl", "packagepurl"];
const KIND: [&str; 4] = ["type", "packagetype", "pkgtype", "ecosystem"];
/// Our own reports name the source first.
const SOURCE: [&str; 2] = ["source", "sourcepackage"];

struct Columns {
    id: usize,
    package: usize,
    version: Option<usize>,
    fixed: Option<usize>,
    severity: Option<usize>,
    purl: Option<usize>,
    kind: Option<usize>,
}

impl Columns {
    fn of(header: &[String]) -> Result<Self, String> {
        let plain = |text: &str| -> String { text.to_lowercase().chars().filter(|c| !matches!(c, ' ' | '-' | '_' | '#')).collect() };
        let heads: Vec<String> = header.iter().map(|cell| plain(cell.trim())).collect();
        let find = |names: &[&str]| names.iter().find_map(|name| heads.iter().position(|head| head == name));
        let missing = |what: &str| {
            let shown = crate::text::printable(&header.join(", "), 200);
            format!("its first line names no column for the {what} (such as `id` or `package`); it has: {shown}")
        };
        Ok(Self {
            id: find(&ID).ok_or_else(|| missing("vulnerability"))?,
            package: find(&PACKAGE).or_else(|| find(&SOURCE)).ok_or_else(|| missing("package"))?,
            version: find(&VERSION),
            fixed: find(&FIXED),
            severity: find(&SEVERITY),
            purl: find(&PURL),
            kind: find(&KIND),
        })
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Report, String> {
    let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let count = |byte: u8| first.iter().filter(|b| **b == byte).count();
    let delimiter = [b',', b';', b'\t'].into_iter().max_by_key(|byte| (count(*byte), *byte == b',')).unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(bytes);
    let mut rows = reader.byte_records();
    let cells = |record: csv::ByteRecord| -> Vec<String> { record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect() };
    let header = rows.next().transpose().map_err(|error| format!("malformed CSV: {error}"))?.map(cells).unwrap_or_default();
    let columns = Columns::of(&header)?;
    let mut report = Report { form: "CSV".into(), ..Report::default() };
    for (at, row) in rows.enumerate() {
        let row = cells(row.map_err(|error| format!("malformed CSV: {error}"))?);
        // A cell that a spreadsheet would run carries an apostrophe.
        let cell = |at: Option<usize>| at.and_then(|at| row.get(at)).map(|cell| cell.trim().trim_start_matches('\'')).unwrap_or_default();
        if row.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        // One line may name several vulnerabilities.
        for id in cell(Some(columns.id)).split([' ', ',', ';', '|']).filter(|id| !id.is_empty()).chain(blank(cell(Some(columns.id)))) {
            let foreign = Foreign {
                id: id.to_owned(),
                aliases: Vec::new(),
                package: cell(Some(columns.package)).to_owned(),
                version: cell(columns.version).to_owned(),
                fixed: cell(columns.fixed).to_owned(),
                severity: cell(columns.severity).to_lowercase(),
                purl: cell(columns.purl).to_owned(),
                kind: kind(cell(columns.kind)).to_owned(),
            };
            report.add(foreign, || format!("line {}", at + 2))?;
        }
    }
    Ok(report)
}

/// One empty id for an empty cell, so that the line is named.
fn blank(cell: &str) -> Option<&'static str> {
    cell.trim().is_empty().then_some("")
}

fn kind(word: &str) -> &'static str {
    match word.to_lowercase().as_str() {
        "deb" | "debian" | "ubuntu" | "dpkg" => "deb",
        "rpm" | "redhat" | "almalinux" | "rocky" => "rpm",
        "apk" | "alpine" => "apk",
        "cargo" | "crates.io" | "rust" => "cargo",
        "golang" | "go" | "go-module" => "golang",
        "maven" | "java" | "jar" => "maven",
        "npm" | "node" => "npm",
        "pypi" | "python" => "pypi",
        "gem" | "rubygems" | "ruby" => "gem",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;

    #[test]
    fn headings_separators_and_lists_of_ids_are_understood() {
        let comma = "CVE ID,Package Name,Installed Version,Severity\nCVE-2026-0002,web,1.0-1,High\n";
        let semicolon = "\u{feff}Vulnerability;Component;Version\n\"CVE-2026-0002\";\"web\";\"1.0-1\"\n;web;1\n";
        let tabs = "id\tname\tinstalled_version\nCVE-2026-0002, CVE-2026-0003\tweb\t1.0-1\n";
        for (text, found, unknown) in [(comma, 1, 0), (semicolon, 1, 1), (tabs, 2, 0)] {
            let report = read(text.as_bytes()).unwrap();
            assert_eq!((report.findings.len(), report.unknown.len()), (found, unknown), "{report:?}");
            let one = &report.findings[0];
            assert_eq!((one.id.as_str(), one.package.as_str(), one.version.as_str()), ("CVE-2026-0002", "web", "1.0-1"));
        }
        assert!(read(b"when,what\n1,2\n").unwrap_err().contains("vulnerability"));
    }
}
