//! The Merkle tree of RFC 6962, section 2.1, over SHA-256: hashes, proofs and their verification.
//!
//! Never reads anything: whoever asks for a proof says where the hashes of whole subtrees are ([`Nodes`]).

use sha2::{Digest as _, Sha256};
use staunch_model::Sha256Hash;

/// The most hashes of a proof: one for each level of the largest tree, and one more.
pub const PROOF_HASHES_MAX: usize = 65;

/// Where the hashes of whole subtrees come from.
pub trait Nodes {
    /// Why a hash cannot be had.
    type Error;

    /// The hash of the leaves from `index << level` on, `1 << level` of them, all of which are in the tree.
    ///
    /// # Errors
    /// When it cannot be read.
    fn node(&self, level: u32, index: u64) -> Result<Sha256Hash, Self::Error>;
}

/// The hash of a leaf.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Sha256Hash {
    Sha256Hash(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// The hash of a node.
#[must_use]
pub fn node_hash(left: Sha256Hash, right: Sha256Hash) -> Sha256Hash {
    let hash = Sha256::new()
        .chain_update([1])
        .chain_update(left.0)
        .chain_update(right.0);
    Sha256Hash(hash.finalize().into())
}

/// The root of the tree without leaves.
#[must_use]
pub fn empty_root() -> Sha256Hash {
    Sha256Hash::of(b"")
}

/// The root of the tree whose leaves have these hashes, which may be subtrees of one size themselves.
#[must_use]
pub fn root_of(hashes: &[Sha256Hash]) -> Sha256Hash {
    let mut stack = Vec::with_capacity(64);
    for hash in hashes {
        push(&mut stack, 1, *hash);
    }
    fold(&stack)
}

/// Adds a whole subtree of `size` leaves, a power of two, to a stack of whole subtrees that become smaller.
pub(super) fn push(stack: &mut Vec<(u64, Sha256Hash)>, size: u64, hash: Sha256Hash) {
    let (mut size, mut hash) = (size, hash);
    while let Some((left_size, left)) = stack.pop_if(|(left_size, _)| *left_size == size) {
        hash = node_hash(left, hash);
        size += left_size;
    }
    stack.push((size, hash));
}

/// The root over a stack of whole subtrees that become smaller.
pub(super) fn fold(stack: &[(u64, Sha256Hash)]) -> Sha256Hash {
    let from_the_right = stack.iter().rev().map(|(_, hash)| *hash);
    from_the_right
        .reduce(|right, left| node_hash(left, right))
        .unwrap_or_else(empty_root)
}

/// The root of the tree of the first `size` leaves.
///
/// # Errors
/// When a hash cannot be had.
pub fn root<N: Nodes>(nodes: &N, size: u64) -> Result<Sha256Hash, N::Error> {
    if size == 0 {
        return Ok(empty_root());
    }
    range(nodes, 0, size)
}

/// The proof that leaf `index` is in the tree of the first `size` leaves; `None` when it cannot be.
///
/// # Errors
/// When a hash cannot be had.
pub fn prove_inclusion<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Option<Vec<Sha256Hash>>, N::Error> {
    if index >= size {
        return Ok(None);
    }
    let (mut low, mut high) = (0, size);
    let mut proof = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            proof.push(range(nodes, middle, high)?);
            high = middle;
        } else {
            proof.push(range(nodes, low, middle)?);
            low = middle;
        }
    }
    proof.reverse();
    Ok(Some(proof))
}

/// The proof that the tree of the first `size` leaves begins with the tree of the first `earlier`; `None` when it
/// cannot.
///
/// # Errors
/// When a hash cannot be had.
pub fn prove_consistency<N: Nodes>(nodes: &N, earlier: u64, size: u64) -> Result<Option<Vec<Sha256Hash>>, N::Error> {
    if earlier > size {
        return Ok(None);
    }
    let mut proof = Vec::new();
    if earlier == 0 || earlier == size {
        return Ok(Some(proof));
    }
    let (mut low, mut high) = (0, size);
    // Down to the subtree that ends where the earlier tree does.
    while high != earlier {
        let middle = low + split(high - low);
        if earlier <= middle {
            proof.push(range(nodes, middle, high)?);
            high = middle;
        } else {
            proof.push(range(nodes, low, middle)?);
            low = middle;
        }
    }
    // The earlier root itself is known to who asks.
    if low != 0 {
        proof.push(range(nodes, low, high)?);
    }
    proof.reverse();
    Ok(Some(proof))
}

/// Whether `proof` proves that the leaf with `hash` is number `index` in the tree of `size` leaves with `root`
/// (RFC 9162, section 2.1.3.2).
#[must_use]
pub fn is_included(hash: Sha256Hash, index: u64, size: u64, root: Sha256Hash, proof: &[Sha256Hash]) -> bool {
    if index >= size || proof.len() > PROOF_HASHES_MAX {
        return false;
    }
    let (mut place, mut last) = (index, size - 1);
    let mut found = hash;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            found = node_hash(*sibling, found);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            found = node_hash(found, *sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && found == root
}

/// Whether `proof` proves that the tree of `size` leaves with `root` begins with the one of `earlier` leaves with
/// `earlier_root` (RFC 9162, section 2.1.4.2).
#[must_use]
pub fn is_consistent(
    earlier: u64,
    earlier_root: Sha256Hash,
    size: u64,
    root: Sha256Hash,
    proof: &[Sha256Hash],
) -> bool {
    if earlier > size || proof.len() > PROOF_HASHES_MAX {
        return false;
    }
    if earlier == size {
        return proof.is_empty() && earlier_root == root;
    }
    if earlier == 0 {
        return proof.is_empty() && earlier_root == empty_root();
    }
    let mut rest = proof.iter().copied();
    let first = if earlier.is_power_of_two() {
        Some(earlier_root)
    } else {
        rest.next()
    };
    let Some(first) = first else {
        return false;
    };
    let (mut place, mut last) = (earlier - 1, size - 1);
    while place & 1 == 1 {
        place >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (first, first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            old = node_hash(sibling, old);
            new = node_hash(sibling, new);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(new, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && old == earlier_root && new == root
}

/// The hash of the leaves from `low` to `high`, the latter not among them, where the range is a subtree.
fn range<N: Nodes>(nodes: &N, low: u64, high: u64) -> Result<Sha256Hash, N::Error> {
    let size = high - low;
    if size.is_power_of_two() {
        let level = size.trailing_zeros();
        return nodes.node(level, low >> level);
    }
    let middle = low + split(size);
    Ok(node_hash(range(nodes, low, middle)?, range(nodes, middle, high)?))
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}
