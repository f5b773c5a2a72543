//! rpm's own form, NDB: pages of slots, each with the place of a blob; little-endian.

use super::{Blobs, place};

const PAGE_BYTES: usize = 4096;
const SLOT_BYTES: usize = 16;
const BLOCK_BYTES: usize = 16;
const HEADER_BYTES: usize = 32;
const PAGES_MAX: usize = 2048;

pub(super) fn blobs(bytes: &[u8]) -> Result<Blobs, String> {
    let pages = place(bytes, 12, 4, false).filter(|pages| (1..=PAGES_MAX).contains(pages)).ok_or("its header is malformed")?;
    let slots = bytes.get(HEADER_BYTES..pages * PAGE_BYTES).ok_or("it is cut short")?;
    let mut out = Blobs::default();
    for slot in slots.chunks_exact(SLOT_BYTES) {
        if !slot.starts_with(b"Slot") {
            return Err("a slot is malformed".into());
        }
        let (index, block) = (place(slot, 4, 4, false).unwrap_or(0), place(slot, 8, 4, false).unwrap_or(0));
        if index == 0 || block == 0 {
            continue;
        }
        let at = block.checked_mul(BLOCK_BYTES).ok_or("a slot points outside")?;
        let head = at.checked_add(BLOCK_BYTES).and_then(|end| bytes.get(at..end)).ok_or("it is cut short")?;
        if !head.starts_with(b"BlbS") || place(head, 4, 4, false) != Some(index) {
            return Err("a blob is malformed".into());
        }
        let (from, len) = (at + BLOCK_BYTES, place(head, 12, 4, false).unwrap_or(0));
        let blob = from.checked_add(len).and_then(|end| bytes.get(from..end)).ok_or("it is cut short")?;
        out.add(blob.to_vec())?;
    }
    Ok(out)
}
