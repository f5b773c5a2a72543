//! Single documents of a folder made one feed: vendors publish CSAF and VEX as one file for each advisory, and a database has room for few feeds.

use super::Offered;
use crate::vendor::{Kind, input, sniff};
use fother_core::text::printable;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

/// What is on offer after bundling; the bundles are removed with it.
pub struct Bundles {
    /// Files, each one feed.
    pub offered: Vec<Offered>,
    /// Files that are not what is published about them, with the reason; of a folder that holds one, no document is offered.
    pub refused: Vec<String>,
    _keep: Vec<tempfile::NamedTempFile>,
}

/// What is published about a file of a kind against its bytes.
pub type Judge<'a> = dyn Fn(&Path, Kind) -> Result<(), String> + 'a;

/// Bundles single CSAF and VEX documents by folder and kind where there are several. `judge` is asked about each file.
///
/// # Errors
/// Where `scratch` cannot be written.
pub fn bundled(offered: Vec<Offered>, scratch: &Path, judge: &Judge<'_>) -> io::Result<Bundles> {
    let mut out = Bundles { offered: Vec::new(), refused: Vec::new(), _keep: Vec::new() };
    let mut spoilt: BTreeSet<(Kind, PathBuf)> = BTreeSet::new();
    let mut groups: BTreeMap<(Kind, PathBuf), Vec<Offered>> = BTreeMap::new();
    for offer in offered {
        let kind = offer.kind.or_else(|| sniff::kind(&offer.path).ok());
        let folder = || Path::new(&offer.origin).parent().map(Path::to_owned).unwrap_or_default();
        if let Some(Err(why)) = kind.map(|kind| judge(&offer.path, kind)) {
            out.refused.push(format!("{}: {}; the last good one, if any, stays", offer.origin, printable(&why, 400)));
            spoilt.extend(kind.map(|kind| (kind, folder())));
            continue;
        }
        match kind.filter(|kind| is_single(*kind, &offer.path)) {
            Some(kind) => {
                groups.entry((kind, folder())).or_default().push(Offered { kind: Some(kind), ..offer });
            }
            None => out.offered.push(Offered { kind, ..offer }),
        }
    }
    // A folder is one feed: without one of its documents it would say less than the vendor does.
    groups.retain(|group, _| !spoilt.contains(group));
    for ((kind, folder), mut offers) in groups {
        if offers.len() == 1 {
            out.offered.append(&mut offers);
            continue;
        }
        let file = tempfile::NamedTempFile::new_in(scratch)?;
        write(file.as_file(), &offers)?;
        out.offered.push(Offered { path: file.path().to_owned(), origin: folder.display().to_string(), kind: Some(kind) });
        out._keep.push(file);
    }
    Ok(out)
}

/// Whether a file is one CSAF or VEX document.
fn is_single(kind: Kind, path: &Path) -> bool {
    matches!(kind, Kind::Csaf | Kind::OpenVex | Kind::CyclonedxVex) && input::is_archive(path).is_ok_and(|archive| !archive)
}

/// A tar with nothing in it but names and bytes, so that the same documents have the same digest.
fn write(file: &fs::File, offers: &[Offered]) -> io::Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    for offer in offers {
        let mut bytes = Vec::new();
        let reader = input::open(&offer.path).map_err(io::Error::other)?;
        io::Read::read_to_end(&mut io::Read::take(reader, input::DOCUMENT_BYTES_MAX as u64 + 1), &mut bytes)?;
        let name = offer.path.file_name().and_then(|name| name.to_str()).unwrap_or("document");
        let name = if name.ends_with(".json") { name.to_owned() } else { format!("{name}.json") };
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice())?;
    }
    io::Write::flush(&mut tar.into_inner()?)
}
