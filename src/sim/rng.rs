//! Dice from one seed: xoshiro256**, seeded through splitmix64. Same seed, same night.
//!
//! Our own few lines rather than a crate: a seed printed today must replay after every dependency update.

use crate::base::Dice;

/// A stream of pseudo-random numbers. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    pub fn new(seed: u64) -> Rng {
        let mut dice = Dice(seed);
        Rng { state: std::array::from_fn(|_| dice.throw()) }
    }

    /// A stream of its own for one part of the world, so that a change in one part does not stir the others.
    #[must_use]
    pub fn fork(&mut self) -> Rng {
        Rng::new(self.next())
    }

    pub fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0..end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // Multiply-shift; its bias is far below anything a simulation could notice.
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// The index of the weight the dice fell on.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut roll = self.below(weights.iter().map(|w| u64::from(*w)).sum());
        for (index, weight) in weights.iter().enumerate() {
            match roll.checked_sub(u64::from(*weight)) {
                Some(rest) => roll = rest,
                None => return index,
            }
        }
        weights.len() - 1
    }

    /// A latency: mostly near `typical`, at times several times as much.
    pub fn latency(&mut self, typical: u64) -> u64 {
        let base = typical / 2 + self.below(typical.max(1));
        if self.chance(30) { base + self.below(typical.saturating_mul(20).max(1)) } else { base }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_stream() {
        let (mut a, mut b, mut c) = (Rng::new(7), Rng::new(7), Rng::new(8));
        let first: Vec<u64> = (0..100).map(|_| a.next()).collect();
        assert!(first.iter().all(|x| *x == b.next()));
        assert!(first.iter().any(|x| *x != c.next()));
        assert!((0..1000).all(|_| a.between(3, 5) >= 3 && a.below(9) < 9 && a.weighted(&[1, 0, 2]) != 1));
    }
}
