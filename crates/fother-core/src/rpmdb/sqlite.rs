//! The blobs of the table `Packages` of an SQLite file (sqlite.org/fileformat2.html), without SQLite.

use super::{Blobs, HEADER_BYTES_MAX, place};

const LEAF: u8 = 13;
const INTERIOR: u8 = 5;
const TABLE: &[u8] = b"Packages";

struct File<'a> {
    bytes: &'a [u8],
    page_bytes: usize,
    usable: usize,
    /// Pages that may still be read: each is needed once.
    left: usize,
}

pub(super) fn blobs(bytes: &[u8]) -> Result<Blobs, String> {
    let size = place(bytes, 16, 2, true).ok_or("it is cut short")?;
    let page_bytes = if size == 1 { 65_536 } else { size };
    let reserved = place(bytes, 20, 1, true).ok_or("it is cut short")?;
    let usable = page_bytes.checked_sub(reserved).filter(|usable| page_bytes.is_power_of_two() && *usable >= 480);
    let mut file =
        File { bytes, page_bytes, usable: usable.ok_or("its page size is malformed")?, left: bytes.len() / page_bytes.max(1) * 2 + 2 };
    let mut root = None;
    file.rows(1, &mut |record| {
        let columns = columns(record)?;
        if let [kind, name, _, page, ..] = columns.as_slice()
            && kind.text == b"table"
            && name.text == TABLE
        {
            root = page.number;
        }
        Ok(())
    })?;
    let root = root.ok_or("it has no table Packages")?;
    let mut out = Blobs::default();
    file.rows(root, &mut |record| match columns(record)?.into_iter().next_back() {
        Some(column) => out.add(column.text.to_vec()),
        None => Err("a row is malformed".into()),
    })?;
    Ok(out)
}

impl<'a> File<'a> {
    fn page(&mut self, number: usize) -> Result<(&'a [u8], usize), String> {
        self.left = self.left.checked_sub(1).ok_or("its pages form a loop")?;
        let from = number.checked_sub(1).and_then(|index| index.checked_mul(self.page_bytes));
        let page =
            from.and_then(|from| self.bytes.get(from..from.checked_add(self.page_bytes)?)).ok_or("a page is outside: it is cut short")?;
        // The file's header stands on the first page.
        Ok((page, if number == 1 { 100 } else { 0 }))
    }

    /// Calls `row` with each record of a table, in order.
    fn rows(&mut self, root: usize, row: &mut impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        let mut open = vec![root];
        while let Some(number) = open.pop() {
            let (page, head) = self.page(number)?;
            let kind = page[head];
            let cells = place(page, head + 3, 2, true).unwrap_or(0);
            let pointers = head + if kind == INTERIOR { 12 } else { 8 };
            let mut below = Vec::new();
            for at in 0..cells {
                let cell = place(page, pointers + at * 2, 2, true).ok_or("a page is malformed")?;
                match kind {
                    INTERIOR => below.push(place(page, cell, 4, true).ok_or("a page is malformed")?),
                    LEAF => row(&self.record(page, cell)?)?,
                    _ => return Err("a page is of the wrong kind".into()),
                }
            }
            if kind == INTERIOR {
                below.push(place(page, head + 8, 4, true).ok_or("a page is malformed")?);
            }
            open.extend(below.into_iter().rev());
        }
        Ok(())
    }

    /// The payload of a leaf's cell, its overflow pages included.
    fn record(&mut self, page: &[u8], cell: usize) -> Result<Vec<u8>, String> {
        let (len, at) = varint(page, cell).ok_or("a cell is malformed")?;
        let (_, at) = varint(page, at).ok_or("a cell is malformed")?;
        let len = usize::try_from(len).ok().filter(|len| *len <= HEADER_BYTES_MAX).ok_or("a row is too large")?;
        let most = self.usable - 35;
        let local = if len <= most {
            len
        } else {
            let least = (self.usable - 12) * 32 / 255 - 23;
            let fit = least + (len - least) % (self.usable - 4);
            if fit <= most { fit } else { least }
        };
        let mut out = page.get(at..at + local).ok_or("a cell is malformed")?.to_vec();
        let mut next = if local < len { place(page, at + local, 4, true).ok_or("a cell is malformed")? } else { 0 };
        while out.len() < len {
            let (page, _) = self.page(next)?;
            let take = (len - out.len()).min(self.usable - 4);
            out.extend(page.get(4..4 + take).ok_or("an overflow page is malformed")?);
            next = place(page, 0, 4, true).unwrap_or(0);
        }
        Ok(out)
    }
}

/// One column of a record: its bytes, and its number if it is one.
struct Column<'a> {
    text: &'a [u8],
    number: Option<usize>,
}

fn columns(record: &[u8]) -> Result<Vec<Column<'_>>, String> {
    let malformed = || "a row is malformed".to_owned();
    let (head, mut at) = varint(record, 0).ok_or_else(malformed)?;
    let head = usize::try_from(head).ok().filter(|head| *head <= record.len()).ok_or_else(malformed)?;
    let (mut out, mut data) = (Vec::new(), head);
    while at < head {
        let (kind, next) = varint(record, at).ok_or_else(malformed)?;
        at = next;
        let len = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).unwrap_or(0),
            5 => 6,
            6 | 7 => 8,
            kind => usize::try_from(kind.saturating_sub(12) / 2).map_err(|_| malformed())?,
        };
        let text = data.checked_add(len).and_then(|end| record.get(data..end)).ok_or_else(malformed)?;
        data += len;
        let number = match kind {
            8 => Some(0),
            9 => Some(1),
            1..=6 => place(text, 0, len, true),
            _ => None,
        };
        out.push(Column { text, number });
    }
    Ok(out)
}

/// A number of one to nine bytes, and the place behind it.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for count in 0..8 {
        let byte = *bytes.get(at + count)?;
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + count + 1));
        }
    }
    Some((value << 8 | u64::from(*bytes.get(at + 8)?), at + 9))
}
