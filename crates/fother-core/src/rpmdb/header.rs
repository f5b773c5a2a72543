//! A package's header as the database keeps it: an index of tags, then their data (rpm's header format, big-endian).

use super::{number, place};
use crate::sbom::Component;

const INDEX_ENTRY_BYTES: usize = 16;
const TAGS_MAX: usize = 0xffff;
const TEXT_BYTES_MAX: usize = 4 << 10;
const NAME: u64 = 1000;
const VERSION: u64 = 1001;
const RELEASE: u64 = 1002;
const EPOCH: u64 = 1003;
const ARCH: u64 = 1022;
const SOURCE_RPM: u64 = 1044;
const DIRECTORY_INDEXES: u64 = 1116;
const BASE_NAMES: u64 = 1117;
const DIRECTORY_NAMES: u64 = 1118;
/// Most files of one package.
const FILES_MAX: usize = 2_000_000;
const TYPE_INT32: u64 = 4;
const TYPE_STRING: u64 = 6;
const TYPE_I18N: u64 = 9;

pub(super) fn component(blob: &[u8]) -> Result<Component, String> {
    let count = place(blob, 0, 4, true).filter(|count| *count <= TAGS_MAX).ok_or("its header is malformed")?;
    let data_len = place(blob, 4, 4, true).ok_or("its header is malformed")?;
    let data_at = 8 + count * INDEX_ENTRY_BYTES;
    let data = data_at.checked_add(data_len).and_then(|end| blob.get(data_at..end)).ok_or("its header is cut short")?;
    let (mut name, mut version, mut release, mut arch, mut source, mut epoch) =
        (String::new(), String::new(), String::new(), String::new(), String::new(), None);
    for entry in blob[8..data_at].chunks_exact(INDEX_ENTRY_BYTES) {
        let (tag, kind, offset) = (number(entry, 0, 4, true), number(entry, 4, 4, true), place(entry, 8, 4, true));
        let (Some(tag), Some(kind), Some(offset)) = (tag, kind, offset) else { continue };
        let out = match tag {
            NAME => &mut name,
            VERSION => &mut version,
            RELEASE => &mut release,
            ARCH => &mut arch,
            SOURCE_RPM => &mut source,
            EPOCH if kind == TYPE_INT32 => {
                epoch = number(data, offset, 4, true);
                continue;
            }
            _ => continue,
        };
        if kind == TYPE_STRING || kind == TYPE_I18N {
            *out = text(data, offset).ok_or("a text of its header is malformed")?;
        }
    }
    if name.is_empty() || version.is_empty() {
        return Err("its header has no name or version".into());
    }
    let epoch = epoch.filter(|epoch| *epoch != 0).map(|epoch| format!("{epoch}:")).unwrap_or_default();
    let source = source.strip_suffix(".src.rpm").and_then(|file| {
        let (rest, release) = file.rsplit_once('-')?;
        let (name, version) = rest.rsplit_once('-')?;
        Some((name.to_owned(), format!("{version}-{release}")))
    });
    Ok(Component { kind: "rpm".into(), version: format!("{epoch}{version}-{release}"), name, arch, source, ..Component::default() })
}

/// Paths of a package's files: names, directories, and the directory of each name (tags of rpm 4).
pub(super) fn files(blob: &[u8], file: &mut impl FnMut(String)) -> Result<(), String> {
    let malformed = "a package's list of files is malformed";
    let count = place(blob, 0, 4, true).filter(|count| *count <= TAGS_MAX).ok_or(malformed)?;
    let data_at = 8 + count * INDEX_ENTRY_BYTES;
    let data = blob.get(data_at..).ok_or(malformed)?;
    let of = |wanted: u64| {
        let mut entries = blob.get(8..data_at).unwrap_or_default().chunks_exact(INDEX_ENTRY_BYTES);
        let entry = entries.find(|entry| number(entry, 0, 4, true) == Some(wanted))?;
        Some((data.get(place(entry, 8, 4, true)?..)?, place(entry, 12, 4, true)?))
    };
    // Packages without files have no such tags.
    let Some((names, count)) = of(BASE_NAMES) else { return Ok(()) };
    let (directories, directory_count) = of(DIRECTORY_NAMES).ok_or(malformed)?;
    let (indexes, index_count) = of(DIRECTORY_INDEXES).ok_or(malformed)?;
    let texts = |bytes: &'_ [u8], count: usize| -> Vec<String> {
        bytes.split(|byte| *byte == 0).take(count.min(FILES_MAX)).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    };
    let directories = texts(directories, directory_count);
    if index_count < count {
        return Err(malformed.into());
    }
    for (at, name) in texts(names, count).into_iter().enumerate() {
        let directory = place(indexes, 4 * at, 4, true).and_then(|index| directories.get(index)).ok_or(malformed)?;
        file(format!("{directory}{name}"));
    }
    Ok(())
}

fn text(data: &[u8], at: usize) -> Option<String> {
    let rest = data.get(at..)?;
    let rest = &rest[..rest.len().min(TEXT_BYTES_MAX)];
    let end = rest.iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(&rest[..end]).ok()?;
    (!text.bytes().any(|b| b.is_ascii_control())).then(|| text.to_owned())
}
