//! rpm's package databases in all three forms, and apk's.

use super::{Target, texts_of};
use fother_core::{apkdb, rpmdb};

pub const ALL: &[Target] = &[
    Target { name: "rpmdb", run: rpm, seeds: rpm_seeds },
    Target {
        name: "apkdb",
        run: apk,
        seeds: || texts_of(&["P:musl\nV:1.2.4-r2\nA:x86_64\no:musl\nF:lib\n\nP:busybox\nV:1.36.1_git20200101-r5\no:bb\n\nP:\nV:x\n"]),
    },
];

/// A header as rpm keeps it: an index of tags, then their texts.
fn header(name: &str) -> Vec<u8> {
    let texts = [(1000, name), (1001, "1.2"), (1002, "3.el9"), (1022, "x86_64"), (1044, "s-1.2-3.el9.src.rpm")];
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (tag, text) in texts {
        for number in [tag, 6, data.len() as u32, 1] {
            index.extend(number.to_be_bytes());
        }
        data.extend(text.as_bytes());
        data.push(0);
    }
    let mut out = (texts.len() as u32).to_be_bytes().to_vec();
    out.extend((data.len() as u32).to_be_bytes());
    [out, index, data].concat()
}

fn ndb() -> Vec<u8> {
    let mut slots = Vec::new();
    let mut blobs = Vec::new();
    for (index, name) in [(1_u32, "a"), (2, "b")] {
        let blob = header(name);
        let block = (4096 + blobs.len()) as u32 / 16;
        slots.extend(b"Slot");
        for number in [index, block, 8] {
            slots.extend(number.to_le_bytes());
        }
        blobs.extend(b"BlbS");
        for number in [index, 0, blob.len() as u32] {
            blobs.extend(number.to_le_bytes());
        }
        blobs.extend(&blob);
        blobs.resize(blobs.len().next_multiple_of(16), 0);
    }
    let mut out = b"RpmP".to_vec();
    for number in [0_u32, 0, 1, 3, 0, 0, 0] {
        out.extend(number.to_le_bytes());
    }
    while slots.len() < 4096 - 32 {
        slots.extend(b"Slot\0\0\0\0\0\0\0\0\0\0\0\0");
    }
    [out, slots, blobs].concat()
}

/// A page of a table's leaf with one row each, as SQLite keeps them.
fn leaf(head: usize, rows: &[Vec<u8>]) -> Vec<u8> {
    let mut page = vec![0; 1024];
    let mut end = page.len();
    page[head] = 13;
    page[head + 3..head + 5].copy_from_slice(&(rows.len() as u16).to_be_bytes());
    for (at, row) in rows.iter().enumerate() {
        let mut cell = vec![(row.len() >> 7) as u8 | 0x80, (row.len() & 0x7f) as u8, at as u8 + 1];
        cell.extend(row);
        end -= cell.len();
        page[end..end + cell.len()].copy_from_slice(&cell);
        page[head + 8 + at * 2..head + 10 + at * 2].copy_from_slice(&(end as u16).to_be_bytes());
    }
    page
}

fn sqlite() -> Vec<u8> {
    // Columns of the schema: type, name, table, root page, statement.
    let schema = [&[6, 23, 29, 29, 1, 15][..], b"tablePackagesPackages", &[2], b"x"].concat();
    let rows: Vec<Vec<u8>> = ["a", "b"]
        .iter()
        .map(|name| {
            let blob = header(name);
            let kind = blob.len() * 2 + 12;
            [&[4, 0, (kind >> 7) as u8 | 0x80, (kind & 0x7f) as u8][..], &blob].concat()
        })
        .collect();
    let mut first = leaf(100, &[schema]);
    first[..16].copy_from_slice(b"SQLite format 3\0");
    first[16..18].copy_from_slice(&1024_u16.to_be_bytes());
    first[28..32].copy_from_slice(&2_u32.to_be_bytes());
    [first, leaf(0, &rows)].concat()
}

fn bdb() -> Vec<u8> {
    let mut pages = vec![vec![0_u8; 512]; 3];
    let blob = header("a");
    pages[0][12..16].copy_from_slice(&0x0006_1561_u32.to_le_bytes());
    pages[0][20..24].copy_from_slice(&512_u32.to_le_bytes());
    pages[0][32..36].copy_from_slice(&2_u32.to_le_bytes());
    pages[1][25] = 13;
    pages[1][20..22].copy_from_slice(&2_u16.to_le_bytes());
    pages[1][26..28].copy_from_slice(&500_u16.to_le_bytes());
    pages[1][28..30].copy_from_slice(&480_u16.to_le_bytes());
    pages[1][480] = 3;
    pages[1][484..488].copy_from_slice(&2_u32.to_le_bytes());
    pages[1][488..492].copy_from_slice(&(blob.len() as u32).to_le_bytes());
    pages[2][25] = 7;
    pages[2][22..24].copy_from_slice(&(blob.len() as u16).to_le_bytes());
    pages[2][26..26 + blob.len()].copy_from_slice(&blob);
    pages.concat()
}

fn rpm_seeds() -> Vec<Vec<u8>> {
    vec![ndb(), sqlite(), bdb()]
}

fn rpm(data: &[u8]) {
    if let Ok(content) = rpmdb::parse(data) {
        assert!(content.packages.is_sorted());
        assert!(content.packages.iter().all(|package| !package.name.is_empty() && !package.version.is_empty()));
    }
}

fn apk(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (packages, unknown) = apkdb::parse(&text);
    let stanzas = text.split("\n\n").filter(|stanza| !stanza.trim().is_empty()).count();
    assert_eq!(packages.len() + unknown.len(), stanzas, "a package was dropped without a word");
}

/// A database that is cut short is refused, or has fewer packages and says so; it never passes for a smaller one.
#[cfg(test)]
#[test]
fn a_database_that_is_cut_short_is_refused() {
    for whole in rpm_seeds() {
        let all = rpmdb::parse(&whole).expect("the seed is a database");
        assert!(!all.packages.is_empty() && all.unknown.is_empty(), "{all:?}");
        for len in 0..whole.len() {
            if let Ok(content) = rpmdb::parse(&whole[..len]) {
                assert!(content.packages == all.packages, "cut to {len} bytes it has {} packages", content.packages.len());
            }
        }
    }
}
