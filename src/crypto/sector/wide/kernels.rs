//! XTS and CBC over runs of sectors, with several vectors in AES at the same time. One source for every
//! vector width.

use std::hint::black_box;

use super::SECTOR_UNIT;
use super::keys::{RoundKeys, Schedule};
use super::vector;
use crate::crypto::sector::batch::address_block;

/// Vectors in AES at the same time where each is a chain. A round of AES takes several cycles, and
/// another can start in each cycle: eight vectors hide that latency.
const FLIGHT: usize = 8;
/// How many sectors' tweaks or IVs are encrypted before their sectors are.
const BATCH: usize = 64;
/// CBC encryption works on several sectors at the same time, in parts of so many bytes. Larger sectors
/// are copied part by part into a buffer: in place, their lines would compete for the same set of the
/// first-level cache.
const CHAINED: usize = 512;

/// XTS over a sector, with the vectors in the order of the memory. Each tweak of a group is computed from its
/// first one by one multiplication, so that none waits for another. This needs many registers.
macro_rules! tweaks_by_multiplication {
    ($features:literal) => {
        /// Arguments of `times` for each vector of a group, and for the next group.
        type Powers = ([(Vector, Vector); GROUP], (Vector, Vector));

        #[inline]
        #[target_feature(enable = $features)]
        fn powers() -> Powers {
            let mut powers = [(zero(), zero()); GROUP];
            for (power, first) in powers.iter_mut().zip((0..).step_by(BLOCKS)) {
                *power = (counts(first, 1), counts(64 - first, -1));
            }
            let blocks = (GROUP * BLOCKS) as i64;
            (powers, (counts(blocks, 0), counts(64 - blocks, 0)))
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn xts_sector<const R: usize, const DECRYPT: bool>(
            keys: &[Vector; R],
            (powers, over_group): &Powers,
            first: &[u8; 16],
            sector: &mut [u8],
        ) {
            let mut first = all(first);
            let vectors = sector.as_chunks_mut::<BYTES>().0;
            for group in vectors.as_chunks_mut::<GROUP>().0 {
                let mut tweaks = [zero(); GROUP];
                let mut blocks = [zero(); GROUP];
                for nth in 0..GROUP {
                    let (by, rest) = powers[nth];
                    tweaks[nth] = times(first, by, rest);
                    blocks[nth] = xor3(load(&group[nth]), tweaks[nth], keys[0]);
                }
                rounds::<R, GROUP, DECRYPT>(keys, &mut blocks);
                for nth in 0..GROUP {
                    store(&mut group[nth], xor(blocks[nth], tweaks[nth]));
                }
                first = times(first, over_group.0, over_group.1);
            }
        }
    };
}

/// XTS over a sector, in parts. A part consists of as many lanes as a vector has blocks, and each block of a
/// vector comes from another lane. So the tweaks of the next vector are those of this one, doubled, which takes
/// half as many instructions as a multiplication.
macro_rules! tweaks_by_doubling {
    ($features:literal) => {
        /// Cipher blocks of a part, and of a lane.
        const PART: usize = SECTOR_UNIT / 16;
        const LANE: usize = PART / BLOCKS;
        const _: () = assert!(LANE * BLOCKS == PART && LANE.is_multiple_of(GROUP));

        /// Arguments of `times` for the first vector of a part, and for the next part.
        type Powers = [(Vector, Vector); 2];

        #[inline]
        #[target_feature(enable = $features)]
        fn powers() -> Powers {
            let (lane, part) = (LANE as i64, PART as i64);
            [
                (counts(0, lane), counts(64, -lane)),
                (counts(part, 0), counts(64 - part, 0)),
            ]
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn xts_sector<const R: usize, const DECRYPT: bool>(
            keys: &[Vector; R],
            [apart, over_part]: &Powers,
            first: &[u8; 16],
            sector: &mut [u8],
        ) {
            let mut first = all(first);
            let blocks = sector.as_chunks_mut::<16>().0;
            for lanes in blocks.as_chunks_mut::<LANE>().0.as_chunks_mut::<BLOCKS>().0 {
                let mut now = times(first, apart.0, apart.1);
                for group in 0..LANE / GROUP {
                    let mut group = lanes
                        .each_mut()
                        .map(|lane| &mut lane.as_chunks_mut::<GROUP>().0[group]);
                    let mut tweaks = [zero(); GROUP];
                    let mut blocks = [zero(); GROUP];
                    for nth in 0..GROUP {
                        let text = gather(group.each_ref().map(|lane| &lane[nth]));
                        tweaks[nth] = now;
                        blocks[nth] = xor3(text, now, keys[0]);
                        now = double(now);
                    }
                    // Kept in memory: with 16 registers, the compiler otherwise puts one block after another
                    // through AES.
                    let tweaks = black_box(tweaks);
                    rounds::<R, GROUP, DECRYPT>(keys, &mut blocks);
                    for nth in 0..GROUP {
                        let text = xor(blocks[nth], tweaks[nth]);
                        scatter(group.each_mut().map(|lane| &mut lane[nth]), text);
                    }
                }
                first = times(first, over_part.0, over_part.1);
            }
        }
    };
}

macro_rules! kernels {
    ($name:ident, $features:literal, $group:literal, $cbc_group:literal, $tweaks:ident) => {
        pub(super) mod $name {
            use super::vector::$name::*;
            use super::*;

            /// Sectors that CBC encrypts at the same time.
            const CHAINS: usize = FLIGHT * BLOCKS;
            /// Vectors of a smaller group, for the rest of a run.
            const FEW: usize = 2;
            const FEW_CHAINS: usize = FEW * BLOCKS;

            /// Vectors in AES at the same time in XTS.
            const GROUP: usize = $group;
            /// Vectors in AES at the same time where CBC decrypts.
            const CBC_GROUP: usize = $cbc_group;

            /// A part of a sector, as cipher blocks.
            type Part = [[u8; 16]; CHAINED / 16];

            /// The round keys, each in every block of a vector.
            #[inline]
            #[target_feature(enable = $features)]
            fn spread<const R: usize>(schedule: &Schedule<R>) -> [Vector; R] {
                let mut keys = [zero(); R];
                for (key, bytes) in keys.iter_mut().zip(schedule) {
                    *key = all(bytes);
                }
                keys
            }

            /// All rounds of AES on `N` vectors, to which the first round key was already added. The outer
            /// loop is over the rounds, so that `N` instructions do not depend on each other.
            #[inline]
            #[target_feature(enable = $features)]
            fn rounds<const R: usize, const N: usize, const DECRYPT: bool>(
                keys: &[Vector; R],
                blocks: &mut [Vector; N],
            ) {
                for key in &keys[1..R - 1] {
                    for block in blocks.iter_mut() {
                        *block = match DECRYPT {
                            true => decrypt(*block, *key),
                            false => encrypt(*block, *key),
                        };
                    }
                }
                for block in blocks.iter_mut() {
                    *block = match DECRYPT {
                        true => decrypt_last(*block, keys[R - 1]),
                        false => encrypt_last(*block, keys[R - 1]),
                    };
                }
            }

            /// Encrypts the first `count` tweaks or IVs of a batch, and the unused ones that fill up the
            /// last vector.
            #[inline]
            #[target_feature(enable = $features)]
            fn encrypt_firsts<const R: usize>(
                keys: &[Vector; R],
                firsts: &mut [[u8; 16]; BATCH],
                count: usize,
            ) {
                let used = count.next_multiple_of(BLOCKS).min(BATCH);
                let vectors = firsts[..used].as_flattened_mut().as_chunks_mut::<BYTES>().0;
                for group in vectors.chunks_mut(FLIGHT) {
                    let mut blocks = [zero(); FLIGHT];
                    for (block, bytes) in blocks.iter_mut().zip(group.iter()) {
                        *block = xor(load(bytes), keys[0]);
                    }
                    rounds::<R, FLIGHT, false>(keys, &mut blocks);
                    for (block, bytes) in blocks.iter().zip(group.iter_mut()) {
                        store(bytes, *block);
                    }
                }
            }

            /// Multiplies each block of `tweaks` by x^`by` in GF(2^128), for `by` from 0 to 63; `rest` is
            /// 64 - `by`. The bits shifted out of a half are carried into the high half (`raise`) and
            /// reduced (`fold`).
            #[inline]
            #[target_feature(enable = $features)]
            fn times(tweaks: Vector, by: Vector, rest: Vector) -> Vector {
                let carried = right(tweaks, rest);
                xor3(left(tweaks, by), raise(carried), fold(carried))
            }

            $tweaks!($features);

            /// XTS over a run.
            #[target_feature(enable = $features)]
            pub(in super::super) fn xts<const R: usize, const DECRYPT: bool>(
                [data, tweak]: &[RoundKeys<R>; 2],
                sector_size: usize,
                address: u64,
                run: &mut [u8],
            ) {
                let keys = spread(if DECRYPT {
                    data.decrypting()
                } else {
                    data.encrypting()
                });
                let tweak_keys = spread(tweak.encrypting());
                let powers = powers();
                let mut number = address / sector_size as u64;
                for batch in run.chunks_mut(BATCH * sector_size) {
                    let sectors = batch.chunks_exact_mut(sector_size);
                    let count = sectors.len();
                    let mut firsts = [[0; 16]; BATCH];
                    for (first, number) in firsts[..count].iter_mut().zip(number..) {
                        first[..8].copy_from_slice(&number.to_le_bytes());
                    }
                    number = number.wrapping_add(count as u64);
                    encrypt_firsts(&tweak_keys, &mut firsts, count);
                    for (sector, first) in sectors.zip(&firsts) {
                        xts_sector::<R, DECRYPT>(&keys, &powers, first, sector);
                    }
                }
            }

            /// The IVs of a batch's sectors: their encrypted addresses.
            #[inline]
            #[target_feature(enable = $features)]
            fn ivs<const R: usize>(
                keys: &[Vector; R],
                sector_size: usize,
                address: u64,
                count: usize,
            ) -> [[u8; 16]; BATCH] {
                let mut ivs = [[0; 16]; BATCH];
                let mut address = address;
                for iv in ivs[..count].iter_mut() {
                    *iv = address_block(address, 0).into();
                    address = address.wrapping_add(sector_size as u64);
                }
                encrypt_firsts(keys, &mut ivs, count);
                ivs
            }

            /// CBC decryption of a group of vectors; all blocks are independent. `last` is the ciphertext
            /// before the group; returns the ciphertext before the next.
            #[inline]
            #[target_feature(enable = $features)]
            fn cbc_group<const R: usize>(
                keys: &[Vector; R],
                last: Vector,
                group: &mut [[u8; BYTES]; CBC_GROUP],
            ) -> Vector {
                let mut last = last;
                let mut masks = [zero(); CBC_GROUP];
                let mut blocks = [zero(); CBC_GROUP];
                for nth in 0..CBC_GROUP {
                    let ciphertext = load(&group[nth]);
                    masks[nth] = before(last, ciphertext);
                    blocks[nth] = xor(ciphertext, keys[0]);
                    last = ciphertext;
                }
                rounds::<R, CBC_GROUP, true>(keys, &mut blocks);
                for nth in 0..CBC_GROUP {
                    store(&mut group[nth], xor(blocks[nth], masks[nth]));
                }
                last
            }

            /// CBC decryption of a run.
            #[target_feature(enable = $features)]
            pub(in super::super) fn cbc_decrypt<const R: usize>(
                key: &RoundKeys<R>,
                sector_size: usize,
                address: u64,
                run: &mut [u8],
            ) {
                let keys = spread(key.decrypting());
                let iv_keys = spread(key.encrypting());
                let mut address = address;
                for batch in run.chunks_mut(BATCH * sector_size) {
                    let sectors = batch.chunks_exact_mut(sector_size);
                    let ivs = ivs(&iv_keys, sector_size, address, sectors.len());
                    address = address.wrapping_add((sectors.len() * sector_size) as u64);
                    for (sector, iv) in sectors.zip(&ivs) {
                        let mut last = all(iv);
                        let vectors = sector.as_chunks_mut::<BYTES>().0;
                        for group in vectors.as_chunks_mut::<CBC_GROUP>().0 {
                            last = cbc_group(&keys, last, group);
                        }
                    }
                }
            }

            /// CBC encryption of a run. A sector is a chain, so each block of a vector belongs to another
            /// sector.
            #[target_feature(enable = $features)]
            pub(in super::super) fn cbc_encrypt<const R: usize>(
                key: &RoundKeys<R>,
                sector_size: usize,
                address: u64,
                run: &mut [u8],
            ) {
                let keys = spread(key.encrypting());
                let whole = run.len() - run.len() % sector_size;
                let mut address = address;
                for batch in run[..whole].chunks_mut(BATCH * sector_size) {
                    let count = batch.len() / sector_size;
                    let ivs = ivs(&keys, sector_size, address, count);
                    address = address.wrapping_add(batch.len() as u64);
                    let groups = batch.chunks_mut(CHAINS * sector_size);
                    for (group, ivs) in groups.zip(ivs.as_chunks::<CHAINS>().0) {
                        if group.len() > FEW_CHAINS * sector_size {
                            chain::<R, FLIGHT, CHAINS>(&keys, sector_size, group, ivs);
                            continue;
                        }
                        let ivs = ivs.as_chunks::<FEW_CHAINS>().0;
                        for (group, ivs) in group.chunks_mut(FEW_CHAINS * sector_size).zip(ivs) {
                            chain::<R, FEW, FEW_CHAINS>(&keys, sector_size, group, ivs);
                        }
                    }
                }
            }

            /// CBC encryption of up to `S` sectors, one for each block of `N` vectors.
            #[inline]
            #[target_feature(enable = $features)]
            fn chain<const R: usize, const N: usize, const S: usize>(
                keys: &[Vector; R],
                sector_size: usize,
                group: &mut [u8],
                ivs: &[[u8; 16]; S],
            ) {
                let mut chains = [zero(); N];
                for (chain, blocks) in chains
                    .iter_mut()
                    .zip(ivs.as_flattened().as_chunks::<BYTES>().0)
                {
                    *chain = load(blocks);
                }
                if sector_size == CHAINED {
                    let blocks = group.as_chunks_mut::<16>().0;
                    let parts = blocks.as_chunks_mut::<{ CHAINED / 16 }>().0;
                    if let ([parts], _) = parts.as_chunks_mut::<S>() {
                        return chain_parts::<R, N, S>(keys, &mut chains, parts);
                    }
                }
                let mut parts = [[[0; 16]; CHAINED / 16]; S];
                for start in (0..sector_size).step_by(CHAINED) {
                    let range = start..start + CHAINED;
                    for (part, sector) in parts.iter_mut().zip(group.chunks_exact(sector_size)) {
                        part.as_flattened_mut()
                            .copy_from_slice(&sector[range.clone()]);
                    }
                    chain_parts::<R, N, S>(keys, &mut chains, &mut parts);
                    for (part, sector) in parts.iter().zip(group.chunks_exact_mut(sector_size)) {
                        sector[range.clone()].copy_from_slice(part.as_flattened());
                    }
                }
            }

            /// CBC encryption of a part of `S` sectors: the nth block of each in one call.
            #[inline]
            #[target_feature(enable = $features)]
            fn chain_parts<const R: usize, const N: usize, const S: usize>(
                keys: &[Vector; R],
                chains: &mut [Vector; N],
                parts: &mut [Part; S],
            ) {
                let mut now = *chains;
                let parts = parts.as_chunks_mut::<BLOCKS>().0;
                for nth in 0..CHAINED / 16 {
                    for (chain, parts) in now.iter_mut().zip(parts.iter()) {
                        let blocks = gather(parts.each_ref().map(|part| &part[nth]));
                        *chain = xor3(*chain, blocks, keys[0]);
                    }
                    rounds::<R, N, false>(keys, &mut now);
                    for (chain, parts) in now.iter().zip(parts.iter_mut()) {
                        scatter(parts.each_mut().map(|part| &mut part[nth]), *chain);
                    }
                }
                *chains = now;
            }
        }
    };
}

// Vectors in AES at the same time. With 16 registers, of 2, 4, 6 and 8 vectors, 4 were fastest for XTS. With 32
// registers, 8 vectors leave registers for 8 tweaks and the round keys.
kernels!(v128, "aes,avx2,pclmulqdq", 4, 4, tweaks_by_doubling);
kernels!(v256, "avx2,vaes", 4, 8, tweaks_by_doubling);
kernels!(
    v512,
    "avx512bw,vaes,vpclmulqdq",
    8,
    8,
    tweaks_by_multiplication
);
