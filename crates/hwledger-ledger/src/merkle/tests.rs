//! The tree against its definition, against published vectors and against another implementation.

#![expect(clippy::cast_possible_truncation, reason = "trees of some hundred leaves")]

use std::collections::HashMap;
use std::convert::Infallible;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;

use super::{
    Edge, Perfect, ProofError, TileName, consistency_proof, inclusion_proof, perfect_in_tile, root_of, tiles_of,
    verify_consistency, verify_inclusion,
};
use crate::hash::Hash;

/// The definition of RFC 6962, section 2.1, word for word.
fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(b""),
        [one] => *one,
        _ => {
            let middle = leaves.len().next_power_of_two() / 2;
            Hash::of_node(&tree_hash(&leaves[..middle]), &tree_hash(&leaves[middle..]))
        }
    }
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| Hash::of_leaf(&index.to_be_bytes())).collect()
}

/// What a store would keep.
#[derive(Default)]
struct Tiles {
    edge: Edge,
    full: HashMap<TileName, Vec<Hash>>,
}

impl Tiles {
    fn of(count: u64) -> Self {
        let mut tiles = Self::default();
        for leaf in leaves(count) {
            let Self { edge, full } = &mut tiles;
            edge.push(leaf, |name, hashes| assert!(full.insert(name, hashes.to_vec()).is_none(), "{name:?} twice"));
        }
        tiles
    }

    fn hashes(&self, name: TileName) -> Vec<Hash> {
        let partial = || self.edge.partial_tiles().find(|(known, _)| *known == name).map(|(_, tile)| tile.to_vec());
        self.full.get(&name).cloned().or_else(partial).unwrap_or_default()
    }

    fn node(&self, perfect: Perfect) -> Result<Hash, Perfect> {
        perfect_in_tile(perfect, &self.hashes(TileName::of(perfect))).ok_or(perfect)
    }
}

#[test]
fn published_roots_come_out() {
    // The eight leaves and roots of Certificate Transparency's own tests (google/certificate-transparency,
    // merkletree/merkle_tree_test.cc), as carried over by many.
    let inputs: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut edge = Edge::default();
    assert_eq!(edge.root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (input, root) in inputs.iter().zip(roots) {
        edge.push(Hash::of_leaf(input), |_, _| unreachable!("eight leaves fill no tile"));
        assert_eq!(edge.root().to_string(), root);
    }
}

#[test]
fn every_size_has_the_root_of_the_definition() {
    let all = leaves(700);
    let mut tiles = Tiles::default();
    for (count, leaf) in all.iter().enumerate() {
        assert_eq!(tiles.edge.root(), tree_hash(&all[..count]), "{count}");
        let Tiles { edge, full } = &mut tiles;
        edge.push(*leaf, |name, hashes| drop(full.insert(name, hashes.to_vec())));
        let reloaded = Edge::load(edge.size(), |name| Ok::<_, Infallible>(tiles.hashes(name))).unwrap_or_default();
        assert_eq!(reloaded.as_ref(), Some(&tiles.edge), "{count}");
    }
}

#[test]
fn tiles_have_the_published_shape() {
    // The example of the specification.
    let mut widths = HashMap::<u32, Vec<u64>>::new();
    for (name, width) in tiles_of(70_000) {
        widths.entry(name.level).or_default().push(width);
    }
    assert_eq!(widths[&0].iter().filter(|width| **width == 256).count(), 273);
    assert_eq!(widths[&0].last(), Some(&112));
    assert_eq!(widths[&1], [256, 17]);
    assert_eq!(widths[&2], [1]);
    assert_eq!(tiles_of(256).map(|(_, width)| width).collect::<Vec<_>>(), [256, 1]);
    assert_eq!(TileName { level: 3, index: 1_234_067 }.path(256), "tile/3/x001/x234/067");
    assert_eq!(TileName { level: 0, index: 0 }.entries_path(5), "tile/entries/000.p/5");
}

#[test]
fn proofs_hold_for_every_pair_and_for_no_other() {
    for size in 1..=68 {
        let tiles = Tiles::of(size);
        let root = tiles.edge.root();
        assert_eq!(root_of(size, |perfect| tiles.node(perfect)), Ok(root));
        let all = leaves(size);
        for index in 0..size {
            let proof = inclusion_proof(index, size, |perfect| tiles.node(perfect)).unwrap().unwrap();
            let leaf = all[index as usize];
            assert_eq!(verify_inclusion(leaf, index, size, &proof, &root), Ok(()));
            for other in (0..size).filter(|other| *other != index) {
                assert!(verify_inclusion(leaf, other, size, &proof, &root).is_err(), "{index} passes for {other}");
            }
            let longer = [proof.as_slice(), &[root]].concat();
            assert!(matches!(verify_inclusion(leaf, index, size, &longer, &root), Err(ProofError::Length { .. })));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(verify_inclusion(leaf, index, size, shorter, &root).is_err());
            }
            let old_root = tree_hash(&all[..index as usize]);
            let proof = consistency_proof(index, size, |perfect| tiles.node(perfect)).unwrap().unwrap();
            assert_eq!(verify_consistency(index, size, &old_root, &root, &proof), Ok(()), "{index} {size}");
            assert!(verify_consistency(index, size, &leaf, &root, &proof).is_err());
            if index > 0 {
                assert!(verify_consistency(index, size, &old_root, &leaf, &proof).is_err());
                let other = tree_hash(&all[..index as usize - 1]);
                assert!(verify_consistency(index - 1, size, &other, &root, &proof).is_err() || proof.is_empty());
            }
            for position in 0..proof.len() {
                let mut wrong = proof.clone();
                wrong[position].0[7] ^= 4;
                assert_eq!(verify_consistency(index, size, &old_root, &root, &wrong), Err(ProofError::Root));
            }
        }
        assert_eq!(inclusion_proof(size, size, |perfect| tiles.node(perfect)), Ok(None));
        assert_eq!(consistency_proof(size + 1, size, |perfect| tiles.node(perfect)), Ok(None));
    }
}

#[test]
fn another_implementation_agrees_both_ways() {
    let size = 600;
    let tiles = Tiles::of(size);
    let mut theirs = MemoryBackedTree::<Sha256, [u8; 8]>::new();
    let mut roots = vec![theirs.root()];
    for index in 0..size {
        theirs.push(index.to_be_bytes());
        roots.push(theirs.root());
    }
    let root = theirs.root();
    assert_eq!(root.as_bytes().as_slice(), tiles.edge.root().0);
    for index in (0..size).step_by(7).chain([255, 256, 511, 512, size - 1]) {
        let proof = inclusion_proof(index, size, |perfect| tiles.node(perfect)).unwrap().unwrap();
        let bytes: Vec<u8> = proof.iter().flat_map(|hash| hash.0).collect();
        let ours = ct_merkle::InclusionProof::<Sha256>::try_from_bytes(bytes.clone()).unwrap();
        root.verify_inclusion(&index.to_be_bytes(), index, &ours).unwrap();
        let their_proof = theirs.prove_inclusion(index as usize);
        assert_eq!(their_proof.as_bytes(), bytes, "entry {index}");
        if index == 0 {
            continue;
        }
        let proof = consistency_proof(index, size, |perfect| tiles.node(perfect)).unwrap().unwrap();
        let bytes: Vec<u8> = proof.iter().flat_map(|hash| hash.0).collect();
        let ours = ct_merkle::ConsistencyProof::<Sha256>::try_from_bytes(bytes.clone()).unwrap();
        root.verify_consistency(&roots[index as usize], &ours).unwrap();
        let theirs = theirs.prove_consistency((size - index) as usize);
        let hashes: Vec<Hash> = theirs.as_bytes().chunks(32).filter_map(Hash::from_slice).collect();
        let old = Hash::from_slice(roots[index as usize].as_bytes()).unwrap();
        assert_eq!(verify_consistency(index, size, &old, &tiles.edge.root(), &hashes), Ok(()));
    }
}
