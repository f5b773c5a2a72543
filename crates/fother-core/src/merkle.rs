//! The Merkle tree of RFC 6962 section 2.1, with the proof checks of RFC 9162 section 2.1: pure arithmetic over digests.
//!
//! A list's elements are *leaf hashes*. For the event log that is [`leaf_hash`] of the stored bytes. A typed digest
//! ([`Digest::of_kind`]) may stand in the list as it is, since its prefix already keeps it apart from inner nodes: so
//! [`root`], [`prove`] and [`verify`] serve a plan's sorted cohort digests as well. A plain file digest may not.

use crate::Digest;
use sha2::{Digest as _, Sha256};

/// Longest path that a proof can have: a tree of 2^64 leaves is 64 levels high.
pub const PATH_MAX: usize = 64;

/// SHA-256 over a zero byte and the leaf's bytes.
#[must_use]
pub fn leaf_hash(bytes: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(bytes);
    Digest(hash.finalize().into())
}

/// SHA-256 over a one byte and both children.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left.0);
    hash.update(right.0);
    Digest(hash.finalize().into())
}

/// The root of no leaves: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::of_file(b"")
}

/// The root over `leaves`.
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    let mut tree = Tree::default();
    for leaf in leaves {
        tree.append(*leaf);
    }
    tree.root()
}

/// A tree's right edge: what is needed to append and to know the root, and no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Roots of the perfect subtrees, the largest and leftmost first: one for each bit that is set in `size`.
    peaks: Vec<Digest>,
}

impl Tree {
    /// A tree from its parts, or nothing where the number of peaks does not belong to that size.
    #[must_use]
    pub fn from_parts(size: u64, peaks: Vec<Digest>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the perfect subtrees, the leftmost first.
    #[must_use]
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }

    /// Appends one leaf hash.
    pub fn append(&mut self, leaf: Digest) {
        self.append_with(leaf, |_, _, _| {});
    }

    /// Appends one leaf hash and calls `keep(level, index, hash)` for each perfect subtree that this completes, the leaf first (level 0).
    pub fn append_with(&mut self, leaf: Digest, mut keep: impl FnMut(u32, u64, &Digest)) {
        let mut hash = leaf;
        keep(0, self.size, &hash);
        for level in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
                keep(level + 1, self.size >> (level + 1), &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root over everything appended so far.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return empty_root() };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// Levels and indices of the perfect subtrees whose roots are the peaks of a tree of `size` leaves, the leftmost first.
pub fn peak_positions(size: u64) -> impl Iterator<Item = (u32, u64)> {
    (0..u64::BITS).rev().filter(move |level| size >> level & 1 == 1).map(move |level| (level, (size >> level) - 1))
}

/// Where the larger part begins to be smaller: the largest power of two below `width`, which is at least 2.
fn split(width: u64) -> u64 {
    1 << (u64::BITS - 1 - (width - 1).leading_zeros())
}

/// The hash over leaves `start..end` of a tree, from its perfect subtrees: `node(level, index)` covers `index << level` and the next `2^level` leaves.
fn range<E>(start: u64, end: u64, node: &mut impl FnMut(u32, u64) -> Result<Digest, E>) -> Result<Digest, E> {
    let width = end - start;
    if width == 0 {
        return Ok(empty_root());
    }
    if width.is_power_of_two() && start.is_multiple_of(width) {
        let level = width.trailing_zeros();
        return node(level, start >> level);
    }
    let middle = start + split(width);
    let left = range(start, middle, node)?;
    Ok(node_hash(&left, &range(middle, end, node)?))
}

/// The root of the first `size` leaves, from perfect subtrees.
///
/// # Errors
/// Whatever `node` fails with.
pub fn root_from<E>(size: u64, mut node: impl FnMut(u32, u64) -> Result<Digest, E>) -> Result<Digest, E> {
    range(0, size, &mut node)
}

/// The audit path of leaf `index` in the tree of the first `size` leaves (RFC 6962 section 2.1.1), from perfect subtrees; empty where `index` is not in it.
///
/// # Errors
/// Whatever `node` fails with.
pub fn prove_from<E>(index: u64, size: u64, mut node: impl FnMut(u32, u64) -> Result<Digest, E>) -> Result<Vec<Digest>, E> {
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while index < size && end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range(middle, end, &mut node)?);
            end = middle;
        } else {
            path.push(range(start, middle, &mut node)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `first` leaves is the beginning of that of `second` (RFC 6962 section 2.1.2), from perfect subtrees;
/// empty where the sizes are equal, `first` is 0, or `first` is the larger.
///
/// # Errors
/// Whatever `node` fails with.
pub fn prove_consistency_from<E>(first: u64, second: u64, mut node: impl FnMut(u32, u64) -> Result<Digest, E>) -> Result<Vec<Digest>, E> {
    let mut path = Vec::new();
    if first == 0 || first >= second {
        return Ok(path);
    }
    let (mut start, mut end) = (0, second);
    while end != first {
        let middle = start + split(end - start);
        if first <= middle {
            path.push(range(middle, end, &mut node)?);
            end = middle;
        } else {
            path.push(range(start, middle, &mut node)?);
            start = middle;
        }
    }
    if start > 0 {
        path.push(range(start, end, &mut node)?);
    }
    path.reverse();
    Ok(path)
}

fn of_slice(leaves: &[Digest]) -> impl FnMut(u32, u64) -> Result<Digest, std::convert::Infallible> {
    |level, index| {
        let start = (index << level) as usize;
        Ok(root(&leaves[start..start + (1 << level)]))
    }
}

fn never<T>(result: Result<T, std::convert::Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(impossible) => match impossible {},
    }
}

/// The audit path of `leaves[index]`, or nothing where there is no such leaf.
#[must_use]
pub fn prove(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    (index < leaves.len()).then(|| never(prove_from(index as u64, leaves.len() as u64, of_slice(leaves))))
}

/// The proof that the first `first` of `leaves` are the beginning of all of them, or nothing where there are fewer.
#[must_use]
pub fn prove_consistency(leaves: &[Digest], first: usize) -> Option<Vec<Digest>> {
    (first <= leaves.len()).then(|| never(prove_consistency_from(first as u64, leaves.len() as u64, of_slice(leaves))))
}

/// Whether `proof` shows that `leaf` is number `index` of the `size` leaves under `root` (RFC 9162 section 2.1.3.2).
#[must_use]
pub fn verify(root: &Digest, leaf: &Digest, index: u64, size: u64, proof: &[Digest]) -> bool {
    if index >= size || proof.len() > PATH_MAX {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            let skip = if at == 0 { 0 } else { at.trailing_zeros() };
            (at, last) = (at >> skip, last >> skip);
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `first` leaves under `first_root` is the beginning of the `second` leaves under `second_root` (RFC 9162 section 2.1.4.2).
#[must_use]
pub fn verify_consistency(first: u64, first_root: &Digest, second: u64, second_root: &Digest, proof: &[Digest]) -> bool {
    if first > second || proof.len() > PATH_MAX {
        return false;
    }
    if first == second {
        return proof.is_empty() && first_root == second_root;
    }
    if first == 0 {
        return proof.is_empty() && *first_root == empty_root();
    }
    let (seed, rest) = match proof {
        [] => return false,
        all if first.is_power_of_two() => (first_root, all),
        [seed, rest @ ..] => (seed, rest),
    };
    let skip = (first - 1).trailing_ones();
    let (mut at, mut last) = ((first - 1) >> skip, (second - 1) >> skip);
    let (mut old, mut new) = (*seed, *seed);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            (old, new) = (node_hash(sibling, &old), node_hash(sibling, &new));
            let skip = if at == 0 { 0 } else { at.trailing_zeros() };
            (at, last) = (at >> skip, last >> skip);
        } else {
            new = node_hash(&new, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old == *first_root && new == *second_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(text: &str) -> Digest {
        Digest::from_hex(text).unwrap()
    }

    /// The eight leaves of the vectors in the Certificate Transparency reference implementation.
    fn ct_leaves() -> Vec<Digest> {
        let bytes: [&[u8]; 8] = [
            b"",
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        bytes.iter().map(|leaf| leaf_hash(leaf)).collect()
    }

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    /// RFC 6962 section 2.1 word for word, to compare with.
    fn root_by_definition(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            many => {
                let mut k = 1;
                while k * 2 < many.len() {
                    k *= 2;
                }
                node_hash(&root_by_definition(&many[..k]), &root_by_definition(&many[k..]))
            }
        }
    }

    #[test]
    fn the_roots_are_those_of_certificate_transparency() {
        let all = ct_leaves();
        let known = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (size, text) in known.iter().enumerate() {
            assert_eq!(root(&all[..size]), hex(text), "{size} leaves");
        }
    }

    #[test]
    fn a_known_path_is_made_and_read() {
        let all = ct_leaves();
        let path = prove(&all, 5).unwrap();
        let known = [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ];
        assert_eq!(path, known.map(hex));
        assert!(verify(&root(&all), &all[5], 5, 8, &path));
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_nothing_else() {
        for size in 1..=33 {
            let all = leaves(size);
            let top = root(&all);
            for index in 0..size {
                let path = prove(&all, index).unwrap();
                for claim in 0..=size {
                    assert_eq!(verify(&top, &all[index], claim as u64, size as u64, &path), claim == index, "{claim} of {size}");
                }
            }
            assert_eq!(prove(&all, size), None);
        }
    }

    #[test]
    fn every_small_tree_is_proven_the_beginning_of_every_larger_one() {
        for size in 0..=33 {
            let all = leaves(size);
            for first in 0..=size {
                let path = prove_consistency(&all, first).unwrap();
                let old = root(&all[..first]);
                assert!(verify_consistency(first as u64, &old, size as u64, &root(&all), &path), "{first} of {size}");
                let forged = leaf_hash(b"forged");
                assert!(!verify_consistency(first as u64, &forged, size as u64, &root(&all), &path));
                assert!(!verify_consistency(first as u64, &old, size as u64, &forged, &path) || first == 0);
            }
        }
    }

    #[test]
    fn hostile_numbers_neither_panic_nor_pass() {
        let d = leaf_hash(b"x");
        assert!(!verify(&d, &d, u64::MAX - 1, u64::MAX, &[d; 65]));
        assert!(!verify(&d, &d, 0, 0, &[]));
        assert!(!verify(&d, &d, u64::MAX - 1, u64::MAX, &[d; 64]));
        assert!(!verify_consistency(u64::MAX - 1, &d, u64::MAX, &d, &[d; 64]));
        assert!(!verify_consistency(3, &d, 2, &d, &[]));
        assert!(!verify_consistency(1, &d, 2, &d, &[]));
    }

    proptest! {
        #[test]
        fn appending_one_by_one_gives_the_root_by_definition(size in 0_usize..300) {
            let all = leaves(size);
            let mut tree = Tree::default();
            let mut kept = std::collections::BTreeMap::new();
            for leaf in &all {
                tree.append_with(*leaf, |level, index, hash| { kept.insert((level, index), *hash); });
            }
            prop_assert_eq!(tree.root(), root_by_definition(&all));
            let peaks = peak_positions(size as u64).map(|at| kept[&at]).collect();
            prop_assert_eq!(Tree::from_parts(size as u64, peaks), Some(tree));
            for (&(level, index), hash) in &kept {
                let start = (index << level) as usize;
                prop_assert_eq!(*hash, root_by_definition(&all[start..start + (1 << level)]));
            }
        }

        #[test]
        fn a_changed_path_never_passes(size in 2_usize..200, pick in any::<prop::sample::Index>(), byte in 0_usize..32, node in any::<prop::sample::Index>()) {
            let all = leaves(size);
            let index = pick.index(size);
            let mut path = prove(&all, index).unwrap();
            let at = node.index(path.len());
            path[at].0[byte] ^= 1;
            prop_assert!(!verify(&root(&all), &all[index], index as u64, size as u64, &path));
            path[at].0[byte] ^= 1;
            path.push(all[0]);
            prop_assert!(!verify(&root(&all), &all[index], index as u64, size as u64, &path));
            path.truncate(path.len() - 2);
            prop_assert!(!verify(&root(&all), &all[index], index as u64, size as u64, &path));
        }

        #[test]
        fn a_rewritten_past_is_never_consistent(size in 2_usize..120, first in 1_usize..120, victim in any::<prop::sample::Index>()) {
            prop_assume!(first < size);
            let all = leaves(size);
            let mut forged = all.clone();
            forged[victim.index(first)] = leaf_hash(b"forged");
            let path = prove_consistency(&forged, first).unwrap();
            prop_assert!(!verify_consistency(first as u64, &root(&all[..first]), size as u64, &root(&forged), &path));
        }
    }
}
