//! How many are enough: a strict majority of voters, or of groups by weight.
//!
//! One predicate decides elections, epochs, NEWLEADER and every commit, so it exists once. Any two quorums of a view
//! share a server; that is the whole point, and the test at the end tries every pair.
//! ZK: QuorumMaj, QuorumHierarchical.

use std::collections::{BTreeMap, BTreeSet};

use super::view::View;
use crate::base::ServerId;

impl View {
    /// Whether these servers decide for all. Who is not a voter does not count, whoever put it in.
    pub fn has_quorum(&self, servers: &BTreeSet<ServerId>) -> bool {
        self.has_quorum_of(|id| servers.contains(&id))
    }

    /// As [`View::has_quorum`], asking for each voter instead of wanting a set.
    pub fn has_quorum_of(&self, mut counts: impl FnMut(ServerId) -> bool) -> bool {
        if self.is_hierarchical() {
            return self.has_group_quorum(counts);
        }
        let (mut voters, mut counted) = (0usize, 0usize);
        for id in self.voters() {
            voters += 1;
            counted += usize::from(counts(id));
        }
        counted > voters / 2
    }

    /// A strict majority of the groups that weigh anything, each by more than half of its weight.
    fn has_group_quorum(&self, mut counts: impl FnMut(ServerId) -> bool) -> bool {
        let mut groups: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for (id, group) in &self.groups {
            let weight = self.weight(*id);
            let (total, counted) = groups.entry(*group).or_default();
            *total = total.saturating_add(weight);
            if self.is_voter(*id) && counts(*id) {
                *counted = counted.saturating_add(weight);
            }
        }
        let weighing = groups.values().filter(|(total, _)| *total != 0).count();
        let won = groups.values().filter(|(total, counted)| *counted > total / 2).count();
        won > weighing / 2
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::view_of;
    use super::*;

    fn set(ids: &[i64]) -> BTreeSet<ServerId> {
        ids.iter().map(|id| ServerId(*id)).collect()
    }

    fn grouped(groups: &[(i64, &[i64])], weights: &[(i64, i64)]) -> View {
        let ids: Vec<i64> = groups.iter().flat_map(|(_, ids)| ids.iter().copied()).collect();
        let mut view = view_of(&ids, &[]);
        for (group, ids) in groups {
            view.groups.extend(ids.iter().map(|id| (ServerId(*id), *group)));
        }
        view.weights = weights.iter().map(|(id, weight)| (ServerId(*id), *weight)).collect();
        view
    }

    #[test]
    fn a_majority_is_more_than_half_of_the_voters() {
        for (voters, enough) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)] {
            let ids: Vec<i64> = (1..=voters).collect();
            let view = view_of(&ids, &[]);
            for count in 0..=voters {
                let some: Vec<i64> = (1..=count).collect();
                assert_eq!(view.has_quorum(&set(&some)), count >= enough, "{count} of {voters}");
            }
        }
    }

    #[test]
    fn observers_and_strangers_add_nothing() {
        let view = view_of(&[1, 2, 3], &[4, 5]);
        assert!(!view.has_quorum(&set(&[1, 4, 5, 99])));
        assert!(view.has_quorum(&set(&[1, 2, 99])));
    }

    #[test]
    fn groups_are_won_by_weight_and_counted_by_heads() {
        let three = grouped(&[(1, &[1, 2, 3]), (2, &[4, 5, 6]), (3, &[7, 8, 9])], &[]);
        assert!(three.has_quorum(&set(&[1, 2, 4, 5])), "two majorities of three groups");
        assert!(!three.has_quorum(&set(&[1, 2, 3, 4, 7])), "five servers, but one group");
        let weighed = grouped(&[(1, &[1, 2, 3])], &[(1, 3), (2, 1), (3, 1)]);
        assert!(weighed.has_quorum(&set(&[1])));
        assert!(!weighed.has_quorum(&set(&[2, 3])));
    }

    #[test]
    fn a_group_without_weight_does_not_count() {
        let view = grouped(&[(1, &[1, 2, 3]), (2, &[4, 5])], &[(4, 0), (5, 0)]);
        assert!(view.has_quorum(&set(&[1, 2])));
        assert!(!view.has_quorum(&set(&[1, 4, 5])));
        assert!(!view.has_quorum(&set(&[])));
        let weightless = grouped(&[(1, &[1])], &[(1, 0)]);
        assert!(!weightless.has_quorum(&set(&[1])), "nobody decides where nobody weighs anything");
    }

    #[test]
    fn any_two_quorums_share_a_server() {
        let views = [
            view_of(&[1, 2, 3, 4, 5, 6], &[]),
            view_of(&[1, 2, 3, 4, 5], &[6]),
            grouped(&[(1, &[1, 2, 3]), (2, &[4, 5]), (3, &[6])], &[]),
            grouped(&[(1, &[1, 2, 3]), (2, &[4, 5, 6])], &[(1, 2), (4, 0), (6, 5)]),
            grouped(&[(1, &[1, 2]), (2, &[3, 4]), (3, &[5, 6])], &[(5, 0), (6, 0)]),
        ];
        for view in views {
            let quorums: Vec<u8> =
                (0u8..64).filter(|bits| view.has_quorum_of(|id| bits >> (id.0 - 1) & 1 == 1)).collect();
            assert!(!quorums.is_empty());
            for a in &quorums {
                assert!(quorums.iter().all(|b| a & b != 0), "{view:?}: {a:b} has an enemy");
                assert!((0u8..64).all(|more| view.has_quorum_of(|id| (a | more) >> (id.0 - 1) & 1 == 1)));
            }
        }
    }
}
