//! Berkeley DB's hash form (db 4 and 5, `db_page.h`): pages with keys and values, large values in chains of overflow pages.

use super::{Blobs, HEADER_BYTES_MAX, place};

const HASH_MAGIC: usize = 0x0006_1561;
const MAGIC_AT: usize = 12;
const PAGE_HEADER_BYTES: usize = 26;
const PAGE_HASH_UNSORTED: u8 = 2;
const PAGE_OVERFLOW: u8 = 7;
const PAGE_HASH: u8 = 13;
const ENTRY_OFF_PAGE: u8 = 3;
const PAGES_MAX: usize = 1 << 22;

pub(super) fn is(bytes: &[u8]) -> bool {
    big_endian(bytes).is_some()
}

fn big_endian(bytes: &[u8]) -> Option<bool> {
    [false, true].into_iter().find(|big| place(bytes, MAGIC_AT, 4, *big) == Some(HASH_MAGIC))
}

struct File<'a> {
    bytes: &'a [u8],
    page_bytes: usize,
    big: bool,
}

impl<'a> File<'a> {
    fn page(&self, number: usize) -> Result<&'a [u8], String> {
        let from = number.checked_mul(self.page_bytes);
        let page = from.and_then(|from| self.bytes.get(from..from.checked_add(self.page_bytes)?));
        page.ok_or_else(|| "it is cut short".to_owned())
    }

    /// The value that starts on an overflow page.
    fn overflow(&self, first: usize, len: usize) -> Result<Vec<u8>, String> {
        if len > HEADER_BYTES_MAX {
            return Err("a value is too large".into());
        }
        let (mut out, mut number, mut left) = (Vec::new(), first, self.bytes.len() / self.page_bytes);
        while number != 0 {
            left = left.checked_sub(1).ok_or("its pages form a loop")?;
            let page = self.page(number)?;
            if page[PAGE_HEADER_BYTES - 1] != PAGE_OVERFLOW {
                return Err("an overflow page is malformed".into());
            }
            let next = place(page, 16, 4, self.big).unwrap_or(0);
            let used = if next == 0 { place(page, 22, 2, self.big).unwrap_or(0) } else { page.len() - PAGE_HEADER_BYTES };
            out.extend(page.get(PAGE_HEADER_BYTES..PAGE_HEADER_BYTES + used).ok_or("an overflow page is malformed")?);
            number = next;
        }
        if out.len() == len { Ok(out) } else { Err("a value is not as long as it says".into()) }
    }
}

pub(super) fn blobs(bytes: &[u8]) -> Result<Blobs, String> {
    let big = big_endian(bytes).ok_or("its header is malformed")?;
    let page_bytes = place(bytes, 20, 4, big).filter(|size| size.is_power_of_two() && (512..=65_536).contains(size));
    let file = File { bytes, page_bytes: page_bytes.ok_or("its page size is malformed")?, big };
    let last = place(bytes, 32, 4, big).filter(|last| *last <= PAGES_MAX).ok_or("its header is malformed")?;
    let mut out = Blobs::default();
    for number in 1..=last {
        let page = file.page(number)?;
        if !matches!(page[PAGE_HEADER_BYTES - 1], PAGE_HASH | PAGE_HASH_UNSORTED) {
            continue;
        }
        let entries = place(page, 20, 2, big).unwrap_or(0);
        // Keys and values take turns.
        for at in (1..entries).step_by(2) {
            let entry = place(page, PAGE_HEADER_BYTES + at * 2, 2, big).ok_or("a page is malformed")?;
            if page.get(entry) != Some(&ENTRY_OFF_PAGE) {
                continue;
            }
            let (first, len) = (place(page, entry + 4, 4, big), place(page, entry + 8, 4, big));
            let (Some(first), Some(len)) = (first, len) else { return Err("a page is malformed".into()) };
            out.add(file.overflow(first, len)?)?;
        }
    }
    Ok(out)
}
