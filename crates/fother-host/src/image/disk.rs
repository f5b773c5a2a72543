//! A raw disk: its partitions (MBR, GPT of UEFI 2.10 section 5.3) and an ext4 file system on one of them, read without mounting.
//! Other file systems, volumes and encryption are named, not read.

use super::{
    About, select,
    tree::{Thing, Tree},
};
use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType, PathBuf as Ext4Path};
use fother_core::{Digest, image::Image, text::printable};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, Seek as _},
    os::unix::fs::FileExt as _,
};

const SECTOR_BYTES: u64 = 512;
const EXT4_MAGIC_AT: u64 = 1080;
const EXT4_MAGIC: [u8; 2] = [0x53, 0xef];
/// Most partitions that are looked at.
const PARTITIONS_MAX: u32 = 128;
const PROTECTIVE: u8 = 0xee;
/// Deepest directory.
const DEPTH_MAX: usize = 128;
/// Directories that hold no files of the image.
const NOT_FILES: [&str; 3] = ["proc", "sys", "dev"];
/// One of these makes a file system a root.
const ROOT_SIGNS: [&str; 4] = ["/etc/os-release", "/usr/lib/os-release", "/var/lib/dpkg", "/lib/apk"];
/// What is told but not read: name, place of its mark from the start, mark.
const OTHERS: [(&str, u64, &[u8]); 7] = [
    ("XFS", 0, b"XFSB"),
    ("Btrfs", 0x10040, b"_BHRfS_M"),
    ("encrypted (LUKS)", 0, b"LUKS\xba\xbe"),
    ("a volume of LVM", 512, b"LABELONE"),
    ("squashfs", 0, b"hsqs"),
    ("FAT", 82, b"FAT32"),
    ("FAT", 54, b"FAT1"),
];

/// Whether the first bytes are a disk's or a file system's.
pub fn is(head: &[u8]) -> bool {
    let at = |from: u64, mark: &[u8]| usize::try_from(from).ok().and_then(|from| head.get(from..from + mark.len())) == Some(mark);
    let tar = head.get(257..262) == Some(b"ustar");
    !tar && (at(510, &[0x55, 0xaa]) || at(EXT4_MAGIC_AT, &EXT4_MAGIC) || at(SECTOR_BYTES, b"EFI PART"))
}

/// A part of the disk as the reader of ext4 wants it.
struct Part {
    file: File,
    from: u64,
    end: u64,
}

impl Ext4Read for Part {
    fn read(&mut self, start: u64, out: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        let from = self.from.checked_add(start).filter(|from| from.checked_add(out.len() as u64).is_some_and(|end| end <= self.end));
        let from = from.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "it points outside of its partition"))?;
        Ok(self.file.read_exact_at(out, from)?)
    }
}

fn bytes_at<const N: usize>(file: &File, at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// Partitions as first and last byte, the end exclusive; the whole where there is no table.
fn partitions(file: &File, size: u64) -> Result<Vec<(u64, u64)>, String> {
    if bytes_at(file, EXT4_MAGIC_AT) == Some(EXT4_MAGIC) {
        return Ok(vec![(0, size)]);
    }
    let first: [u8; 512] = bytes_at(file, 0).ok_or("it is cut short")?;
    let mut found = Vec::new();
    for entry in first[446..510].chunks_exact(16) {
        let (Some(start), Some(count)) = (le32(entry, 8), le32(entry, 12)) else { continue };
        if entry[4] == PROTECTIVE {
            return gpt(file, size);
        }
        if entry[4] != 0 && count != 0 {
            let start = u64::from(start) * SECTOR_BYTES;
            found.push((start, start.saturating_add(u64::from(count) * SECTOR_BYTES).min(size)));
        }
    }
    if found.is_empty() { gpt(file, size) } else { Ok(found) }
}

fn gpt(file: &File, size: u64) -> Result<Vec<(u64, u64)>, String> {
    for sector in [SECTOR_BYTES, 4096] {
        let Some(header) = bytes_at::<92>(file, sector).filter(|header| header.starts_with(b"EFI PART")) else { continue };
        let (Some(at), Some(count), Some(bytes)) = (le64(&header, 72), le32(&header, 80), le32(&header, 84)) else { continue };
        if bytes < 128 || count > PARTITIONS_MAX {
            return Err("its partition table is malformed".into());
        }
        let mut found = Vec::new();
        for number in 0..u64::from(count) {
            let at = at
                .checked_mul(sector)
                .and_then(|at| at.checked_add(number * u64::from(bytes)))
                .ok_or("its partition table is malformed")?;
            let entry: [u8; 128] = bytes_at(file, at).ok_or("its partition table is cut short")?;
            let (Some(first), Some(last)) = (le64(&entry, 32), le64(&entry, 40)) else { continue };
            if entry[..16].iter().all(|byte| *byte == 0) || last < first {
                continue;
            }
            let end = last.saturating_add(1).saturating_mul(sector).min(size);
            found.push((first.saturating_mul(sector), end));
        }
        return Ok(found);
    }
    Err("it has no partition table that is read here".into())
}

/// Reads a disk.
///
/// # Errors
/// Where no partition holds a root that is readable here; each is named with what it holds.
pub fn read(file: &File, tree: &mut Tree) -> Result<About, String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let mut seen = Vec::new();
    for (number, (from, end)) in partitions(file, size)?.into_iter().enumerate() {
        let number = number + 1;
        if bytes_at(file, from.saturating_add(EXT4_MAGIC_AT)) != Some(EXT4_MAGIC) {
            let known = OTHERS.iter().find(|(_, at, mark)| {
                let mut bytes = vec![0; mark.len()];
                file.read_exact_at(&mut bytes, from.saturating_add(*at)).is_ok() && bytes == *mark
            });
            seen.push(format!("partition {number} is {}", known.map_or("of an unknown kind", |(name, ..)| name)));
            continue;
        }
        let bytes = system_bytes(file, from).ok_or("it is cut short")?;
        if from.checked_add(bytes).is_none_or(|end| end > size) {
            return Err(format!("partition {number}: its file system has {bytes} bytes, which are not all there: it is cut short"));
        }
        let part = Part { file: file.try_clone().map_err(|error| error.to_string())?, from, end };
        let system = Ext4::load(Box::new(part)).map_err(|error| format!("partition {number}: {error}"))?;
        if !ROOT_SIGNS.iter().any(|sign| system.exists(*sign).unwrap_or(false)) {
            seen.push(format!("partition {number} (ext4) holds no root"));
            continue;
        }
        walk(&system, Ext4Path::new("/"), 0, tree)?;
        let image = Image { form: "raw-disk".into(), digest: digest(file)?.to_string(), ..Image::default() };
        let mut about = About { image, ..About::default() };
        about.unknown = seen.iter().filter(|line| !line.contains("FAT")).map(|line| format!("image: {line}: not looked at")).collect();
        return Ok(about);
    }
    Err(format!(
        "no partition has a root that can be read here: {}",
        if seen.is_empty() { "there are none".into() } else { seen.join(", ") }
    ))
}

/// How large a file system says it is (`ext4_super_block`: s_blocks_count, s_log_block_size, s_feature_incompat).
fn system_bytes(file: &File, from: u64) -> Option<u64> {
    let block: [u8; 1024] = bytes_at(file, from.checked_add(1024)?)?;
    let high = if le32(&block, 0x60)? & 0x80 == 0 { 0 } else { u64::from(le32(&block, 0x150)?) };
    let blocks = high << 32 | u64::from(le32(&block, 4)?);
    blocks.checked_mul(1024_u64.checked_shl(le32(&block, 24)?).filter(|bytes| *bytes <= 64 << 10)?)
}

fn digest(file: &File) -> Result<Digest, String> {
    let mut file = file.try_clone().map_err(|error| error.to_string())?;
    file.rewind().map_err(|error| error.to_string())?;
    let (mut hash, mut block) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        match io::Read::read(&mut file, &mut block).map_err(|error| error.to_string())? {
            0 => return Ok(Digest(hash.finalize().into())),
            read => hash.update(&block[..read]),
        }
    }
}

fn walk(system: &Ext4, directory: Ext4Path, depth: usize, tree: &mut Tree) -> Result<(), String> {
    let name = directory.display().to_string();
    let failed = |error: Ext4Error| format!("{}: {error}", printable(&name, 200));
    if depth > DEPTH_MAX {
        return Err(format!("{} is nested more than {DEPTH_MAX} deep", printable(&name, 200)));
    }
    for entry in system.read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let part = entry.file_name().display().to_string();
        if part == "." || part == ".." || (depth == 0 && NOT_FILES.contains(&part.as_str())) {
            continue;
        }
        let path = entry.path();
        let own = path.display().to_string();
        let own = own.trim_start_matches('/');
        match entry.file_type().map_err(failed)? {
            FileType::Directory => {
                let modified = entry.metadata().map_err(failed)?.modified().seconds();
                tree.apply(own, Thing::Directory(u64::try_from(modified).unwrap_or(0)))?;
                walk(system, path, depth + 1, tree)?;
            }
            FileType::Symlink => {
                let target = system.read_link(&path).map_err(failed)?.display().to_string();
                tree.apply(own, Thing::Symlink(target))?;
            }
            FileType::Regular if select::file(own) != select::Taken::No => {
                let mut file = system.open(&path).map_err(failed)?;
                tree.apply(own, Thing::File(&mut file))?;
            }
            FileType::Regular => {}
            FileType::BlockDevice | FileType::CharacterDevice | FileType::Fifo | FileType::Socket => tree.apply(own, Thing::Other)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_at_the_end_of_all_numbers_is_named_not_computed() {
        let mut disk = vec![0_u8; 4096];
        disk[450] = PROTECTIVE;
        disk[458] = 1;
        disk[512..520].copy_from_slice(b"EFI PART");
        disk[584] = 2;
        disk[592] = 4;
        disk[596] = 128;
        disk[1024..1072].fill(3);
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&disk, 0).unwrap();
        let kept = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(&kept.path().join("kept")).unwrap();
        let why = read(&file, &mut tree).unwrap_err();
        assert!(why.contains("partition 1 is of an unknown kind"), "{why}");
    }
}
