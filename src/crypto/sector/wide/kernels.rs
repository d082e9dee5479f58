//! Runs of sectors through AES, several vectors in flight: the same text for every width.

use super::keys::{RoundKeys, Schedule};
use super::vector;
use crate::crypto::sector::batch::address_block;

/// Chains in flight: as many as hide the latency of an AES round.
const FLIGHT: usize = 8;
/// Sectors whose tweaks or IVs are encrypted in one go.
const BATCH: usize = 64;
/// Bytes of each sector that are encrypted side by side in one go: sectors that are larger come
/// through a buffer, where lines of different sectors do not contend for the same set of the cache.
const CHAINED: usize = 512;

macro_rules! kernels {
    ($name:ident, $features:literal, $group:literal) => {
        pub(super) mod $name {
            use super::vector::$name::*;
            use super::*;

            /// Sectors encrypted side by side, and in a smaller group.
            const CHAINS: usize = FLIGHT * BLOCKS;
            const FEW: usize = 2;
            const FEW_CHAINS: usize = FEW * BLOCKS;

            /// Independent vectors in flight.
            const GROUP: usize = $group;

            type Piece = [[u8; 16]; CHAINED / 16];

            #[inline]
            #[target_feature(enable = $features)]
            fn spread<const R: usize>(schedule: &Schedule<R>) -> [Vector; R] {
                let mut keys = [zero(); R];
                for (key, bytes) in keys.iter_mut().zip(schedule) {
                    *key = all(bytes);
                }
                keys
            }

            /// `N` vectors through AES, the first round key already added.
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

            /// Encrypts the first `count` of a batch's tweaks or IVs, and those that share a
            /// vector with them.
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

            /// Each block of `tweaks` times x to the power in `by`; `rest` is 64 less that.
            #[inline]
            #[target_feature(enable = $features)]
            fn times(tweaks: Vector, by: Vector, rest: Vector) -> Vector {
                let carried = right(tweaks, rest);
                xor3(left(tweaks, by), raise(carried), fold(carried))
            }

            /// XTS over a group: the tweaks of all blocks in flight come from one, by a
            /// multiplication each, so no chain of doublings delays them.
            #[inline]
            #[target_feature(enable = $features)]
            fn xts_group<const R: usize, const DECRYPT: bool>(
                keys: &[Vector; R],
                powers: &[(Vector, Vector); GROUP],
                first: Vector,
                group: &mut [[u8; BYTES]; GROUP],
            ) {
                let mut tweaks = [zero(); GROUP];
                let mut blocks = [zero(); GROUP];
                for nth in 0..GROUP {
                    let (by, rest) = powers[nth];
                    tweaks[nth] = times(first, by, rest);
                    blocks[nth] = xor3(load(&group[nth]), tweaks[nth], keys[0]);
                }
                let tweaks = set_aside(tweaks);
                rounds::<R, GROUP, DECRYPT>(keys, &mut blocks);
                for nth in 0..GROUP {
                    store(&mut group[nth], xor(blocks[nth], tweaks[nth]));
                }
            }

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
                let mut powers = [(zero(), zero()); GROUP];
                for (power, first) in powers.iter_mut().zip((0..).step_by(BLOCKS)) {
                    *power = (counts(first, 1), counts(64 - first, -1));
                }
                let blocks = (GROUP * BLOCKS) as i64;
                let over_group = (counts(blocks, 0), counts(64 - blocks, 0));
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
                        let mut first = all(first);
                        let vectors = sector.as_chunks_mut::<BYTES>().0;
                        for group in vectors.as_chunks_mut::<GROUP>().0 {
                            xts_group::<R, DECRYPT>(&keys, &powers, first, group);
                            first = times(first, over_group.0, over_group.1);
                        }
                    }
                }
            }

            /// The encrypted addresses of a batch's sectors: their IVs.
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

            /// CBC, back: all blocks are independent. The ciphertext that the next one follows.
            #[inline]
            #[target_feature(enable = $features)]
            fn cbc_group<const R: usize>(
                keys: &[Vector; R],
                last: Vector,
                group: &mut [[u8; BYTES]; GROUP],
            ) -> Vector {
                let mut last = last;
                let mut masks = [zero(); GROUP];
                let mut blocks = [zero(); GROUP];
                for nth in 0..GROUP {
                    let ciphertext = load(&group[nth]);
                    masks[nth] = before(last, ciphertext);
                    blocks[nth] = xor(ciphertext, keys[0]);
                    last = ciphertext;
                }
                rounds::<R, GROUP, true>(keys, &mut blocks);
                for nth in 0..GROUP {
                    store(&mut group[nth], xor(blocks[nth], masks[nth]));
                }
                last
            }

            /// CBC over a run, back.
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
                        for group in vectors.as_chunks_mut::<GROUP>().0 {
                            last = cbc_group(&keys, last, group);
                        }
                    }
                }
            }

            /// CBC, forth: a sector is a chain, so each block of a vector is another sector's.
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

            /// Up to `S` sectors, which are the blocks of `N` vectors.
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
                    let pieces = blocks.as_chunks_mut::<{ CHAINED / 16 }>().0;
                    if let ([pieces], _) = pieces.as_chunks_mut::<S>() {
                        return chain_pieces::<R, N, S>(keys, &mut chains, pieces);
                    }
                }
                let mut pieces = [[[0; 16]; CHAINED / 16]; S];
                for start in (0..sector_size).step_by(CHAINED) {
                    let range = start..start + CHAINED;
                    for (piece, sector) in pieces.iter_mut().zip(group.chunks_exact(sector_size)) {
                        piece
                            .as_flattened_mut()
                            .copy_from_slice(&sector[range.clone()]);
                    }
                    chain_pieces::<R, N, S>(keys, &mut chains, &mut pieces);
                    for (piece, sector) in pieces.iter().zip(group.chunks_exact_mut(sector_size)) {
                        sector[range.clone()].copy_from_slice(piece.as_flattened());
                    }
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn chain_pieces<const R: usize, const N: usize, const S: usize>(
                keys: &[Vector; R],
                chains: &mut [Vector; N],
                pieces: &mut [Piece; S],
            ) {
                let mut now = *chains;
                let pieces = pieces.as_chunks_mut::<BLOCKS>().0;
                for nth in 0..CHAINED / 16 {
                    for (chain, pieces) in now.iter_mut().zip(pieces.iter()) {
                        let blocks = gather(pieces.each_ref().map(|piece| &piece[nth]));
                        *chain = xor3(*chain, blocks, keys[0]);
                    }
                    rounds::<R, N, false>(keys, &mut now);
                    for (chain, pieces) in now.iter().zip(pieces.iter_mut()) {
                        scatter(pieces.each_mut().map(|piece| &mut piece[nth]), *chain);
                    }
                }
                *chains = now;
            }
        }
    };
}

// Of 2, 4, 6 and 8 blocks in flight in 16 registers, 4 were fastest. With 32 registers, 8 leave
// room for as many tweaks and the round keys.
kernels!(v128, "aes,avx2,pclmulqdq", 4);
kernels!(v256, "avx2,vaes", 8);
kernels!(v512, "avx512bw,vaes,vpclmulqdq", 8);
