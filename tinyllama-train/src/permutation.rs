//! A pseudo-random permutation of `0..len` in constant memory.
//!
//! A balanced Feistel network permutes the smallest power of four that holds `len`, and "cycle
//! walking" leads values outside of the range back into it (Black & Rogaway, "Ciphers with Arbitrary
//! Finite Domains", 2002). Any element costs the same, so a position can be sought without replaying.

/// A permutation of `0..len`, chosen by a key.
#[derive(Clone, Debug)]
pub(crate) struct Permutation {
    len: u64,
    half_bits: u32,
    round_keys: [u64; 6],
}

impl Permutation {
    /// The permutation of `0..len` that belongs to `(seed, stream)`.
    ///
    /// # Panics
    /// When `len` is zero or above 2^62.
    pub(crate) fn new(len: u64, seed: u64, stream: u64) -> Self {
        assert!((1..=1 << 62).contains(&len), "a permutation needs 1 to 2^62 elements, not {len}");
        let bits = u64::BITS - (len - 1).leading_zeros();
        let mut state = mix(seed) ^ mix(stream.wrapping_add(0x6a09_e667_f3bc_c909));
        let round_keys = [(); 6].map(|()| {
            state = mix(state);
            state
        });
        Self { len, half_bits: bits.div_ceil(2).max(1), round_keys }
    }

    /// Where `index` goes.
    ///
    /// # Panics
    /// When `index` is not below `len`.
    pub(crate) fn get(&self, index: u64) -> u64 {
        assert!(index < self.len, "element {index} of {}", self.len);
        // The domain is below 4 len (or 4 where len is 1), so a walk takes fewer than four steps on
        // average; it ends because the cycle that starts inside of the range returns to it.
        let mut value = self.encrypt(index);
        while value >= self.len {
            value = self.encrypt(value);
        }
        value
    }

    fn encrypt(&self, value: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.round_keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// SplitMix64's finalizer (Steele, Lea & Flood 2014): every output bit depends on every input bit.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_permuted() {
        for len in (1..70).chain([255, 256, 257, 1000, 4095, 4097]) {
            let permutation = Permutation::new(len, 7, len);
            let mut image: Vec<_> = (0..len).map(|index| permutation.get(index)).collect();
            image.sort_unstable();
            assert_eq!(image, (0..len).collect::<Vec<_>>(), "{len}");
        }
    }

    #[test]
    fn seeds_and_streams_give_other_orders() {
        let order = |seed, stream| -> Vec<_> {
            let permutation = Permutation::new(100, seed, stream);
            (0..100).map(|index| permutation.get(index)).collect()
        };
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(2, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(0, 1));
    }

    #[test]
    fn neighbours_scatter() {
        // Of 999 neighbours in a uniform random order of 1000, the mean distance is 1000 / 3 with a
        // standard deviation near 7: five deviations either way.
        let permutation = Permutation::new(1000, 3, 0);
        let order: Vec<_> = (0..1000).map(|index| permutation.get(index)).collect();
        let sum: u64 = order.windows(2).map(|pair| pair[0].abs_diff(pair[1])).sum();
        let mean = sum as f64 / 999.0;
        assert!((298.0..=368.0).contains(&mean), "{mean}");
    }

    #[test]
    fn any_element_of_a_huge_range_is_at_hand() {
        let permutation = Permutation::new(1 << 62, 3, 0);
        assert_ne!(permutation.get(0), permutation.get((1 << 62) - 1));
    }
}
