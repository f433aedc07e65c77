//! The token bucket in front of handshakes (parity RT-40..RT-44). ZK: BlueThrottle.
//!
//! Each shard has its share of the tokens, so no core asks another before it lets a client in.

use crate::base::Instant;

/// The knobs, for the whole server; [`TokenBucket::new`] divides them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ConnectionThrottle {
    /// The bucket's size, counted in weights already when `weighted`; 0 turns everything off.
    pub tokens: u32,
    pub fill_time_ms: u64,
    /// Tokens that come each `fill_time_ms`, counted as `tokens` is.
    pub fill_count: u32,
    /// Between two updates of the drop probability; `None` turns random dropping off.
    pub freeze_time_ms: Option<u64>,
    pub drop_increase: f64,
    pub drop_decrease: f64,
    pub decrease_ratio: f64,
    /// Whether new and renewed sessions cost differently.
    pub weighted: bool,
    pub new_session_weight: u32,
    pub renew_session_weight: u32,
}

impl Default for ConnectionThrottle {
    fn default() -> ConnectionThrottle {
        ConnectionThrottle {
            tokens: 0,
            fill_time_ms: 1,
            fill_count: 1,
            freeze_time_ms: None,
            drop_increase: 0.02,
            drop_decrease: 0.002,
            decrease_ratio: 0.0,
            weighted: false,
            new_session_weight: 3,
            renew_session_weight: 2,
        }
    }
}

#[derive(Clone, Debug)]
pub struct TokenBucket {
    rules: ConnectionThrottle,
    size: f64,
    fill_count: f64,
    tokens: f64,
    filled: Instant,
    drop_probability: f64,
    updated: Instant,
    dice: u64,
}

impl TokenBucket {
    /// The share of one of `shard_count` shards.
    pub fn new(rules: ConnectionThrottle, shard_count: u16, now: Instant) -> TokenBucket {
        let weight = match rules.weighted {
            true => f64::from(rules.new_session_weight.max(rules.renew_session_weight)),
            false => 1.0,
        };
        let share = 1.0 / f64::from(shard_count.max(1));
        // A share below one connection would refuse for ever.
        let cost_max = weight.max(1.0);
        let size = if rules.tokens == 0 { 0.0 } else { (f64::from(rules.tokens) * share).max(cost_max) };
        TokenBucket {
            rules,
            size,
            fill_count: f64::from(rules.fill_count) * share,
            tokens: size,
            filled: now,
            drop_probability: 0.0,
            updated: now,
            dice: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// Whether a handshake may go on. When not, the second value says how many tokens are missing.
    pub fn admit(&mut self, renews: bool, now: Instant) -> (bool, u64) {
        if self.rules.tokens == 0 {
            return (true, 0);
        }
        let cost = match (self.rules.weighted, renews) {
            (false, _) => 1.0,
            (true, false) => f64::from(self.rules.new_session_weight),
            (true, true) => f64::from(self.rules.renew_session_weight),
        };
        let elapsed_ms = now.millis_since(self.filled);
        if elapsed_ms > self.rules.fill_time_ms {
            let refill = elapsed_ms as f64 * self.fill_count / self.rules.fill_time_ms.max(1) as f64;
            self.tokens = (self.tokens + refill).min(self.size);
            self.filled = now;
        }
        self.update_drop_probability(now);
        if self.drop_probability > 0.0 && self.roll() < self.drop_probability {
            return (false, (self.size - self.tokens) as u64);
        }
        if self.tokens < cost {
            return (false, (self.size - self.tokens) as u64);
        }
        self.tokens -= cost;
        (true, (self.size - self.tokens) as u64)
    }

    /// The gauge connection_drop_probability.
    pub fn drop_probability(&self) -> f64 {
        self.drop_probability
    }

    fn update_drop_probability(&mut self, now: Instant) {
        let Some(freeze_ms) = self.rules.freeze_time_ms else { return };
        if now.millis_since(self.updated) <= freeze_ms {
            return;
        }
        self.updated = now;
        let used = self.size - self.tokens;
        if self.tokens < 1.0 {
            self.drop_probability = (self.drop_probability + self.rules.drop_increase).min(1.0);
        } else if used <= self.size * self.rules.decrease_ratio {
            self.drop_probability = (self.drop_probability - self.rules.drop_decrease).max(0.0);
        }
    }

    /// A fixed xorshift in 0..1: who is dropped need only be evenly spread, not unguessable.
    fn roll(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_bucket_refuses_until_it_fills() {
        let rules = ConnectionThrottle { tokens: 2, fill_time_ms: 100, fill_count: 1, ..Default::default() };
        let mut bucket = TokenBucket::new(rules, 1, Instant(0));
        assert_eq!(bucket.admit(false, Instant(0)), (true, 1));
        assert_eq!(bucket.admit(false, Instant(0)), (true, 2));
        assert!(!bucket.admit(false, Instant(0).plus_ms(50)).0);
        assert!(bucket.admit(false, Instant(0).plus_ms(151)).0);
        assert!(!bucket.admit(false, Instant(0).plus_ms(152)).0);
    }

    #[test]
    fn weights_make_renewals_cheaper_than_new_sessions() {
        let rules = ConnectionThrottle { tokens: 6, fill_time_ms: 1000, weighted: true, ..Default::default() };
        let mut bucket = TokenBucket::new(rules, 1, Instant(0));
        assert_eq!(bucket.admit(false, Instant(0)), (true, 3));
        assert_eq!(bucket.admit(true, Instant(0)), (true, 5));
        assert!(!bucket.admit(true, Instant(0)).0);
    }

    #[test]
    fn the_drop_probability_rises_while_the_bucket_is_empty() {
        let rules = ConnectionThrottle {
            tokens: 1,
            fill_time_ms: 100_000,
            freeze_time_ms: Some(10),
            drop_increase: 0.5,
            ..Default::default()
        };
        let mut bucket = TokenBucket::new(rules, 1, Instant(0));
        assert!(bucket.admit(false, Instant(0)).0);
        for step in 1..4 {
            assert!(!bucket.admit(false, Instant(0).plus_ms(20 * step)).0);
        }
        assert_eq!(bucket.drop_probability(), 1.0);
        let mut off = TokenBucket::new(ConnectionThrottle::default(), 4, Instant(0));
        assert!((0..1000).all(|_| off.admit(false, Instant(0)).0));
    }
}
