//! One member among others: which role it has, and how it comes from one role to the next.
//!
//! ```text
//!            +--------------------- link lost, quorum lost, silence ----------------------+
//!            v                                                                            |
//!   Resting (journal at rest, memory equals disk) -> Looking -elected-> Leading, Following
//! ```
//!
//! A role ends by closing every client and every link of it. What was logged stays logged: whether it was committed
//! is the next leader's word. Only when nothing is on its way to the disk any more does the server vote, because its
//! vote says what the disk holds (spec: quorum 5, 22; ZOOKEEPER-2845, 4712).
//!
//! Source: ZK: QuorumPeer.run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::dialling::Masters;
use super::following::Following;
use super::forwarding::Forwarding;
use super::{Effects, EnsembleSettings, EpochFile, PeerEffect, PeerNews, PeerPort, Replica};
use crate::base::{Dice, Instant, LinkId, Now, ServerId, ShardId, Zxid};
use crate::mail::metrics::{Basic, Counter};
use crate::mail::{Service, ToShard};
use crate::zab::{Election, ElectionEffect, History, Leader, LeaderEffect, LinkIds, Mesh, MeshEffect};

/// What a member is doing.
pub(super) enum Role {
    /// The last role is over; what it left in flight is awaited.
    Resting,
    Looking,
    Leading(Box<Leader>),
    Following(Box<Following>),
}

/// What a link is for.
enum Use {
    Election,
    /// A learner of ours.
    Learner,
    /// Our leader.
    Leader,
    /// Somebody takes us for a leader before the election is over: what it said is kept until it is.
    Early {
        said: Vec<u8>,
        since: Instant,
    },
}

/// Early learners, and what each may have said, at most: a FOLLOWERINFO is 60 bytes long.
const EARLY_MAX: usize = 64;
const EARLY_BYTES_MAX: usize = 4096;

/// Lives on: the replication core, in the replica of a member of an ensemble.
pub(super) struct Ensemble {
    pub(super) settings: EnsembleSettings,
    pub(super) role: Role,
    /// Empty between two calls; kept for its capacity.
    pub(super) leader_says: Vec<LeaderEffect>,
    pub(super) election: Election,
    mesh: Mesh,
    pub(super) link_ids: LinkIds,
    uses: BTreeMap<LinkId, Use>,
    pub(super) accepted_epoch: i64,
    pub(super) current_epoch: i64,
    /// Epoch files being written.
    epoch_writes: usize,
    /// What is committed, for learners that lack the end of it.
    pub(super) history: History,
    /// Logged, but not known to be committed.
    pub(super) uncommitted: VecDeque<(Zxid, Bytes)>,
    /// Learners for whom a stretch of the journal is read; its files are kept meanwhile.
    pub(super) stretches: BTreeSet<LinkId>,
    pub(super) forwarding: Forwarding,
    /// The state in memory is not the one on disk (a synchronization was broken off): it must be read again.
    pub(super) is_astray: bool,
    reload_asked: bool,
    /// The disk's data is damaged or of an unfinished epoch: no vote is cast with it.
    pub(super) is_dataless: bool,
    pub(super) service: Service,
    pub(super) dice: Dice,
    pub(super) masters: Masters,
    /// Before this an observer that lost its leader does not look for one.
    rests_until: Instant,
    /// When this server last had a role, or began.
    looking_since: Instant,
    /// When it last began to vote.
    pub(super) elects_since: Instant,
    /// How long the last election took, in milliseconds.
    pub(super) election_ms: u64,
}

impl Ensemble {
    /// A member that has read its disk. `recent`: the last logged transactions.
    pub(super) fn new(
        settings: EnsembleSettings,
        (accepted_epoch, current_epoch): (i64, i64),
        last: Zxid,
        recent: Vec<(Zxid, Bytes)>,
        is_dataless: bool,
        seed: u64,
        now: Now,
    ) -> Ensemble {
        let view = settings.view.clone();
        let first = recent.first().map_or(last, |(zxid, _)| Zxid(zxid.0 - 1));
        let mut history = History::new(first, settings.commit_log_count);
        for (zxid, record) in recent {
            history.push(zxid, record);
        }
        history.restart_if_not_at(last);
        let mut dice = Dice(seed.wrapping_add(settings.me.0 as u64)); // Members may begin in the same millisecond.
        Ensemble {
            masters: Masters::new(&settings, &mut dice),
            election: Election::new(settings.me, view.clone(), settings.election, now.mono),
            mesh: Mesh::new(settings.me, view, settings.mesh()),
            link_ids: LinkIds::default(),
            role: Role::Resting,
            leader_says: Vec::new(),
            uses: BTreeMap::new(),
            accepted_epoch,
            current_epoch,
            epoch_writes: 0,
            history,
            uncommitted: VecDeque::new(),
            stretches: BTreeSet::new(),
            forwarding: Forwarding::default(),
            is_astray: false,
            reload_asked: false,
            is_dataless,
            service: Service::Nobody,
            dice,
            rests_until: now.mono,
            looking_since: now.mono,
            elects_since: now.mono,
            election_ms: 0,
            settings,
        }
    }

    /// An epoch file is on its way to the disk.
    pub(super) fn await_epoch(&mut self) {
        self.epoch_writes += 1;
    }
}

impl Replica {
    /// What is on the disk must not be voted with.
    pub(super) fn is_dataless(&self) -> bool {
        self.ensemble.as_ref().is_some_and(|ensemble| ensemble.is_dataless)
    }

    /// News of the connections to other members.
    ///
    /// # Panics
    /// On a standalone server, which has none.
    pub fn on_peer(&mut self, news: PeerNews<'_>, now: Now, out: &mut Effects) {
        // A sign of life that a learner passes on counts from when it came, as one of our own shards does.
        self.hearing.advance(now.mono);
        let ensemble = self.ensemble.as_mut().expect("only members of an ensemble have peers");
        match news {
            PeerNews::Accepted { link, port: PeerPort::Election, from } => {
                ensemble.uses.insert(link, Use::Election);
                let mut effects = Vec::new();
                ensemble.mesh.on_accepted(link, from, now.mono, &mut effects);
                self.on_mesh(effects, now, out);
            }
            PeerNews::Accepted { link, port: PeerPort::Quorum, .. } => self.on_learner(link, now, out),
            PeerNews::Accepted { link, port: PeerPort::Observers, .. } => self.on_observer(link, now, out),
            PeerNews::Connected { link } => match ensemble.uses.get(&link) {
                Some(Use::Election) => {
                    let mut effects = Vec::new();
                    ensemble.mesh.on_connected(link, now.mono, &mut effects);
                    self.on_mesh(effects, now, out);
                }
                Some(Use::Leader) => self.on_leader_connected(now, out),
                _ => {}
            },
            PeerNews::Bytes { link, bytes } => self.on_peer_bytes(link, bytes, now, out),
            PeerNews::Drained { link } => self.on_learner_drained(link, now, out),
            PeerNews::Closed { link } => self.on_peer_closed(link, now, out),
            PeerNews::EpochWritten { file, epoch } => self.on_epoch_written(file, epoch, now, out),
            PeerNews::OracleSays { yes } => self.on_oracle(yes, now, out),
        }
    }

    fn on_peer_bytes(&mut self, link: LinkId, bytes: &[u8], now: Now, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        match ensemble.uses.get_mut(&link) {
            Some(Use::Election) => {
                let mut effects = Vec::new();
                ensemble.mesh.on_bytes(link, bytes, now.mono, &mut ensemble.link_ids, &mut effects);
                self.on_mesh(effects, now, out);
            }
            Some(Use::Learner) => self.on_learner_bytes(link, bytes, now, out),
            Some(Use::Leader) => self.on_leader_bytes(bytes, now, out),
            Some(Use::Early { said, .. }) => {
                said.extend_from_slice(bytes);
                if said.len() > EARLY_BYTES_MAX {
                    self.close_link(link, out);
                }
            }
            None => {}
        }
    }

    fn on_peer_closed(&mut self, link: LinkId, now: Now, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        match ensemble.uses.remove(&link) {
            Some(Use::Election) => {
                let mut effects = Vec::new();
                ensemble.mesh.on_closed(link, now.mono, &mut ensemble.link_ids, &mut effects);
                self.on_mesh(effects, now, out);
            }
            Some(Use::Learner) => self.on_learner_closed(link, now, out),
            Some(Use::Leader) => self.on_leader_closed(now, out),
            Some(Use::Early { .. }) | None => {}
        }
    }

    pub(super) fn close_link(&mut self, link: LinkId, out: &mut Effects) {
        self.forget_stretch(link, out);
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.uses.remove(&link);
        }
        out.peer.push(PeerEffect::Close { link });
    }

    /// Somebody connected to the quorum port.
    fn on_learner(&mut self, link: LinkId, now: Now, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let early = ensemble.uses.values().filter(|it| matches!(it, Use::Early { .. })).count();
        match &mut ensemble.role {
            Role::Leading(leader) => {
                leader.on_link(link, now.mono);
                ensemble.uses.insert(link, Use::Learner);
            }
            Role::Resting | Role::Looking if early < EARLY_MAX => {
                ensemble.uses.insert(link, Use::Early { said: Vec::new(), since: now.mono });
            }
            _ => out.peer.push(PeerEffect::Close { link }),
        }
    }

    fn on_epoch_written(&mut self, file: EpochFile, epoch: i64, now: Now, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        ensemble.epoch_writes -= 1;
        match file {
            EpochFile::Accepted => {
                ensemble.accepted_epoch = epoch;
                self.on_promise_durable(now, out);
            }
            EpochFile::Current => {
                // Whether there is data that may vote is not this file's to say: a boot may just have made it anew.
                ensemble.current_epoch = epoch;
                self.on_epoch_durable(now, out);
            }
        }
        self.look_when_at_rest(now, out);
    }

    pub(super) fn write_epoch(&mut self, file: EpochFile, epoch: i64, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let known = match file {
            EpochFile::Accepted => ensemble.accepted_epoch,
            EpochFile::Current => ensemble.current_epoch,
        };
        assert!(epoch >= known, "{file:?} epoch goes back from {known} to {epoch}");
        ensemble.await_epoch();
        out.peer.push(PeerEffect::WriteEpoch { file, epoch });
    }

    fn on_mesh(&mut self, effects: Vec<MeshEffect>, now: Now, out: &mut Effects) {
        for effect in effects {
            let Some(ensemble) = &mut self.ensemble else { return };
            match effect {
                MeshEffect::Dial { link, to, timeout_ms } => {
                    ensemble.uses.insert(link, Use::Election);
                    out.peer.push(PeerEffect::Dial { link, to, timeout_ms });
                }
                MeshEffect::Send { link, bytes } => out.peer.push(PeerEffect::Send { link, bytes }),
                MeshEffect::Close { link } => self.close_link(link, out),
                MeshEffect::Notification { from, notification } => {
                    let mut effects = Vec::new();
                    ensemble.election.on_notification(from, notification, now.mono, &mut effects);
                    self.on_election(effects, now, out);
                }
                MeshEffect::Gone { voters } => {
                    let mut effects = Vec::new();
                    ensemble.election.on_reach(voters, now.mono, &mut effects);
                    self.on_election(effects, now, out);
                }
            }
        }
    }

    fn on_election(&mut self, effects: Vec<ElectionEffect>, now: Now, out: &mut Effects) {
        for effect in effects {
            let Some(ensemble) = &mut self.ensemble else { return };
            let mut mesh = Vec::new();
            match effect {
                ElectionEffect::Send { to, bytes } => {
                    ensemble.mesh.send(to, bytes, now.mono, &mut ensemble.link_ids, &mut mesh);
                }
                ElectionEffect::ConnectAll => {
                    ensemble.mesh.connect_all(now.mono, &mut ensemble.link_ids, &mut mesh);
                }
                ElectionEffect::Decided { leader, .. } => self.on_decided(leader, now, out),
                ElectionEffect::AskOracle => out.peer.push(PeerEffect::AskOracle),
                ElectionEffect::VoterLooks { voter } => self.on_voter_looks(voter, now, out),
            }
            self.on_mesh(mesh, now, out);
        }
    }

    /// Whoever asked has it from the one answer: a server looks or leads.
    fn on_oracle(&mut self, yes: bool, now: Now, out: &mut Effects) {
        self.with_leader(now, out, |leader, effects| leader.on_oracle(yes, now.mono, effects));
        let Some(ensemble) = &mut self.ensemble else { return };
        if matches!(ensemble.role, Role::Looking) {
            let mut effects = Vec::new();
            ensemble.election.on_oracle(yes, &mut effects);
            self.on_election(effects, now, out);
        }
    }

    /// The election is over.
    pub(super) fn on_decided(&mut self, leader: ServerId, now: Now, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        if !matches!(ensemble.role, Role::Looking) {
            return;
        }
        ensemble.election_ms = now.mono.millis_since(ensemble.elects_since);
        self.watch.metrics.add(Basic::ElectionTime, ensemble.election_ms);
        ensemble.mesh.set_looking(false);
        let leads = leader == ensemble.settings.me;
        tracing::info!(leader = %leader, took_ms = ensemble.election_ms, "elected");
        self.serve_clients(Service::Nobody, out); // Those of the read-only mode look for a server with a leader.
        let Some(ensemble) = &mut self.ensemble else { return };
        let early: Vec<LinkId> =
            ensemble.uses.iter().filter(|(_, it)| matches!(it, Use::Early { .. })).map(|(link, _)| *link).collect();
        if !leads {
            for link in early {
                self.close_link(link, out);
            }
            return self.follow(leader, now, out);
        }
        self.lead(now, out);
        for link in early {
            let Some(ensemble) = &mut self.ensemble else { return };
            let Some(Use::Early { said, .. }) = ensemble.uses.remove(&link) else { continue };
            self.on_learner(link, now, out);
            self.on_peer_bytes(link, &said, now, out);
        }
    }

    pub(super) fn use_for_learner(&mut self, link: LinkId) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.uses.insert(link, Use::Learner);
        }
    }

    pub(super) fn use_for_leader(&mut self, link: LinkId) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.uses.insert(link, Use::Leader);
        }
    }

    /// The role is over, whatever it was: clients and links of it are closed, and a leader is looked for.
    pub(super) fn leave_role(&mut self, why: &str, now: Now, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        if matches!(ensemble.role, Role::Resting | Role::Looking) {
            return;
        }
        tracing::warn!(why, state = ensemble.state_name(), "role ended; looking for a leader");
        let links: Vec<LinkId> = ensemble
            .uses
            .iter()
            .filter(|(_, it)| matches!(it, Use::Learner | Use::Leader))
            .map(|(link, _)| *link)
            .collect();
        if let Role::Leading(leader) = std::mem::replace(&mut ensemble.role, Role::Resting) {
            ensemble.uncommitted = leader.into_outstanding();
        }
        // Those never reached a follower, but they are in our journal.
        ensemble.uncommitted.extend(self.proposals.drain(..));
        ensemble.looking_since = now.mono;
        if ensemble.settings.observer {
            // Not all observers at once, and not while the voters are at it.
            ensemble.rests_until = now.mono.plus_ms(ensemble.dice.below(ensemble.settings.observer_election_delay_ms));
        }
        ensemble.forwarding.clear();
        for link in links {
            self.close_link(link, out);
        }
        // Their connections end now; what they asked for may still come to pass, as far as it is logged.
        self.waiting.forget_answers();
        // A shard that stands still may not know yet, and submit what such a connection has asked long ago.
        self.sessions.disown();
        self.serve_clients(Service::Nobody, out);
        if self.is_rebasing() && !self.abort_rebase(out) {
            // Too late to go back: the new history is getting its name, and memory is what the disk will hold.
            if let Some(ensemble) = &mut self.ensemble {
                ensemble.is_astray = false;
            }
        }
        self.look_when_at_rest(now, out);
    }

    /// Once nothing is on its way to the disk, memory, disk and vote say the same.
    pub(super) fn look_when_at_rest(&mut self, now: Now, out: &mut Effects) {
        let at_rest = self.journal.is_idle() && !self.is_rebasing() && !self.failed;
        let Some(ensemble) = &mut self.ensemble else { return };
        if !matches!(ensemble.role, Role::Resting) || !at_rest || ensemble.epoch_writes > 0 {
            return;
        }
        if now.mono < ensemble.rests_until {
            return;
        }
        if ensemble.is_astray {
            if !std::mem::replace(&mut ensemble.reload_asked, true) {
                out.reload = Some(super::Reload::All);
            }
            return;
        }
        // An observer that does not log goes on from what it has in memory, which is all committed.
        let logs = ensemble.settings.logs();
        let last = if logs { self.journal.last_durable() } else { self.last_proposed };
        if last.epoch() > ensemble.current_epoch && !ensemble.is_dataless && logs {
            // A synchronization that did not get as far as its epoch: nothing of it was acknowledged. Without it, this
            // server is the voter that it was before (spec: quorum 1, 25 E-1).
            let bound = Zxid(Zxid::begin_of(ensemble.current_epoch + 1).0 - 1);
            if !std::mem::replace(&mut ensemble.reload_asked, true) {
                tracing::warn!(%last, epoch = ensemble.current_epoch, "cutting what belongs to an epoch never adopted");
                out.reload = Some(super::Reload::Below(bound));
            }
            return;
        }
        self.last_proposed = last;
        // Logged is history now: committed or cut, as the next leader has it.
        for (zxid, record) in std::mem::take(&mut ensemble.uncommitted) {
            ensemble.history.push(zxid, record);
        }
        ensemble.role = Role::Looking;
        ensemble.elects_since = now.mono;
        self.watch.metrics.count(Counter::LookingCount);
        let last = if ensemble.is_dataless { Zxid::NONE } else { self.last_proposed };
        tracing::info!(zxid = %last, epoch = ensemble.current_epoch, "looking for a leader");
        let mut effects = Vec::new();
        ensemble.mesh.set_looking(true);
        ensemble.election.look(last, ensemble.current_epoch, now.mono, &mut effects);
        self.on_election(effects, now, out);
    }

    /// Memory is what the disk holds again.
    pub(super) fn on_memory_restored(&mut self, now: Now, out: &mut Effects) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.is_astray = false;
            ensemble.reload_asked = false;
        }
        self.look_when_at_rest(now, out);
    }

    pub(super) fn tick_ensemble(&mut self, now: Now, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let mut mesh = Vec::new();
        ensemble.mesh.on_tick(now.mono, &mut ensemble.link_ids, &mut mesh);
        self.on_mesh(mesh, now, out);
        let Some(ensemble) = &mut self.ensemble else { return };
        let mut election = Vec::new();
        ensemble.election.on_tick(now.mono, &mut election);
        self.on_election(election, now, out);
        self.tick_role(now, out);
        self.serve_read_only_when_due(now, out);
        self.close_late(now, out);
        self.look_when_at_rest(now, out);
    }

    fn tick_role(&mut self, now: Now, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        match &mut ensemble.role {
            Role::Leading(leader) => {
                let mut effects = Vec::new();
                leader.on_tick(now.mono, &mut effects);
                self.on_leader_effects(&mut effects, now, out);
                self.hand_over_before_rollover(now, out);
            }
            Role::Following(_) => self.tick_following(now, out),
            Role::Resting | Role::Looking => {}
        }
    }

    /// Learners that came early and for nothing.
    fn close_late(&mut self, now: Now, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let limit_ms = ensemble.settings.init_ms();
        let late: Vec<LinkId> = ensemble
            .uses
            .iter()
            .filter(|(_, it)| matches!(it, Use::Early { since, .. } if now.mono.millis_since(*since) > limit_ms))
            .map(|(link, _)| *link)
            .collect();
        for link in late {
            self.close_link(link, out);
        }
    }

    /// Other clients are let in than before; those of before are hung up on, and local sessions end.
    pub(super) fn serve_clients(&mut self, service: Service, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        if std::mem::replace(&mut ensemble.service, service) == service {
            return;
        }
        self.local.clear();
        if service == Service::Everybody {
            self.release(out);
        }
        for shard in 0..self.settings.shard_count {
            out.mail.push((ShardId(shard), ToShard::Serve(service)));
        }
    }

    /// An epoch began: its first zxid carries no transaction, but clients see it (as the reference's leader shows it),
    /// unless they have seen more of the epoch already.
    pub(super) fn release_epoch(&mut self, epoch: i64, out: &mut Effects) {
        let begin = Zxid::begin_of(epoch);
        if begin > self.last_released {
            self.waiting.begin_epoch(begin);
        }
        self.last_committed = self.last_committed.max(begin);
        self.release(out);
    }

    /// The epoch has begun for this server: it is of use again.
    pub(super) fn note_available(&mut self, now: Now) {
        let Some(ensemble) = &self.ensemble else { return };
        let gone_ms = now.mono.millis_since(ensemble.looking_since);
        self.watch.metrics.add(Basic::UnavailableTime, gone_ms);
        if matches!(ensemble.role, Role::Leading(_)) {
            self.watch.metrics.add(Basic::LeaderUnavailableTime, gone_ms);
        }
    }

    /// Whether what comes from a leader is written to the journal.
    pub(super) fn logs(&self) -> bool {
        self.ensemble.as_ref().is_none_or(|ensemble| ensemble.settings.logs())
    }

    /// Whom this server lets in.
    pub(super) fn service(&self) -> Service {
        self.ensemble.as_ref().map_or(Service::Everybody, |ensemble| ensemble.service)
    }

    /// Whether others follow this server, or are about to: what they say decides before its own disk does.
    pub fn leads(&self) -> bool {
        self.ensemble.as_ref().is_some_and(|ensemble| matches!(ensemble.role, Role::Leading(_)))
    }

    /// Whether this server orders requests itself.
    pub(super) fn orders(&self) -> bool {
        match &self.ensemble {
            None => true,
            Some(ensemble) => matches!(&ensemble.role, Role::Leading(leader) if leader.is_established()),
        }
    }
}
