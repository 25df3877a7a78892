//! Roots and proofs: by the definition, by the vectors of others, and changed.

use std::convert::Infallible;

use proptest::prelude::*;
use staunch_model::Sha256Hash;
use staunch_store::tlog::merkle::{
    self, Nodes, empty_root, is_consistent, is_included, leaf_hash, node_hash, prove_consistency, prove_inclusion,
};

/// Leaves in memory; hashes of subtrees by the definition.
struct Leaves(Vec<Sha256Hash>);

impl Nodes for Leaves {
    type Error = Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Sha256Hash, Infallible> {
        let at = |number: u64| usize::try_from(number << level).expect("small");
        Ok(defined(&self.0[at(index)..at(index + 1)]))
    }
}

/// MTH of RFC 6962, section 2.1, word by word.
pub(super) fn defined(leaves: &[Sha256Hash]) -> Sha256Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let mut middle = 1;
            while middle * 2 < leaves.len() {
                middle *= 2;
            }
            node_hash(defined(&leaves[..middle]), defined(&leaves[middle..]))
        }
    }
}

/// The leaves that the implementations of RFC 6962 share as a test.
fn known_leaves() -> Leaves {
    let leaves: [&[u8]; 8] = [
        &[],
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f,
        ],
    ];
    Leaves(leaves.iter().map(|leaf| leaf_hash(leaf)).collect())
}

fn hashes(texts: &[&str]) -> Vec<Sha256Hash> {
    texts.iter().map(|text| text.parse().expect("a hash")).collect()
}

#[test]
fn roots_and_proofs_are_those_that_others_have_written_down() {
    let leaves = known_leaves();
    let roots = hashes(&[
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]);
    for (size, root) in (0..).zip(&roots) {
        assert_eq!(merkle::root(&leaves, size), Ok(*root), "{size}");
    }
    let inclusion = hashes(&[
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]);
    assert_eq!(prove_inclusion(&leaves, 0, 8), Ok(Some(inclusion)));
    let consistency = hashes(&[
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]);
    assert_eq!(prove_consistency(&leaves, 6, 8), Ok(Some(consistency)));
}

fn numbered(count: u64) -> Leaves {
    Leaves((0..count).map(|it| leaf_hash(&it.to_be_bytes())).collect())
}

#[test]
fn every_proof_of_small_trees_proves_and_nothing_else_does() {
    for size in 0..40 {
        let leaves = numbered(size);
        let root = defined(&leaves.0);
        assert_eq!(merkle::root(&leaves, size), Ok(root));
        assert_eq!(prove_inclusion(&leaves, size, size), Ok(None));
        assert_eq!(prove_consistency(&leaves, size + 1, size), Ok(None));
        for (index, leaf) in (0..).zip(&leaves.0) {
            let Ok(proof) = prove_inclusion(&leaves, index, size);
            let proof = proof.expect("it is in the tree");
            assert!(is_included(*leaf, index, size, root, &proof), "{index} of {size}");
            for other in 0..size + 2 {
                assert_eq!(is_included(*leaf, other, size, root, &proof), other == index);
            }
            assert!(!is_included(leaf_hash(b"other"), index, size, root, &proof));
            assert!(!is_included(*leaf, index, size, leaf_hash(b"other"), &proof));
        }
        for earlier in 0..=size {
            let Ok(proof) = prove_consistency(&leaves, earlier, size);
            let proof = proof.expect("it is not larger");
            let earlier_root = defined(&leaves.0[..usize::try_from(earlier).expect("small")]);
            assert!(
                is_consistent(earlier, earlier_root, size, root, &proof),
                "{earlier} of {size}"
            );
            let other = leaf_hash(b"other");
            assert!(
                !is_consistent(earlier, other, size, root, &proof),
                "{earlier} of {size}"
            );
            assert!(earlier == 0 || !is_consistent(earlier, earlier_root, size, other, &proof));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_changed_proof_proves(size in 1_u64..600, a in any::<u64>(), b in any::<u64>(), at in any::<usize>(), bit in 0_usize..256) {
        let leaves = numbered(size);
        let root = defined(&leaves.0);
        let (index, earlier) = (a % size, b % size + 1);
        let flip = |proof: &[Sha256Hash]| {
            let mut changed = proof.to_vec();
            let at = at % proof.len().max(1);
            if let Some(hash) = changed.get_mut(at) {
                hash.0[bit / 8] ^= 1 << (bit % 8);
            }
            changed
        };
        let leaf = leaves.0[usize::try_from(index).expect("small")];
        let Ok(Some(proof)) = prove_inclusion(&leaves, index, size) else { panic!("it is in the tree") };
        prop_assert!(is_included(leaf, index, size, root, &proof));
        prop_assert_eq!(is_included(leaf, index, size, root, &flip(&proof)), proof.is_empty());
        let longer = [&proof[..], &[leaf]].concat();
        prop_assert!(!is_included(leaf, index, size, root, &longer));
        if let Some((_, shorter)) = proof.split_last() {
            prop_assert!(!is_included(leaf, index, size, root, shorter));
        }

        let earlier_root = defined(&leaves.0[..usize::try_from(earlier).expect("small")]);
        let Ok(Some(proof)) = prove_consistency(&leaves, earlier, size) else { panic!("it is not larger") };
        prop_assert!(is_consistent(earlier, earlier_root, size, root, &proof));
        prop_assert_eq!(is_consistent(earlier, earlier_root, size, root, &flip(&proof)), proof.is_empty());
        let longer = [&proof[..], &[leaf]].concat();
        prop_assert!(!is_consistent(earlier, earlier_root, size, root, &longer));
        if let Some((_, shorter)) = proof.split_last() {
            prop_assert!(!is_consistent(earlier, earlier_root, size, root, shorter));
        }
    }
}
