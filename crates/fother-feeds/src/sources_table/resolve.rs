//! Addresses that lead to the feed's own: an rpm repository's `repomd.xml`, and the text that names a vendor's newest archive.

use crate::{
    fetch::Fetch,
    vendor::xml::{self, Handler, Tag},
};

/// Largest index, in bytes.
const INDEX_BYTES_MAX: u64 = 16 << 20;

/// Where the feed really is, and the SHA-256 that its index says it has.
///
/// # Errors
/// Where the index cannot be fetched, or names no feed, or one outside of its own folder.
pub fn resolve(fetch: &impl Fetch, url: &str) -> Result<(String, Option<String>), String> {
    let Some((folder, file)) = url.rsplit_once('/') else { return Ok((url.to_owned(), None)) };
    if !matches!(file, "repomd.xml" | "archive_latest.txt") {
        return Ok((url.to_owned(), None));
    }
    let bytes = fetch.get(url, INDEX_BYTES_MAX).map_err(|error| error.to_string())?;
    if file == "archive_latest.txt" {
        let text = String::from_utf8_lossy(&bytes);
        return Ok((format!("{folder}/{}", relative(text.trim())?), None));
    }
    let mut index = Index::default();
    xml::read(bytes.as_slice(), &mut index).map_err(|why| format!("{url}: {why}"))?;
    let (href, sum) = index.found.ok_or_else(|| format!("{url}: the repository has no updateinfo"))?;
    // Its addresses count from the folder above `repodata`.
    let base = folder.rsplit_once('/').map_or(folder, |(base, _)| base);
    Ok((format!("{base}/{}", relative(&href)?), sum))
}

/// A path below its index.
fn relative(path: &str) -> Result<&str, String> {
    let fine = |part: &str| !part.is_empty() && part != ".." && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+~".contains(&b));
    if path.len() < 500 && path.split('/').all(fine) {
        return Ok(path);
    }
    Err(format!("its index names `{}`, which is no path below it", fother_core::text::printable(path, 80)))
}

#[derive(Default)]
struct Index {
    kind: String,
    href: String,
    sum: Option<String>,
    is_sha256: bool,
    found: Option<(String, Option<String>)>,
}

impl Handler for Index {
    fn open(&mut self, _: &[String], name: &str, tag: &Tag<'_>) -> Result<(), String> {
        match name {
            "data" => (self.kind, self.href, self.sum) = (tag.attribute("type")?, String::new(), None),
            "location" => self.href = tag.attribute("href")?,
            "checksum" => self.is_sha256 = tag.attribute("type")? == "sha256",
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, _: &[String], name: &str, text: &str) -> Result<(), String> {
        match name {
            "checksum" if self.is_sha256 => self.sum = Some(text.to_ascii_lowercase()),
            "data" if self.kind == "updateinfo" && !self.href.is_empty() => {
                self.found = Some((std::mem::take(&mut self.href), self.sum.take()));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::FetchError;
    use std::fs::File;

    struct One(&'static str);

    impl Fetch for One {
        fn get_to(&self, _: &str, _: &mut File, _: u64) -> Result<u64, FetchError> {
            Ok(0)
        }

        fn get(&self, _: &str, _: u64) -> Result<Vec<u8>, FetchError> {
            Ok(self.0.into())
        }
    }

    #[test]
    fn an_index_leads_to_the_feed_below_it() {
        let repomd = r#"<repomd><data type="primary"><checksum type="sha256">1</checksum><location href="repodata/p.xml.gz"/></data>
            <data type="updateinfo"><checksum type="sha256">AB</checksum><location href="repodata/ab-updateinfo.xml.gz"/></data></repomd>"#;
        let found = resolve(&One(repomd), "https://x.test/os/repodata/repomd.xml").unwrap();
        assert_eq!(found, ("https://x.test/os/repodata/ab-updateinfo.xml.gz".into(), Some("ab".into())));
        let latest = resolve(&One("csaf_vex_2026-01-31.tar.zst\n"), "https://x.test/vex/archive_latest.txt").unwrap();
        assert_eq!(latest, ("https://x.test/vex/csaf_vex_2026-01-31.tar.zst".into(), None));
        assert_eq!(resolve(&One(""), "https://x.test/kev.json").unwrap().0, "https://x.test/kev.json");
    }

    #[test]
    fn an_index_cannot_lead_elsewhere() {
        for bad in ["../../etc/shadow", "https://evil.test/x", "/etc/shadow", "", "a//b", "a b"] {
            assert!(relative(bad).is_err(), "{bad}");
        }
        assert!(resolve(&One("<repomd/>"), "https://x.test/repodata/repomd.xml").unwrap_err().contains("no updateinfo"));
        let dtd = "<!DOCTYPE x [<!ENTITY a \"b\">]><repomd/>";
        assert!(resolve(&One(dtd), "https://x.test/repodata/repomd.xml").unwrap_err().contains("document type"));
    }
}
