//! Addresses that lead to the feed's own: an rpm repository's `repomd.xml`, and the text that names a vendor's newest archive.

use crate::{
    fetch::{Fetch, FetchError},
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
        let archive = format!("{folder}/{}", relative(text.trim())?);
        let sum = hash_of(fetch, &archive)?;
        return Ok((archive, sum));
    }
    let mut index = Index::default();
    xml::read(bytes.as_slice(), &mut index).map_err(|why| format!("{url}: {why}"))?;
    let (href, sum) = index.found.ok_or_else(|| format!("{url}: the repository has no updateinfo"))?;
    // Its addresses count from the folder above `repodata`.
    let base = folder.rsplit_once('/').map_or(folder, |(base, _)| base);
    Ok((format!("{base}/{}", relative(&href)?), sum))
}

/// The hash that is published beside an archive; nothing where none is.
fn hash_of(fetch: &impl Fetch, archive: &str) -> Result<Option<String>, String> {
    let bytes = match fetch.get(&format!("{archive}.sha256"), INDEX_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(FetchError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let hash = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    let is_one = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    if is_one { Ok(Some(hash)) } else { Err(format!("{archive}.sha256 holds no hash")) }
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
    use std::fs::File;

    /// One text at every address, but for hashes beside archives: those are the other one, or not there.
    struct One(&'static str, Option<&'static str>);

    impl Fetch for One {
        fn get_to(&self, _: &str, _: &mut File, _: u64) -> Result<u64, FetchError> {
            Ok(0)
        }

        fn get(&self, url: &str, _: u64) -> Result<Vec<u8>, FetchError> {
            if !url.ends_with(".sha256") {
                return Ok(self.0.into());
            }
            self.1.map(Into::into).ok_or_else(|| FetchError::NotFound { url: url.to_owned() })
        }
    }

    #[test]
    fn an_index_leads_to_the_feed_below_it() {
        let repomd = r#"<repomd><data type="primary"><checksum type="sha256">1</checksum><location href="repodata/p.xml.gz"/></data>
            <data type="updateinfo"><checksum type="sha256">AB</checksum><location href="repodata/ab-updateinfo.xml.gz"/></data></repomd>"#;
        let found = resolve(&One(repomd, None), "https://x.test/os/repodata/repomd.xml").unwrap();
        assert_eq!(found, ("https://x.test/os/repodata/ab-updateinfo.xml.gz".into(), Some("ab".into())));
        let latest = resolve(&One("csaf_vex_2026-01-31.tar.zst\n", None), "https://x.test/vex/archive_latest.txt").unwrap();
        assert_eq!(latest, ("https://x.test/vex/csaf_vex_2026-01-31.tar.zst".into(), None));
        const HASH: &str = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855  a.tar.zst";
        let latest = resolve(&One("a.tar.zst\n", Some(HASH)), "https://x.test/vex/archive_latest.txt").unwrap();
        assert_eq!(latest.1.unwrap(), HASH[..64].to_lowercase());
        assert!(resolve(&One("a.tar.zst\n", Some("<html>")), "https://x.test/vex/archive_latest.txt").unwrap_err().contains("no hash"));
        assert_eq!(resolve(&One("", None), "https://x.test/kev.json").unwrap().0, "https://x.test/kev.json");
    }

    #[test]
    fn an_index_cannot_lead_elsewhere() {
        for bad in ["../../etc/shadow", "https://evil.test/x", "/etc/shadow", "", "a//b", "a b"] {
            assert!(relative(bad).is_err(), "{bad}");
        }
        assert!(resolve(&One("<repomd/>", None), "https://x.test/repodata/repomd.xml").unwrap_err().contains("no updateinfo"));
        let dtd = "<!DOCTYPE x [<!ENTITY a \"b\">]><repomd/>";
        assert!(resolve(&One(dtd, None), "https://x.test/repodata/repomd.xml").unwrap_err().contains("document type"));
    }
}
