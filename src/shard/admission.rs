//! How many connections there may be, per source address and in total (parity W-12, W-13).
//!
//! Lives on: the core that accepts. One for each listener group of the server, asked before a connection is
//! handed to a shard.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Why a connection is reset right after it was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// `maxClientCnxns` from this address are open.
    TooManyFromAddress,
    /// `maxCnxns` are open.
    TooMany,
}

#[derive(Clone, Debug)]
pub struct Admission {
    per_address_max: u32,
    total_max: u32,
    total: u32,
    by_address: BTreeMap<IpAddr, u32>,
}

impl Admission {
    /// 0 means no limit, for either.
    pub fn new(per_address_max: u32, total_max: u32) -> Admission {
        Admission { per_address_max, total_max, total: 0, by_address: BTreeMap::new() }
    }

    /// Counts one more connection from `address`. Every `Ok` is to be given back with [`Admission::release`].
    pub fn admit(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let address = address.to_canonical();
        if self.total_max > 0 && self.total >= self.total_max {
            return Err(Refusal::TooMany);
        }
        let open = self.by_address.get(&address).copied().unwrap_or(0);
        if self.per_address_max > 0 && open >= self.per_address_max {
            return Err(Refusal::TooManyFromAddress);
        }
        self.by_address.insert(address, open + 1);
        self.total += 1;
        Ok(())
    }

    /// A connection that was admitted is closed.
    pub fn release(&mut self, address: IpAddr) {
        let address = address.to_canonical();
        let Some(open) = self.by_address.get_mut(&address) else { return };
        *open -= 1;
        if *open == 0 {
            self.by_address.remove(&address);
        }
        self.total -= 1;
    }

    pub fn total(&self) -> u32 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_live_connections_only() {
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut admission = Admission::new(2, 3);
        assert_eq!(admission.admit(one), Ok(()));
        assert_eq!(admission.admit(one), Ok(()));
        assert_eq!(admission.admit(one), Err(Refusal::TooManyFromAddress));
        assert_eq!(admission.admit(two), Ok(()));
        assert_eq!(admission.admit(two), Err(Refusal::TooMany));
        admission.release(one);
        assert_eq!(admission.admit("::ffff:10.0.0.1".parse().unwrap()), Ok(()));
        admission.release(two);
        admission.release(two);
        assert_eq!(admission.total(), 2);
        let mut open = Admission::new(0, 0);
        assert!((0..1000).all(|_| open.admit(one).is_ok()));
    }
}
