//! Addresses in ACLs of scheme `ip`: an address, or a network as address/bits (parity ).

use std::net::{Ipv4Addr, Ipv6Addr};

/// An address as bits from the top, and how many of them there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Address {
    bits: u128,
    width: u32,
}

impl Address {
    fn parse(text: &str) -> Option<Address> {
        if text.contains(':') {
            // Neither an embedded IPv4 address nor a zone is understood.
            let plain = text.bytes().all(|byte| byte == b':' || byte.is_ascii_hexdigit());
            let address: Ipv6Addr = if plain { text.parse().ok()? } else { return None };
            return Some(Address { bits: address.to_bits(), width: 128 });
        }
        let mut parts = text.split('.');
        let mut octets = [0u8; 4];
        for octet in &mut octets {
            let part = parts.next()?;
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            *octet = if digits { part.parse().ok()? } else { return None };
        }
        let bits = u128::from(Ipv4Addr::from(octets).to_bits()) << 96;
        parts.next().is_none().then_some(Address { bits, width: 32 })
    }
}

/// An address with the number of leading bits that count.
fn parse_network(text: &str) -> Option<(Address, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (Address::parse(address)?, Some(bits)),
        None => (Address::parse(text)?, None),
    };
    let bits = match bits {
        Some(bits) => bits.parse().ok()?,
        None => address.width,
    };
    (bits <= address.width).then_some((address, bits))
}

/// Whether `text` may be the id of an `ip` entry.
pub(super) fn is_network(text: &str) -> bool {
    parse_network(text).is_some()
}

/// Whether the caller's address lies in the network. What cannot be read never matches.
pub(super) fn matches(caller: &str, network: &str) -> bool {
    let (Some(caller), Some((address, bits))) = (Address::parse(caller), parse_network(network)) else {
        return false;
    };
    let differing = caller.bits ^ address.bits;
    caller.width == address.width && (bits == 0 || differing >> (128 - bits) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_matches_itself_and_its_networks() {
        for (caller, network) in [
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3", "10.1.0.0/16"),
            ("10.1.2.3", "10.255.0.0/8"),
            ("10.1.2.3", "0.0.0.0/0"),
            ("0:0:0:0:0:0:0:1", "::1"),
            ("2001:db8::5", "2001:db8:0:0:0:0:0:0/32"),
            ("2001:db8::5", "::/0"),
        ] {
            assert!(matches(caller, network), "{caller} {network}");
        }
        for (caller, network) in [
            ("10.1.2.3", "10.1.2.4"),
            ("10.1.2.3", "10.2.0.0/16"),
            ("10.1.2.3", "::/0"),
            ("::1", "0.0.0.0/0"),
            ("::ffff:a01:203", "10.1.2.3"),
            ("10.1.2.3", "10.1.2.3/33"),
            ("10.1.2.3", "10.1.2.3/-1"),
            ("10.1.2.3", "10.1.2"),
            ("10.1.2.3", "10.1.2.3.4"),
            ("10.1.2.3", "10.1.2.256"),
            ("10.1.2.3", ""),
            ("", ""),
        ] {
            assert!(!matches(caller, network), "{caller} {network}");
        }
    }

    #[test]
    fn networks_are_told_from_nonsense() {
        for good in ["1.2.3.4", "1.2.3.4/0", "fe80::/10", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::"] {
            assert!(is_network(good), "{good}");
        }
        for bad in [
            "",
            "/",
            "a.b.c.d",
            "1.2.3.4/x",
            "::ffff:1.2.3.4",
            "fe80::1%eth0",
            "1:2:3:4:5:6:7:8:9",
            "1::2::3",
            "1:2:3:4::5:6:7:8",
            "12345::",
            "::/129",
            "localhost",
        ] {
            assert!(!is_network(bad), "{bad}");
        }
    }
}
