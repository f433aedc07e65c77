//! Elections as stories, one server at a time, against the table of the reference's rules.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::election::{Election, ElectionEffect, ElectionSettings};
use super::view::View;
use super::view::tests::view_of;
use super::vote::Vote;
use crate::base::{Instant, ServerId, Zxid};
use crate::codec::vote::{self, Notification, PeerState};

use PeerState::{Following, Leading, Looking, Observing};

/// One server under test, its clock and what it asked for.
struct Booth {
    election: Election,
    now: Instant,
    out: Vec<ElectionEffect>,
}

impl Booth {
    /// Server `me`, looking since now with an empty history of epoch 0.
    fn looking(me: i64, view: View) -> Booth {
        let mut booth = Booth::new(me, view);
        booth.look(0, 0);
        booth
    }

    fn new(me: i64, view: View) -> Booth {
        let now = Instant(1_000_000);
        let election = Election::new(ServerId(me), Arc::new(view), ElectionSettings::default(), now);
        Booth { election, now, out: Vec::new() }
    }

    fn look(&mut self, zxid: i64, epoch: i64) {
        self.election.look(Zxid(zxid), epoch, self.now, &mut self.out);
    }

    fn hear(&mut self, from: i64, said: Notification) {
        self.election.on_notification(ServerId(from), said, self.now, &mut self.out);
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.election.on_tick(self.now, &mut self.out);
    }

    fn gone(&mut self, ids: &[i64]) {
        let gone: BTreeSet<ServerId> = ids.iter().map(|id| ServerId(*id)).collect();
        self.election.on_reach(gone, self.now, &mut self.out);
    }

    /// What was sent since the last call: to whom, and the vote in it.
    fn sent(&mut self) -> Vec<(i64, PeerState, Vote)> {
        let sent = self.out.iter().filter_map(|effect| match effect {
            ElectionEffect::Send { to, bytes } => {
                let (payload, taken) = vote::cut(bytes).unwrap().expect("a whole frame");
                assert_eq!(taken, bytes.len());
                let said = Notification::decode(payload).unwrap();
                Some((to.0, said.state, Vote::of(&said)))
            }
            _ => None,
        });
        let sent = sent.collect();
        self.out.clear();
        sent
    }

    fn sent_to(&mut self) -> Vec<i64> {
        self.sent().into_iter().map(|(to, ..)| to).collect()
    }

    fn decided(&self) -> Option<i64> {
        self.out.iter().find_map(|effect| match effect {
            ElectionEffect::Decided { leader, .. } => Some(leader.0),
            _ => None,
        })
    }
}

fn says(state: PeerState, leader: i64, zxid: i64, round: i64, peer_epoch: i64) -> Notification {
    Notification {
        state,
        leader: ServerId(leader),
        zxid: Zxid(zxid),
        election_epoch: round,
        peer_epoch,
        version: 2,
        config: None,
    }
}

fn vote(leader: i64, zxid: i64, round: i64, peer_epoch: i64) -> Vote {
    Vote::of(&says(Looking, leader, zxid, round, peer_epoch))
}

fn five() -> View {
    view_of(&[1, 2, 3, 4, 5], &[])
}

#[test]
fn looking_begins_a_round_and_tells_every_voter() {
    let mut booth = Booth::new(2, view_of(&[1, 2, 3], &[4]));
    booth.look(7, 1);
    let mine = vote(2, 7, 1, 1);
    assert_eq!(booth.sent(), [(1, Looking, mine), (3, Looking, mine)]);
    assert_eq!((booth.election.state(), booth.election.vote()), (Looking, mine));
    booth.look(8, 1);
    assert_eq!(booth.sent()[0].2, vote(2, 8, 2, 1), "each time a new round");
}

#[test]
fn every_notification_carries_the_configuration_at_version_zero() {
    let mut booth = Booth::looking(1, View { version: 9, ..view_of(&[1, 2], &[]) });
    let Some(ElectionEffect::Send { bytes, .. }) = booth.out.pop() else { panic!("nothing sent") };
    let config = Notification::decode(vote::cut(&bytes).unwrap().unwrap().0).unwrap().config.unwrap();
    assert!(config.ends_with("version=0") && config.starts_with("server.1=zk1:2001:3001:participant\n"), "{config}");
}

#[test]
fn a_better_vote_of_the_round_is_adopted_and_passed_on() {
    let mut booth = Booth::looking(1, five());
    booth.sent();
    booth.hear(2, says(Looking, 2, 0, 1, 0));
    assert_eq!(booth.sent().last(), Some(&(5, Looking, vote(2, 0, 1, 0))));
    booth.hear(3, says(Looking, 3, 5, 1, -1));
    assert_eq!(booth.election.vote(), vote(2, 0, 1, 0), "an earlier epoch is no match for it");
}

#[test]
fn a_worse_vote_is_counted_and_its_sender_told_once() {
    let mut booth = Booth::looking(4, five());
    booth.sent();
    booth.hear(1, says(Looking, 1, 0, 1, 0));
    assert_eq!(booth.sent(), [(1, Looking, vote(4, 0, 1, 0))]);
    booth.hear(1, says(Looking, 1, 0, 1, 0));
    assert_eq!(booth.sent(), []);
}

#[test]
fn a_later_round_starts_the_count_anew_from_the_own_vote() {
    let mut booth = Booth::looking(3, five());
    booth.hear(1, says(Looking, 3, 0, 1, 0));
    booth.hear(5, says(Looking, 5, 0, 1, 0));
    booth.sent();
    // 5 was better, but that was in another round.
    booth.hear(2, says(Looking, 2, 0, 4, 0));
    assert_eq!(booth.election.vote(), vote(3, 0, 4, 0));
    assert_eq!(booth.sent_to(), [1, 2, 4, 5]);
    booth.hear(1, says(Looking, 3, 0, 4, 0));
    booth.wait(200);
    assert_eq!(booth.decided(), None, "votes of round 1 must not count in round 4");
}

#[test]
fn who_is_behind_is_told_the_round() {
    let mut booth = Booth::looking(3, five());
    booth.look(0, 0);
    booth.sent();
    booth.hear(5, says(Looking, 5, 9, 1, 9));
    assert_eq!(booth.sent(), [(5, Looking, vote(3, 0, 2, 0))]);
}

#[test]
fn a_quorum_settles_for_200_ms() {
    let mut booth = Booth::looking(3, five());
    booth.hear(1, says(Looking, 3, 0, 1, 0));
    booth.hear(2, says(Looking, 3, 0, 1, 0));
    booth.wait(199);
    assert_eq!(booth.decided(), None);
    booth.wait(1);
    assert_eq!(booth.decided(), Some(3));
    assert_eq!(booth.election.state(), Leading);
}

#[test]
fn a_better_vote_while_settling_reopens_the_election() {
    let mut booth = Booth::looking(3, five());
    booth.hear(1, says(Looking, 3, 0, 1, 0));
    booth.hear(2, says(Looking, 3, 0, 1, 0));
    booth.wait(150);
    booth.hear(5, says(Looking, 5, 0, 1, 0));
    booth.wait(150);
    assert_eq!(booth.decided(), None);
    assert_eq!(booth.election.vote().leader, ServerId(5));
}

#[test]
fn news_from_another_voter_prolongs_settling_and_repetition_does_not() {
    let mut booth = Booth::looking(3, five());
    booth.hear(1, says(Looking, 3, 0, 1, 0));
    booth.hear(2, says(Looking, 3, 0, 1, 0));
    booth.wait(100);
    booth.hear(2, says(Looking, 3, 0, 1, 0));
    booth.wait(99);
    booth.hear(4, says(Looking, 3, 0, 1, 0));
    booth.wait(199);
    assert_eq!(booth.decided(), None);
    booth.wait(1);
    assert_eq!(booth.decided(), Some(3));
}

#[test]
fn when_all_have_voted_nobody_is_waited_for() {
    let mut booth = Booth::looking(1, view_of(&[1, 2, 3], &[9]));
    booth.hear(2, says(Looking, 2, 0, 1, 0));
    assert_eq!(booth.decided(), None);
    // 3's vote has been heard through itself: 2 can only come round to it.
    booth.hear(3, says(Looking, 3, 0, 1, 0));
    assert_eq!(booth.decided(), Some(3));
    assert_eq!(booth.election.state(), Following);
}

#[test]
fn a_voter_that_refuses_connections_is_not_waited_for() {
    let mut booth = Booth::looking(1, view_of(&[1, 2, 3], &[]));
    booth.hear(2, says(Looking, 2, 0, 1, 0));
    booth.wait(10);
    assert_eq!(booth.decided(), None, "3 may just be slow");
    booth.gone(&[3]);
    assert_eq!(booth.decided(), Some(2));
}

#[test]
fn who_refuses_does_not_make_a_quorum() {
    let mut booth = Booth::looking(1, five());
    booth.gone(&[3, 4, 5]);
    booth.hear(2, says(Looking, 2, 0, 1, 0));
    booth.wait(100_000);
    assert_eq!(booth.decided(), None);
}

#[test]
fn absence_in_an_earlier_election_is_no_absence_in_this_one() {
    let mut booth = Booth::looking(1, view_of(&[1, 2, 3], &[]));
    booth.gone(&[3]);
    booth.look(0, 0);
    booth.hear(2, says(Looking, 2, 0, 2, 0));
    assert_eq!(booth.decided(), None);
}

#[test]
fn a_candidate_that_died_during_the_election_gets_one_more_round_not_a_vote() {
    let mut booth = Booth::looking(1, view_of(&[1, 2, 3], &[]));
    booth.hear(2, says(Looking, 3, 0, 1, 0));
    booth.gone(&[3]);
    booth.wait(200);
    assert_eq!(booth.decided(), None);
    assert_eq!(booth.election.vote(), vote(1, 0, 2, 0));
    booth.hear(2, says(Looking, 2, 0, 2, 0));
    assert_eq!(booth.decided(), Some(2));

    // It may be only us who cannot reach it: the second time the quorum is believed.
    let mut booth = Booth::looking(1, view_of(&[1, 2, 3], &[]));
    booth.gone(&[3]);
    for round in 1..=2 {
        assert_eq!(booth.decided(), None);
        booth.hear(2, says(Looking, 3, 0, round, 0));
        booth.wait(200);
    }
    assert_eq!(booth.decided(), Some(3));
}

#[test]
fn one_voter_elects_itself() {
    let booth = Booth::looking(1, view_of(&[1], &[2]));
    assert_eq!(booth.decided(), Some(1));
}

/// ZOOKEEPER-261, 2325.
#[test]
fn members_without_data_neither_vote_nor_count() {
    let mut booth = Booth::looking(3, view_of(&[1, 2, 3], &[]));
    booth.hear(1, says(Looking, 1, -1, 1, 0));
    booth.hear(2, says(Looking, 3, -1, 1, 0));
    booth.wait(10_000);
    assert_eq!(booth.decided(), None);

    let mut empty = Booth::new(3, view_of(&[1, 2, 3], &[]));
    empty.look(-1, 0);
    empty.hear(1, says(Looking, 2, 5, 1, 0));
    empty.hear(2, says(Looking, 2, 5, 1, 0));
    empty.wait(300);
    assert_eq!((empty.decided(), empty.election.vote().leader), (None, ServerId(3)));
    empty.hear(1, says(Following, 2, 5, 1, 1));
    empty.hear(2, says(Leading, 2, 5, 1, 1));
    assert_eq!(empty.decided(), Some(2), "it does find the leader others elected");
}

#[test]
fn a_member_without_data_is_not_waited_for_either() {
    let mut booth = Booth::looking(2, view_of(&[1, 2, 3], &[]));
    booth.hear(1, says(Looking, 2, 0, 1, 0));
    assert_eq!(booth.decided(), None);
    booth.hear(3, says(Looking, 3, -1, 1, 0));
    assert_eq!(booth.decided(), Some(2));
}

#[test]
fn a_late_joiner_follows_whom_a_quorum_follows() {
    let mut booth = Booth::looking(1, five());
    booth.look(0, 0);
    booth.look(0, 0);
    booth.hear(2, says(Following, 5, 40, 2, 7));
    // Of another election, with another zxid: the same leader and epoch all the same.
    booth.hear(5, says(Leading, 5, 30, 1, 7));
    assert_eq!(booth.decided(), None);
    booth.hear(3, says(Following, 5, 30, 1, 7));
    assert_eq!(booth.decided(), Some(5));
    assert_eq!((booth.election.state(), booth.election.round()), (Following, 1));
}

#[test]
fn a_leader_that_does_not_say_so_is_not_joined() {
    let mut booth = Booth::looking(1, five());
    for from in [2, 3, 4] {
        booth.hear(from, says(Following, 5, 0, 8, 7));
    }
    booth.wait(1_000);
    assert_eq!(booth.decided(), None, "5 is dead and they have not noticed");
    booth.hear(5, says(Leading, 5, 0, 8, 7));
    assert_eq!(booth.decided(), Some(5));
}

#[test]
fn within_a_round_a_follower_may_be_an_epoch_behind_its_leader() {
    let mut booth = Booth::looking(1, view_of(&[1, 2, 3], &[]));
    booth.hear(2, says(Following, 3, 0, 1, 0));
    booth.hear(3, says(Leading, 3, 0, 1, 1));
    assert_eq!(booth.decided(), Some(3));
}

#[test]
fn outside_the_round_the_epochs_must_be_equal() {
    let mut booth = Booth::looking(1, view_of(&[1, 2, 3], &[]));
    booth.hear(2, says(Following, 3, 0, 5, 0));
    booth.hear(3, says(Leading, 3, 0, 5, 1));
    assert_eq!(booth.decided(), None, "2 is not in step yet");
    booth.hear(2, says(Following, 3, 0, 5, 1));
    assert_eq!(booth.decided(), Some(3));

    let mut booth = Booth::looking(1, view_of(&[1, 2, 3], &[]));
    booth.hear(2, Notification { version: 0, ..says(Following, 3, 0, 5, 0) });
    booth.hear(3, says(Leading, 3, 0, 5, 1));
    assert_eq!(booth.decided(), Some(3), "a server of before 3.4.6 never updates its epoch");
}

#[test]
fn elected_by_others_in_this_round_is_elected() {
    let mut booth = Booth::looking(3, view_of(&[1, 2, 3], &[]));
    booth.hear(1, says(Following, 3, 0, 1, 0));
    assert_eq!(booth.decided(), Some(3), "with the own vote two of three");

    // They follow what this server was before it restarted.
    let mut booth = Booth::looking(3, view_of(&[1, 2, 3], &[]));
    booth.hear(1, says(Following, 3, 0, 6, 4));
    booth.hear(2, says(Following, 3, 0, 6, 4));
    assert_eq!(booth.decided(), None);
}

#[test]
fn who_is_settled_answers_those_who_look() {
    let mut booth = Booth::looking(2, view_of(&[1, 2, 3], &[]));
    booth.hear(1, says(Looking, 2, 0, 1, 0));
    booth.wait(200);
    booth.election.on_established(6);
    booth.out.clear();
    booth.hear(3, says(Looking, 3, 9, 4, 9));
    assert!(booth.out.contains(&ElectionEffect::VoterLooks { voter: ServerId(3) }));
    assert_eq!(booth.sent(), [(3, Leading, vote(2, 0, 1, 6))]);
    booth.hear(3, says(Following, 2, 0, 1, 6));
    booth.hear(3, says(Observing, 2, 0, 1, 6));
    assert_eq!(booth.sent(), [], "who has a leader wants no answer");
    booth.wait(100_000);
    assert_eq!(booth.sent(), []);
}

#[test]
fn who_has_no_vote_is_answered_but_never_counted() {
    let mut booth = Booth::looking(2, view_of(&[1, 2, 3], &[7]));
    booth.sent();
    let nobody = says(Looking, i64::MIN, i64::MIN, 1, i64::MIN);
    booth.hear(7, nobody.clone());
    assert_eq!(booth.sent(), [(7, Looking, vote(2, 0, 1, 0))]);
    booth.hear(7, nobody.clone());
    assert_eq!(booth.sent(), [], "not the same within 50 ms: strangers could answer each other for ever");
    booth.wait(50);
    booth.hear(7, nobody);
    assert_eq!(booth.sent_to(), [7]);
    booth.hear(99, says(Looking, 2, 0, 1, 0));
    booth.hear(7, says(Looking, 2, 0, 1, 0));
    assert_eq!(booth.decided(), None);
    booth.hear(1, says(Looking, 99, 50, 1, 50));
    assert_eq!(booth.election.vote().leader, ServerId(2), "nobody outside the view is elected");
}

#[test]
fn an_observer_asks_with_the_least_vote_and_observes_the_leader() {
    let mut booth = Booth::looking(7, view_of(&[1, 2, 3], &[7]));
    assert_eq!(booth.sent().pop(), Some((3, Looking, vote(i64::MIN, i64::MIN, 1, i64::MIN))));
    booth.hear(1, says(Following, 2, 5, 3, 4));
    booth.hear(2, says(Leading, 2, 5, 3, 4));
    assert_eq!((booth.decided(), booth.election.state()), (Some(2), Observing));
}

#[test]
fn weight_zero_is_never_elected_but_a_quorum_may_be_without_it() {
    let mut view = view_of(&[1, 2, 3], &[]);
    view.groups = [1, 2, 3].map(|id| (ServerId(id), 1)).into();
    view.weights.insert(ServerId(3), 0);
    let mut booth = Booth::looking(1, view);
    booth.hear(3, says(Looking, 3, 9, 1, 9));
    assert_eq!(booth.election.vote().leader, ServerId(1));
    booth.hear(3, says(Looking, 1, 0, 1, 0));
    booth.wait(200);
    assert_eq!(booth.decided(), None, "its vote weighs nothing");
    booth.hear(2, says(Looking, 2, 0, 1, 0));
    assert_eq!(booth.decided(), Some(2));
}

#[test]
fn silence_is_broken_at_doubling_intervals_up_to_a_minute() {
    let mut booth = Booth::looking(1, five());
    booth.out.clear();
    let mut interval = 200;
    for _ in 0..12 {
        booth.wait(interval - 1);
        assert_eq!(booth.out, []);
        booth.wait(1);
        assert!(booth.out.contains(&ElectionEffect::ConnectAll));
        assert_eq!(booth.sent_to(), [2, 3, 4, 5]);
        interval = (interval * 2).min(60_000);
    }
    assert_eq!(interval, 60_000);
    booth.wait(30_000);
    booth.hear(2, says(Looking, 1, 0, 1, 0));
    booth.wait(59_999);
    assert_eq!(booth.out, [], "the pause counts from the last message");
    booth.wait(1);
    assert_eq!(booth.sent_to(), [2, 3, 4, 5]);
}

#[test]
fn lies_about_rounds_and_members_do_no_harm() {
    let mut booth = Booth::looking(1, view_of(&[1, 2, 3], &[]));
    booth.hear(2, says(Looking, 2, i64::MAX, i64::MAX, i64::MAX));
    booth.look(0, 0);
    assert_eq!(booth.election.round(), i64::MAX);
    booth.hear(2, Notification { config: Some("server.1=x".into()), ..says(Looking, 1, 0, i64::MAX, 0) });
    booth.hear(1, says(Looking, 1, 0, i64::MAX, 0));
    booth.wait(200);
    assert_eq!(booth.decided(), Some(1));
}

#[test]
fn nothing_is_said_before_the_first_election() {
    let mut booth = Booth::new(1, five());
    booth.hear(2, says(Looking, 2, 0, 1, 0));
    booth.wait(1_000);
    assert_eq!(booth.out, []);
    assert_eq!(booth.election.next_deadline(), None);
}

#[test]
fn the_electors_of_a_leader_are_those_who_voted_for_it() {
    let mut booth = Booth::looking(5, five());
    booth.hear(1, says(Looking, 5, 0, 1, 0));
    booth.hear(2, says(Looking, 2, 0, 1, 0));
    booth.hear(3, says(Looking, 5, 0, 1, 0));
    booth.wait(200);
    assert_eq!((booth.decided(), booth.election.state()), (Some(5), Leading));
    assert_eq!(booth.election.electors(), [1, 3, 5].map(ServerId).into());
}

fn with_oracle(me: i64, voters: &[i64]) -> Booth {
    let now = Instant(1_000_000);
    let settings = ElectionSettings { has_oracle: true, ..ElectionSettings::default() };
    let election = Election::new(ServerId(me), Arc::new(view_of(voters, &[])), settings, now);
    let mut booth = Booth { election, now, out: Vec::new() };
    booth.look(7, 1);
    booth
}

impl Booth {
    fn asks_oracle(&self) -> bool {
        self.out.contains(&ElectionEffect::AskOracle)
    }

    fn oracle(&mut self, yes: bool) -> Option<i64> {
        self.out.clear();
        self.election.on_oracle(yes, &mut self.out);
        self.decided()
    }
}

#[test]
fn one_of_two_voters_is_elected_by_the_oracle_when_the_other_says_nothing() {
    let mut booth = with_oracle(1, &[1, 2]);
    assert!(!booth.asks_oracle(), "the other one has not had the time to say anything");
    booth.wait(200);
    assert!(booth.asks_oracle());
    assert_eq!(booth.oracle(false), None);
    booth.wait(400);
    assert!(booth.asks_oracle(), "each time it says everything again");
    assert_eq!((booth.oracle(true), booth.election.state()), (Some(1), Leading));
    assert_eq!(booth.oracle(true), None, "once");
    // A third one would have to be asked instead.
    let mut booth = with_oracle(1, &[1, 2, 3]);
    booth.wait(200);
    assert!(!booth.asks_oracle());
}

#[test]
fn the_other_voter_that_leads_alone_is_followed_when_the_oracle_says_no() {
    let mut booth = with_oracle(1, &[1, 2]);
    booth.hear(2, says(Leading, 2, 9, 4, 1));
    assert!(booth.asks_oracle() && booth.decided().is_none());
    assert_eq!(booth.oracle(true), Some(1), "then that one is wrong");
    let mut booth = with_oracle(1, &[1, 2]);
    booth.hear(2, says(Leading, 2, 9, 4, 1));
    assert_eq!((booth.oracle(false), booth.election.state(), booth.election.round()), (Some(2), Following, 4));
    // Not one that only follows.
    let mut booth = with_oracle(1, &[1, 2]);
    booth.hear(2, says(Following, 1, 9, 4, 1));
    assert!(!booth.asks_oracle());
    assert_eq!(booth.oracle(false), None);
}

/// A server that knows nothing must not lead, whatever the oracle says.
#[test]
fn the_oracle_elects_nobody_without_data() {
    let mut booth = with_oracle(1, &[1, 2]);
    booth.look(-1, 0);
    booth.wait(200);
    assert_eq!(booth.oracle(true), None);
    booth.hear(2, says(Leading, 2, 9, 4, 1));
    assert_eq!(booth.oracle(false), Some(2));
}
