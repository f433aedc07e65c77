//! A session's password: nothing is stored, the id is the seed (parity SE-04..SE-07), so that a client can
//! move between servers, ZooKeeper's own included.

use crate::base::SessionId;

const SALT: i64 = 0xb341_5c00;
const MULTIPLIER: u64 = 0x5_deec_e66d;
const MASK: u64 = (1 << 48) - 1;

/// The password of a session. ZK: ZooKeeperServer.generatePasswd.
pub fn password(id: SessionId) -> [u8; 16] {
    // java.util.Random, word by word.
    let mut state = ((id.0 ^ SALT) as u64 ^ MULTIPLIER) & MASK;
    let mut password = [0; 16];
    for word in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xb) & MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

/// Whether `claimed` opens that session. Id 0 is nobody's (parity SE-07).
pub fn password_is(id: SessionId, claimed: &[u8]) -> bool {
    id != SessionId::NONE && claimed == password(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_the_ones_zookeeper_makes() {
        for (id, expected) in [
            (0x0100_0000_0000_0000, 0xf22a_cd4a_97e6_9d6d_20a4_9bb6_38ea_db38),
            (0x1, 0x054c_c74a_3732_7db2_15e7_02e2_0c73_f005),
            (-1, 0x20f6_2cb5_648d_c2d7_7147_1c8a_2486_a9ee),
            (0x1000_abcd_1234_0000, 0x6ed4_85dc_6378_d327_fcff_7770_e4ae_06cd_u128),
        ] {
            let id = SessionId(id);
            assert_eq!(password(id), expected.to_be_bytes());
            assert!(password_is(id, &expected.to_be_bytes()));
            assert!(!password_is(id, &[0; 16]));
        }
        assert!(!password_is(SessionId::NONE, &password(SessionId::NONE)));
    }
}
