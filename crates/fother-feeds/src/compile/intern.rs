//! Texts, each kept once, in the form that the database has: a two-byte length, then UTF-8.

use fother_core::advisory::format::{TEXT_BYTES_MAX, Text};
use std::hash::{BuildHasher as _, RandomState};

/// Largest section of strings, in bytes.
pub const STRINGS_BYTES_MAX: usize = 1 << 30;
const EMPTY: u32 = u32::MAX;

/// A heap of texts with an index of open addressing; seeded, so that a hostile feed cannot choose collisions.
#[derive(Debug)]
pub struct Interner {
    heap: Vec<u8>,
    table: Vec<u32>,
    count: usize,
    hasher: RandomState,
}

impl Default for Interner {
    fn default() -> Self {
        // The empty text is at 0.
        Self { heap: vec![0, 0], table: vec![EMPTY; 1 << 10], count: 0, hasher: RandomState::new() }
    }
}

impl Interner {
    /// The place of a text; texts that are too long, and all once the heap is full, are the empty one.
    pub fn intern(&mut self, text: &str) -> Text {
        let Some(len) = u16::try_from(text.len()).ok().filter(|len| *len > 0) else { return Text(0) };
        if self.heap.len() + TEXT_BYTES_MAX > STRINGS_BYTES_MAX {
            return Text(0);
        }
        if (self.count + 1) * 4 > self.table.len() * 3 {
            self.grow();
        }
        let mut slot = self.slot(text.as_bytes());
        loop {
            match self.table[slot] {
                EMPTY => break,
                at if self.bytes(Text(at)) == text.as_bytes() => return Text(at),
                _ => slot = (slot + 1) & (self.table.len() - 1),
            }
        }
        let at = u32::try_from(self.heap.len()).unwrap_or(0);
        self.heap.extend(len.to_le_bytes());
        self.heap.extend(text.as_bytes());
        self.table[slot] = at;
        self.count += 1;
        Text(at)
    }

    fn slot(&self, bytes: &[u8]) -> usize {
        usize::try_from(self.hasher.hash_one(bytes)).unwrap_or(0) & (self.table.len() - 1)
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.table);
        self.table = vec![EMPTY; old.len() * 2];
        for at in old.into_iter().filter(|at| *at != EMPTY) {
            let mut slot = self.slot(self.bytes(Text(at)));
            while self.table[slot] != EMPTY {
                slot = (slot + 1) & (self.table.len() - 1);
            }
            self.table[slot] = at;
        }
    }

    fn bytes(&self, text: Text) -> &[u8] {
        let at = text.0 as usize;
        let len = self.heap.get(at..at + 2).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
        self.heap.get(at + 2..at + 2 + len).unwrap_or_default()
    }

    /// A text by its place.
    #[must_use]
    pub fn get(&self, text: Text) -> &str {
        std::str::from_utf8(self.bytes(text)).unwrap_or_default()
    }

    /// The heap in another order: the texts of `first` in front, then all others as they are; and the new place of each text.
    #[must_use]
    pub fn reordered(&self, first: &[Text]) -> (Vec<u8>, Moved) {
        let mut heap = Vec::with_capacity(self.heap.len());
        heap.extend([0, 0]);
        let mut moved = Moved(Vec::with_capacity(self.count));
        let mut put = |text: Text, moved: &mut Moved| {
            let bytes = self.bytes(text);
            let at = u32::try_from(heap.len()).unwrap_or(0);
            heap.extend(u16::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
            heap.extend(bytes);
            moved.0.push((text.0, at));
        };
        for text in first.iter().filter(|text| text.0 != 0) {
            put(*text, &mut moved);
        }
        moved.0.sort_unstable();
        let front = moved.0.len();
        let mut at = 2;
        while at < self.heap.len() {
            let text = Text(u32::try_from(at).unwrap_or(0));
            if moved.0[..front].binary_search_by_key(&text.0, |(old, _)| *old).is_err() {
                put(text, &mut moved);
            }
            at += 2 + self.bytes(text).len();
        }
        moved.0.sort_unstable();
        (heap, moved)
    }
}

/// Where each text went.
#[derive(Debug)]
pub struct Moved(Vec<(u32, u32)>);

impl Moved {
    /// The new place.
    #[must_use]
    pub fn place(&self, text: Text) -> Text {
        Text(self.0.binary_search_by_key(&text.0, |(old, _)| *old).map_or(0, |at| self.0[at].1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_once_and_found_after_they_moved() {
        let mut texts = Interner::default();
        let places: Vec<Text> = (0..5_000).map(|n| texts.intern(&format!("text {n}"))).collect();
        assert_eq!(texts.intern("text 17"), places[17]);
        assert_eq!(texts.intern(""), Text(0));
        let (heap, moved) = texts.reordered(&[places[4_999], places[3]]);
        assert_eq!(&heap[4..13], b"text 4999");
        for (n, place) in places.iter().enumerate() {
            let at = moved.place(*place).0 as usize;
            let want = format!("text {n}");
            assert_eq!(&heap[at + 2..at + 2 + want.len()], want.as_bytes());
        }
        assert_eq!(heap.len(), texts.heap.len());
    }
}
