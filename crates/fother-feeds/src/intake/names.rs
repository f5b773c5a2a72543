//! What a feed is called: the same from one day to the next, so that a newer file takes an older one's place. Pure.

use crate::vendor::Kind;
use fother_core::text::printable;

/// Most folders of an rpm repository's address that are a part of its feed's name.
const FOLDERS_MAX: usize = 5;
/// Endings that say how a file is packed or written.
const ENDS: [&str; 12] = [".gz", ".xz", ".zst", ".lz4", ".bz2", ".tar", ".zip", ".jsonl", ".json", ".osv", ".xml", ".txt"];

/// The name of a feed: its kind, and for kinds with several feeds the file's name without packing and day.
pub fn feed(kind: Kind, origin: &str) -> String {
    if kind.is_single() {
        return kind.name().to_owned();
    }
    let file = origin.rsplit('/').next().unwrap_or(origin);
    let stem = ENDS.iter().fold(file, |name, end| name.strip_suffix(end).unwrap_or(name));
    let folder = || origin.rsplit('/').nth(1).unwrap_or(stem).to_owned();
    let name = match kind {
        // The file's name changes with its bytes; the repository is told by its folders.
        Kind::Updateinfo if origin.contains("/repodata/") => repository(origin),
        // `main.json` stands in each release's folder.
        Kind::AlpineSecdb if matches!(stem, "main" | "community" | "testing") => format!("{}-{stem}", folder()),
        Kind::Csaf => without_day(stem).to_owned(),
        // `all.zip` of an ecosystem's folder is named by the folder.
        _ if stem == "all" || stem == "list" => folder(),
        _ => stem.to_owned(),
    };
    format!("{}/{}", kind.name(), printable(&name, 100))
}

/// `appstream-3cd…` of a package manager's cache, `pub-rocky-9-BaseOS-x86_64-os` of an address.
fn repository(origin: &str) -> String {
    let above = origin.split("/repodata/").next().unwrap_or(origin);
    let path = above.split_once("://").map_or(above, |(_, rest)| rest);
    if path.len() == above.len() {
        return path.rsplit('/').next().unwrap_or(path).to_owned();
    }
    let folders: Vec<&str> = path.split('/').skip(1).collect();
    folders[folders.len().saturating_sub(FOLDERS_MAX)..].join("-")
}

/// `csaf_vex` of `csaf_vex_2026-01-31`.
fn without_day(stem: &str) -> &str {
    let at = stem.len().checked_sub(10).filter(|at| stem.is_char_boundary(*at));
    let day = at.filter(|at| fother_core::advisory::Day::parse(&stem[*at..]).is_some());
    day.map_or(stem, |at| stem[..at].trim_end_matches(['_', '-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_keeps_its_name_from_day_to_day() {
        let cases = [
            (Kind::Kev, "/x/kev-2026.json", "kev"),
            (Kind::Osv, "https://x.test/Alpine/all.zip", "osv/Alpine"),
            (Kind::Csaf, "https://x.test/csaf_vex_2026-01-31.tar.zst", "csaf/csaf_vex"),
            (Kind::AlpineSecdb, "https://x.test/v3.20/main.json", "alpine-secdb/v3.20-main"),
            (Kind::Updateinfo, "/var/cache/dnf/appstream-3cd/repodata/ab12-updateinfo.xml.gz", "updateinfo/appstream-3cd"),
            (
                Kind::Updateinfo,
                "https://x.test/pub/rocky/9/BaseOS/x86_64/os/repodata/ab-updateinfo.xml.gz",
                "updateinfo/rocky-9-BaseOS-x86_64-os",
            ),
            (Kind::Updateinfo, "/x/alma9.updateinfo.xml.zst", "updateinfo/alma9.updateinfo"),
        ];
        for (kind, origin, want) in cases {
            assert_eq!(feed(kind, origin), want);
        }
    }
}
