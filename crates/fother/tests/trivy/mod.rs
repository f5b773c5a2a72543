//! A vulnerability database for the real Trivy, written by hand, so that it runs without a network: one bbolt file (go.etcd.io/bbolt,
//! format 2) of leaf pages only, with the buckets that trivy-db (schema 2) has.

use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

const PAGE: usize = 4_096;
const META: u16 = 4;
const FREE_LIST: u16 = 16;
const LEAF: u16 = 2;
const MAGIC: u32 = 0xED0C_DAED;

/// A bucket's entry: a bucket of its own or a JSON value.
pub enum Entry {
    Bucket(BTreeMap<String, Entry>),
    Json(Value),
}

fn page(id: usize, flags: u16, count: usize, overflow: usize, data: &[u8]) -> Vec<u8> {
    let mut out = (id as u64).to_le_bytes().to_vec();
    out.extend(flags.to_le_bytes());
    out.extend(u16::try_from(count).unwrap().to_le_bytes());
    out.extend(u32::try_from(overflow).unwrap().to_le_bytes());
    out.extend(data);
    out.resize((overflow + 1) * PAGE, 0);
    out
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Appends a bucket as one leaf page, long enough for all of it; the result is the page's number.
fn bucket(file: &mut Vec<u8>, entries: &BTreeMap<String, Entry>) -> usize {
    let items: Vec<(&str, Vec<u8>, u32)> = entries
        .iter()
        .map(|(key, entry)| match entry {
            Entry::Bucket(inner) => {
                let mut value = (bucket(file, inner) as u64).to_le_bytes().to_vec();
                value.extend([0; 8]);
                (key.as_str(), value, 1)
            }
            Entry::Json(value) => (key.as_str(), serde_json::to_vec(value).unwrap(), 0),
        })
        .collect();
    let (mut heads, mut body): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    for (at, (key, value, flags)) in items.iter().enumerate() {
        // Positions count from their own element.
        let position = 16 * (items.len() - at) + body.len();
        for number in [*flags, u32::try_from(position).unwrap(), u32::try_from(key.len()).unwrap(), u32::try_from(value.len()).unwrap()] {
            heads.extend(number.to_le_bytes());
        }
        body.extend(key.as_bytes());
        body.extend(value);
    }
    heads.extend(body);
    let id = file.len() / PAGE;
    let overflow = (16 + heads.len()).div_ceil(PAGE) - 1;
    file.extend(page(id, LEAF, items.len(), overflow, &heads));
    id
}

/// Writes a cache directory that Trivy takes as fresh.
pub fn write_cache(dir: &Path, database: &BTreeMap<String, Entry>) {
    let mut file = vec![0; 4 * PAGE];
    let root = bucket(&mut file, database);
    let high = file.len() / PAGE;
    for id in 0..2_usize {
        let mut meta = Vec::new();
        for number in [MAGIC, 2, u32::try_from(PAGE).unwrap(), 0] {
            meta.extend(number.to_le_bytes());
        }
        for number in [root, 0, 2, high, id] {
            meta.extend((number as u64).to_le_bytes());
        }
        meta.extend(fnv(&meta).to_le_bytes());
        file[id * PAGE..(id + 1) * PAGE].copy_from_slice(&page(id, META, 0, 0, &meta));
    }
    file[2 * PAGE..3 * PAGE].copy_from_slice(&page(2, FREE_LIST, 0, 0, &[]));
    file[3 * PAGE..4 * PAGE].copy_from_slice(&page(3, LEAF, 0, 0, &[]));
    fs::create_dir_all(dir.join("db")).unwrap();
    fs::write(dir.join("db/trivy.db"), file).unwrap();
    let metadata =
        r#"{"Version":2,"NextUpdate":"2099-01-01T00:00:00Z","UpdatedAt":"2026-01-01T00:00:00Z","DownloadedAt":"2026-01-01T00:00:00Z"}"#;
    fs::write(dir.join("db/metadata.json"), metadata).unwrap();
}
