//! Fast leader election: everybody says whom they would follow, takes over every better proposal, and is done when a
//! quorum says the same. Message for message as Apache's servers do it, so both may vote in one election.
//!
//! ```text
//!            look                          quorum for my proposal        nothing better for finalizeWait,
//!   any --------------> LOOKING: proposing ----------------------> settling ------------------------> decided:
//!   role                     ^   |  quorum follows a leader           |      or nobody is left to say it    LEADING,
//!                            |   |  who says that it leads            |                                  FOLLOWING or
//!                            |   +------------------------------------+--------------------------------> OBSERVING
//!                            +-- a better vote, a later round --------+
//! ```
//!
//! One thing is ours: the reference always settles for 200 ms. Here a server decides at once when no vote can come
//! that would change its mind: every voter has voted in this round, or has no history to vote with, or cannot be
//! reached (its election port refuses). A quorum is needed all the same, so this costs no safety; and a voter that
//! is merely slow is waited for as ever.
//!
//! The machine lives as long as the server. While it is not LOOKING it answers those who are: that is how a late
//! joiner finds the leader. Configurations of peers are never applied (reconfiguration is off); one that differs is
//! said once. ZK: FastLeaderElection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::view::View;
use super::vote::{Ballot, Vote};
use crate::base::{Instant, ServerId, Zxid};
use crate::codec::vote::{Notification, PeerState};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ElectionSettings {
    /// How long a quorum must stand without a better vote (ZK: FastLeaderElection.finalizeWait).
    pub finalize_wait_ms: u64,
    /// The first pause before everything is said again (`fastleader.minNotificationInterval`); doubled each time.
    pub notification_interval_min_ms: u64,
    /// The longest (`fastleader.maxNotificationInterval`).
    pub notification_interval_max_ms: u64,
    /// There is an oracle, which counts while there are two voters (`oraclePath`).
    pub has_oracle: bool,
}

impl Default for ElectionSettings {
    fn default() -> ElectionSettings {
        ElectionSettings {
            finalize_wait_ms: 200,
            notification_interval_min_ms: 200,
            notification_interval_max_ms: 60_000,
            has_oracle: false,
        }
    }
}

/// To be carried out in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ElectionEffect {
    /// A framed notification. It supersedes any earlier one for `to` that is still waiting.
    Send { to: ServerId, bytes: Bytes },
    /// Nothing was heard for a while: whoever is not connected should be tried again.
    ConnectAll,
    /// The role is now [`Election::state`]. `epoch` is the vote's, not yet the one agreed upon with the leader.
    Decided { leader: ServerId, epoch: i64 },
    /// The other one of two voters cannot be heard, or leads alone: ask the oracle, then [`Election::on_oracle`].
    AskOracle,
    /// While this server leads, a voter says that it looks for a leader (ZK: Leader.reportLookingSid; the
    /// "disloyal voter" of `leader.maxTimeToWaitForEpoch`).
    VoterLooks { voter: ServerId },
}

/// Lives on: the replication core.
#[derive(Debug)]
pub struct Election {
    me: ServerId,
    view: Arc<View>,
    settings: ElectionSettings,
    /// What goes with every notification.
    config: String,
    state: PeerState,
    /// ZK: logicalclock. In memory only.
    round: i64,
    /// What this server would vote for if it were alone.
    initial: Vote,
    /// While LOOKING: the best heard so far.
    proposal: Vote,
    /// The result of the last election.
    elected: Vote,
    /// Votes of this round, the own one included.
    votes: BTreeMap<ServerId, Ballot>,
    /// What servers that follow or lead say, whatever their round.
    established: BTreeMap<ServerId, Ballot>,
    /// Voters that have nothing to vote with, as they say.
    data_less: BTreeSet<ServerId>,
    /// Voters whose election port is known to refuse.
    gone: BTreeSet<ServerId>,
    /// Voters behind: the worse vote each was last told ours for.
    told: BTreeMap<ServerId, Vote>,
    interval_ms: u64,
    say_again_at: Instant,
    /// While settling.
    decide_at: Option<Instant>,
    /// A quorum for a leader that is gone was refused once since [`Election::look`].
    refused_the_gone: bool,
    /// The last answer to each server without a vote. See [`ANSWER_AGAIN_MS`].
    answered: BTreeMap<ServerId, (Instant, Bytes)>,
    /// Voters' configurations that differ from ours and were reported.
    other_configs: BTreeMap<ServerId, String>,
}

/// The same answer to the same non-voter is not repeated sooner: two servers that are not in each other's view would
/// answer each other's answers for ever.
const ANSWER_AGAIN_MS: u64 = 50;

/// Non-voters whose last answer is remembered.
const ANSWERED_MAX: usize = 256;

impl Election {
    pub fn new(me: ServerId, view: Arc<View>, settings: ElectionSettings, now: Instant) -> Election {
        // A higher version with other members would keep disturbing Apache's elections where reconfiguration is off.
        let config = View { version: 0, ..(*view).clone() }.to_text();
        let nobody = Vote::nobody(0);
        Election {
            me,
            view,
            settings,
            config,
            state: PeerState::Looking,
            round: 0,
            initial: nobody,
            proposal: nobody,
            elected: nobody,
            votes: BTreeMap::new(),
            established: BTreeMap::new(),
            data_less: BTreeSet::new(),
            gone: BTreeSet::new(),
            told: BTreeMap::new(),
            interval_ms: settings.notification_interval_min_ms,
            say_again_at: now,
            decide_at: None,
            refused_the_gone: false,
            answered: BTreeMap::new(),
            other_configs: BTreeMap::new(),
        }
    }

    /// The current vote: the proposal while LOOKING, else the result.
    pub fn vote(&self) -> Vote {
        if self.state == PeerState::Looking { self.proposal } else { self.elected }
    }

    pub fn state(&self) -> PeerState {
        self.state
    }

    /// The voters that agreed to the last result, as far as they said so in its round.
    pub fn electors(&self) -> BTreeSet<ServerId> {
        let result = Ballot { vote: self.elected, state: PeerState::Looking, version: 0 };
        self.votes.iter().filter(|(_, ballot)| ballot.agrees_with(&result)).map(|(voter, _)| *voter).collect()
    }

    /// ZK: logicalclock.
    pub fn round(&self) -> i64 {
        self.round
    }

    /// When [`Election::on_tick`] has something to do; `None` while not LOOKING.
    pub fn next_deadline(&self) -> Option<Instant> {
        (self.state == PeerState::Looking && self.round > 0).then(|| self.decide_at.unwrap_or(self.say_again_at))
    }

    /// Enters LOOKING with what the disk holds. `last_zxid` [`Zxid::NONE`]: without data. Such a server never counts
    /// and never elects by itself; it finds a leader that others elected (ZOOKEEPER-261, 2325).
    pub fn look(&mut self, last_zxid: Zxid, current_epoch: i64, now: Instant, out: &mut Vec<ElectionEffect>) {
        self.refused_the_gone = false;
        // Who was gone in the last election may be back; the connections say anew who is.
        self.gone.clear();
        self.interval_ms = self.settings.notification_interval_min_ms;
        self.initial = if self.view.is_voter(self.me) {
            Vote { leader: self.me, zxid: last_zxid, election_epoch: 0, peer_epoch: current_epoch }
        } else {
            Vote::nobody(0)
        };
        self.begin_round(now, out);
    }

    fn begin_round(&mut self, now: Instant, out: &mut Vec<ElectionEffect>) {
        self.state = PeerState::Looking;
        // A round at the end of the numbers can only be a lie of the network; it must not end the server.
        self.round = self.round.saturating_add(1);
        self.votes.clear();
        self.established.clear();
        self.data_less.clear();
        self.propose(self.initial, now, out);
        self.weigh(true, now, out);
    }

    fn is_data_less(&self) -> bool {
        self.initial.zxid == Zxid::NONE
    }

    /// Takes over a proposal and says so to every voter.
    fn propose(&mut self, vote: Vote, now: Instant, out: &mut Vec<ElectionEffect>) {
        self.proposal = Vote { election_epoch: self.round, ..vote };
        self.decide_at = None;
        self.say_again_at = now.plus_ms(self.interval_ms);
        self.told.clear();
        if self.view.is_voter(self.me) && !self.is_data_less() {
            self.votes.insert(self.me, Ballot { vote: self.proposal, state: PeerState::Looking, version: 0 });
        }
        self.broadcast(out);
    }

    fn broadcast(&self, out: &mut Vec<ElectionEffect>) {
        let bytes = self.notification(self.proposal);
        let voters = self.view.voters().filter(|voter| *voter != self.me);
        out.extend(voters.map(|to| ElectionEffect::Send { to, bytes: bytes.clone() }));
    }

    fn notification(&self, vote: Vote) -> Bytes {
        Notification {
            state: self.state,
            leader: vote.leader,
            zxid: vote.zxid,
            election_epoch: vote.election_epoch,
            peer_epoch: vote.peer_epoch,
            version: Notification::VERSION,
            config: Some(self.config.clone()),
        }
        .encode()
    }

    /// A notification came from `from`, who said its id when it connected. Source: spec quorum 3, receipt order; 4.2.
    pub fn on_notification(
        &mut self,
        from: ServerId,
        notification: Notification,
        now: Instant,
        out: &mut Vec<ElectionEffect>,
    ) {
        if from == self.me || self.round == 0 {
            return;
        }
        if !self.view.is_voter(from) {
            self.answer_non_voter(from, now, out);
            return;
        }
        self.compare_config(from, &notification);
        let they_look = notification.state == PeerState::Looking;
        if self.state != PeerState::Looking {
            if they_look {
                out.push(ElectionEffect::Send { to: from, bytes: self.notification(self.elected) });
            }
            if they_look && self.state == PeerState::Leading {
                out.push(ElectionEffect::VoterLooks { voter: from });
            }
            return;
        }
        if they_look && notification.election_epoch < self.round {
            out.push(ElectionEffect::Send { to: from, bytes: self.notification(self.proposal) });
        }
        self.say_again_at = now.plus_ms(self.interval_ms);
        if !self.view.is_voter(notification.leader) {
            return;
        }
        match notification.state {
            PeerState::Looking => self.on_looking(from, &notification, now, out),
            PeerState::Following | PeerState::Leading => self.on_established_vote(from, &notification, now, out),
            PeerState::Observing => {}
        }
    }

    /// Observers and strangers are told what this server votes for; they never count.
    fn answer_non_voter(&mut self, to: ServerId, now: Instant, out: &mut Vec<ElectionEffect>) {
        let bytes = self.notification(Vote { election_epoch: self.round, ..self.vote() });
        let same = |(at, last): &(Instant, Bytes)| now < at.plus_ms(ANSWER_AGAIN_MS) && *last == bytes;
        if self.answered.get(&to).is_some_and(same) {
            return;
        }
        if self.answered.len() >= ANSWERED_MAX && !self.answered.contains_key(&to) {
            self.answered.clear();
        }
        self.answered.insert(to, (now, bytes.clone()));
        out.push(ElectionEffect::Send { to, bytes });
    }

    fn on_looking(&mut self, from: ServerId, said: &Notification, now: Instant, out: &mut Vec<ElectionEffect>) {
        if self.is_data_less() {
            return;
        }
        if said.zxid == Zxid::NONE {
            self.data_less.insert(from);
            self.weigh(false, now, out);
            return;
        }
        let vote = Vote::of(said);
        if vote.election_epoch < self.round {
            return;
        }
        if vote.election_epoch > self.round {
            self.round = vote.election_epoch;
            self.votes.clear();
            let better = if vote.beats(&self.initial, &self.view) { vote } else { self.initial };
            self.propose(better, now, out);
        } else if vote.beats(&self.proposal, &self.view) {
            self.propose(vote, now, out);
        } else if self.proposal.beats(&vote, &self.view) && self.told.insert(from, vote) != Some(vote) {
            // It may have been no part of the election yet when we spoke. The reference lets it wait until it says
            // everything again; a failover is quicker if it hears it now.
            out.push(ElectionEffect::Send { to: from, bytes: self.notification(self.proposal) });
        }
        self.data_less.remove(&from);
        let ballot = Ballot { vote, state: PeerState::Looking, version: 0 };
        let news = self.votes.insert(from, ballot) != Some(ballot);
        self.weigh(news, now, out);
    }

    /// Is there a quorum for my proposal, and is anybody left whose vote could change it? `news`: a vote has changed,
    /// so others may be about to.
    fn weigh(&mut self, news: bool, now: Instant, out: &mut Vec<ElectionEffect>) {
        let mine = Ballot { vote: self.proposal, state: PeerState::Looking, version: 0 };
        if !self.agrees_a_quorum(&self.votes, &mine) {
            self.decide_at = None;
        } else if self.view.voters().all(|voter| self.has_said_all(voter)) {
            self.conclude(now, out);
        } else if news || self.decide_at.is_none() {
            self.decide_at = Some(now.plus_ms(self.settings.finalize_wait_ms));
        }
    }

    /// Whether nothing can come from this voter that would beat the proposal. Whatever it voted in this round was not
    /// better, and it was the best it had heard.
    fn has_said_all(&self, voter: ServerId) -> bool {
        match self.votes.get(&voter) {
            Some(ballot) => ballot.state == PeerState::Looking || ballot.vote.leader == self.proposal.leader,
            // A leader that cannot be reached is not waited for, but not elected in haste either.
            None => self.data_less.contains(&voter) || (self.gone.contains(&voter) && voter != self.proposal.leader),
        }
    }

    fn agrees_a_quorum(&self, votes: &BTreeMap<ServerId, Ballot>, with: &Ballot) -> bool {
        self.view.has_quorum_of(|voter| votes.get(&voter).is_some_and(|ballot| ballot.agrees_with(with)))
    }

    /// The quorum has stood. If it is for a server that meanwhile refuses connections, it died during the election
    /// and its vote is all that is left: one more round, in which it cannot propose itself, is faster than waiting for
    /// a dead leader. Only once, because it may be just us who cannot reach it.
    fn conclude(&mut self, now: Instant, out: &mut Vec<ElectionEffect>) {
        let leader = self.proposal.leader;
        if leader != self.me && self.gone.contains(&leader) && !self.refused_the_gone && self.view.is_voter(self.me) {
            self.refused_the_gone = true;
            tracing::info!(leader = leader.0, round = self.round, "the elected server is gone: another round");
            self.begin_round(now, out);
        } else {
            self.decide(self.proposal, out);
        }
    }

    /// A server that follows or leads: the way into an ensemble that has its leader.
    fn on_established_vote(
        &mut self,
        from: ServerId,
        said: &Notification,
        now: Instant,
        out: &mut Vec<ElectionEffect>,
    ) {
        let vote = Vote::of(said);
        let ballot = Ballot { vote, state: said.state, version: said.version };
        self.data_less.remove(&from);
        if vote.election_epoch == self.round {
            // Kept without its version, as the reference does: within one round the leader is enough.
            self.votes.insert(from, Ballot { version: 0, ..ballot });
            if self.agrees_a_quorum(&self.votes, &ballot) && self.is_leader_of(&self.votes, &vote) {
                self.decide(vote, out);
                return;
            }
        }
        self.established.insert(from, ballot);
        if self.agrees_a_quorum(&self.established, &ballot) && self.is_leader_of(&self.established, &vote) {
            self.round = vote.election_epoch;
            self.decide(vote, out);
        } else {
            if self.decide_at.is_some() {
                // A vote of this round may have been the last one waited for, or have left the quorum.
                self.weigh(false, now, out);
            }
            if said.state == PeerState::Leading {
                self.ask_oracle(out);
            }
        }
    }

    /// Nobody is followed who does not say that it leads: its followers may not have noticed yet that it is dead.
    /// Source: FastLeaderElection.checkLeader.
    fn is_leader_of(&self, votes: &BTreeMap<ServerId, Ballot>, vote: &Vote) -> bool {
        if vote.leader == self.me {
            vote.election_epoch == self.round
        } else {
            votes.get(&vote.leader).is_some_and(|ballot| ballot.state == PeerState::Leading)
        }
    }

    fn decide(&mut self, vote: Vote, out: &mut Vec<ElectionEffect>) {
        self.state = if vote.leader == self.me {
            PeerState::Leading
        } else if self.view.is_voter(self.me) {
            PeerState::Following
        } else {
            PeerState::Observing
        };
        self.elected = vote;
        self.decide_at = None;
        out.push(ElectionEffect::Decided { leader: vote.leader, epoch: vote.peer_epoch });
    }

    /// Which voters are known to refuse connections now; a voter that is connected is never among them.
    pub fn on_reach(&mut self, gone: BTreeSet<ServerId>, now: Instant, out: &mut Vec<ElectionEffect>) {
        self.gone = gone;
        if self.state == PeerState::Looking && self.decide_at.is_some() {
            self.weigh(false, now, out);
        }
    }

    pub fn on_tick(&mut self, now: Instant, out: &mut Vec<ElectionEffect>) {
        if self.next_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.decide_at.is_some() {
            self.conclude(now, out);
            return;
        }
        self.interval_ms = (self.interval_ms * 2).min(self.settings.notification_interval_max_ms);
        self.say_again_at = now.plus_ms(self.interval_ms);
        self.broadcast(out);
        out.push(ElectionEffect::ConnectAll);
        self.ask_oracle(out);
    }

    fn ask_oracle(&self, out: &mut Vec<ElectionEffect>) {
        if self.settings.has_oracle && self.view.is_voter(self.me) && self.view.voters().count() == 2 {
            out.push(ElectionEffect::AskOracle);
        }
    }

    /// What the oracle says while there is no quorum: yes, this one of two voters leads, without the other; no, it does
    /// not, and the other does if it says so. ZK: FastLeaderElection.receivedLeadingNotification, QuorumOracleMaj.
    pub fn on_oracle(&mut self, yes: bool, out: &mut Vec<ElectionEffect>) {
        if self.state != PeerState::Looking || self.round == 0 {
            return;
        }
        if yes {
            if self.proposal.leader == self.me && !self.is_data_less() {
                self.decide(self.proposal, out);
            }
            return;
        }
        let leads = |(voter, ballot): (&ServerId, &Ballot)| {
            (ballot.state == PeerState::Leading && ballot.vote.leader == *voter).then_some(ballot.vote)
        };
        if let Some(vote) = self.established.iter().find_map(leads) {
            self.round = vote.election_epoch;
            self.decide(vote, out);
        }
    }

    /// Leader and followers are in step: from now on the vote tells the epoch they are in, so that a joiner sees the
    /// same of all of them (ZK: QuorumPeer.updateElectionVote).
    pub fn on_established(&mut self, epoch: i64) {
        self.elected.peer_epoch = epoch;
    }

    fn compare_config(&mut self, from: ServerId, notification: &Notification) {
        let Some(text) = notification.config.as_deref().filter(|text| *text != self.config) else { return };
        if self.other_configs.get(&from).is_some_and(|known| known == text) {
            return;
        }
        match View::parse(text) {
            Ok(theirs) if theirs.same_members(&self.view) => {}
            Ok(_) => tracing::error!(server = from.0, config = text, "a member has another list of members"),
            Err(fault) => tracing::warn!(server = from.0, fault, "a member's configuration cannot be read"),
        }
        self.other_configs.insert(from, text.to_owned());
    }
}
