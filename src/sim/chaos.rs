//! What goes wrong, how often, and what must hold when the server comes back.

use super::model::{Model, shared};
use super::rng::Rng;
use super::server::{Media, Server};
use super::talk::garbage;
use super::world::{Happening, Hearing, Sabotage, World};
use crate::base::{ShardId, Zxid};
use crate::prep::Rules;
use crate::replica::{self, ReaperSettings, SnapshotSettings};
use crate::shard::{self, Shard};
use crate::tree::Tree;
use crate::tree::auth::AuthRules;

/// The kind of night a seed is.
#[derive(Clone, Debug)]
pub struct Plan {
    pub client_count: usize,
    pub shard_count: u16,
    pub tick_ms: i32,
    pub night_ms: u64,
    pub extended_types: bool,
    pub never_used_ms: Option<i64>,
    pub reap_interval_ms: u64,
    pub snap_count: u64,
    pub retain_count: usize,
    pub mail_lag_us: u64,
    pub net_delay_us: u64,
    pub disk_delay_us: u64,
    /// Mean time between requests of a client.
    pub think_us: u64,
    // Faults, each in some nights only, so that each is also met alone.
    pub cuts: bool,
    pub bad_network: bool,
    pub pauses: bool,
    pub clock_jumps: bool,
    pub flips: bool,
    pub failing_writes: bool,
    pub full_disk: bool,
    pub failing_snapshots: bool,
    pub stalls: bool,
    pub hostile: bool,
    /// Clients set quotas, and the server enforces them.
    pub quotas: bool,
}

impl Plan {
    pub fn draw(dice: &mut Rng) -> Plan {
        let tick_ms = *dice.pick(&[100, 200, 400]);
        Plan {
            client_count: dice.between(2, 5) as usize,
            shard_count: dice.between(1, 4) as u16,
            tick_ms,
            night_ms: dice.between(2_000, 6_000),
            extended_types: dice.chance(700),
            never_used_ms: dice.chance(500).then(|| dice.between(100, 3_000) as i64),
            reap_interval_ms: dice.between(200, 2_000),
            snap_count: dice.between(10, 300),
            retain_count: dice.between(1, 4) as usize,
            mail_lag_us: *dice.pick(&[1, 20, 500]),
            net_delay_us: *dice.pick(&[20, 200, 2_000]),
            disk_delay_us: *dice.pick(&[20, 300, 3_000]),
            think_us: *dice.pick(&[3_000, 10_000, 30_000]),
            cuts: dice.chance(800),
            bad_network: dice.chance(600),
            pauses: dice.chance(400),
            clock_jumps: dice.chance(400),
            flips: dice.chance(300),
            failing_writes: dice.chance(150),
            full_disk: dice.chance(100),
            failing_snapshots: dice.chance(300),
            stalls: dice.chance(300),
            hostile: dice.chance(500),
            quotas: dice.chance(300),
        }
    }

    fn replica_settings(&self) -> replica::Settings {
        replica::Settings {
            ensemble: None,
            reconfig_enabled: false,
            slow_sync_ms: 1000,
            rules: Rules {
                auth: AuthRules::default(),
                extended_types: self.extended_types,
                enforce_quota: self.quotas,
            },
            tick_ms: self.tick_ms as u64,
            server_id: 1,
            shard_count: self.shard_count,
            segment_bytes: SEGMENT_BYTES,
            digest: true,
            close_session_lists_ephemerals: true,
            heal_from_peers: false,
            commit_log_count: 0,
            snapshots: SnapshotSettings {
                snap_count: self.snap_count,
                snap_bytes: None,
                retain_count: self.retain_count,
                purge_interval_ms: Some(700),
            },
            reaper: ReaperSettings {
                check_interval_ms: self.reap_interval_ms,
                max_per_minute: 10_000,
                max_never_used_ms: self.never_used_ms.map(|ms| ms as u64),
            },
        }
    }

    fn shard_settings(&self, shard: u16) -> shard::Settings {
        let mut settings = shard::Settings::defaults(ShardId(shard), self.shard_count, self.tick_ms);
        settings.words = crate::admin::Whitelist::parse(Some("*"), false);
        settings
    }
}

/// Small, so that a night fills several.
const SEGMENT_BYTES: u64 = 256 * 1024;
/// What a hearing clock may still count of a pause, in microseconds.
const PAUSE_COUNTED_US: u64 = 250_000;
/// Silence beyond timeout and two ticks that is the driver's: lags, ticks and writes on their way.
const EXPIRY_MARGIN_US: u64 = 3_000_000;

impl World {
    /// The next misfortune.
    pub(super) fn chaos(&mut self) -> Result<(), String> {
        if self.calm {
            return Ok(());
        }
        let next = self.dice.between(5_000, 150_000);
        self.plan_in(next, Happening::Chaos);
        match self.dice.below(9) {
            0 | 1 if self.plan.cuts && self.fuse.is_none() && self.server.is_some() && self.dice.chance(500) => {
                // In the middle of something, not between two things.
                self.fuse = Some(self.dice.between(1, 60));
                self.note(|| "the fuse is lit".into());
                Ok(())
            }
            2 if self.plan.bad_network => self.hurt_link(),
            3 if self.plan.pauses => {
                self.pause();
                Ok(())
            }
            4 if self.plan.clock_jumps => {
                let jump = self.dice.below(20_000) as i64 - 10_000;
                self.wall_ms += jump;
                self.note(|| format!("the wall clock jumps by {jump} ms"));
                Ok(())
            }
            5 if self.plan.hostile => self.intrude(),
            6 if self.plan.bad_network => {
                let client = self.dice.index(self.clients.len());
                self.clients[client].stuck = !self.clients[client].stuck;
                Ok(())
            }
            7 if self.plan.stalls && self.disk_dice.chance(300) => {
                let stall = self.disk_dice.between(10_000, 800_000);
                self.stalled_until = self.now + stall;
                self.note(|| format!("the disk stalls for {} ms", stall / 1000));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What a stalling disk adds to an operation that begins now.
    pub(super) fn disk_stall(&mut self) -> u64 {
        self.stalled_until.saturating_sub(self.now)
    }

    /// A connection is reset, or goes dead without a word.
    fn hurt_link(&mut self) -> Result<(), String> {
        let open: Vec<u64> =
            self.links.iter().filter(|(_, link)| link.at_server && link.at_client).map(|(id, _)| *id).collect();
        if open.is_empty() {
            return Ok(());
        }
        let id = *self.net_dice.pick(&open);
        if self.net_dice.chance(500) {
            self.note(|| format!("link {id} goes dead"));
            self.links.entry(id).and_modify(|link| link.severed = true);
            return Ok(());
        }
        self.note(|| format!("link {id} is reset"));
        let now = self.now;
        self.plan_at(now, Happening::EndAtServer { link: id });
        self.plan_at(now, Happening::EndAtClient { link: id });
        Ok(())
    }

    /// The whole server, a shard or the replica stands still. One at a time: the checks tell time by it.
    fn pause(&mut self) {
        let micros = self.dice.between(1_000, 1_500_000);
        let whom = self.dice.index(usize::from(self.plan.shard_count) + 2);
        let (now, until) = (self.now, self.now + micros);
        let Some(server) = &mut self.server else { return };
        if server.stopped_until.iter().any(|at| *at > now) {
            return;
        }
        match server.stopped_until.get_mut(whom) {
            Some(at) => *at = until,
            None => server.stopped_until.fill(until),
        }
        self.deaf += micros;
        // A shard that sleeps alone does not stop the clock by which silence is measured.
        let stops_clock = whom >= usize::from(self.plan.shard_count);
        self.pause_deaf_most = if stops_clock { micros.saturating_sub(PAUSE_COUNTED_US) } else { 0 };
        self.deaf_most += self.pause_deaf_most;
        self.pause_ends = until;
        self.note(|| format!("actor {whom} stands still for {} ms", micros / 1000));
    }

    fn intrude(&mut self) -> Result<(), String> {
        let (bytes, word) = garbage(&mut self.dice);
        self.connect_stranger(bytes, word)
    }

    /// Power goes. What was not synced is in the hands of chance.
    pub(super) fn cut_power(&mut self) -> Result<(), String> {
        self.fuse = None;
        self.must_halt = false;
        self.server = None;
        // A pause ends with the life it was in; nobody's silence is measured across the two.
        self.pause_ends = self.now;
        self.life += 1;
        self.summary.crashes += 1;
        let story = self.disk.cut(&mut self.disk_dice);
        self.note(|| format!("power is cut: {story}"));
        self.links.retain(|_, link| link.at_client);
        let ids: Vec<u64> = self.links.keys().copied().collect();
        for id in ids {
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.at_server = false;
            link.inbox.clear();
            if !link.severed {
                let at = link.arrive_at_client(self.now, &mut self.net_dice, self.plan.net_delay_us);
                self.plan_at(at, Happening::EndAtClient { link: id });
            }
        }
        if self.plan.flips
            && self.disk_dice.chance(400)
            && let Some(flip) = self.disk.flip(&mut self.disk_dice)
        {
            self.note(|| format!("a byte lies: {flip:?}"));
            self.flips.push(flip);
        }
        let down = self.dice.between(1_000, 300_000);
        self.plan_in(down, Happening::Boot);
        Ok(())
    }

    pub(super) fn boot(&mut self) -> Result<(), String> {
        if self.server.is_some() {
            return Ok(());
        }
        let (now, seed, mut settings) = (self.clock(), self.dice.next(), self.plan.replica_settings());
        settings.rules.enforce_quota &= self.options.sabotage != Some(Sabotage::QuotaIgnored);
        let media = Media { disk: &self.disk, hide: 0 };
        let booted = match replica::boot(&media, settings, seed, now) {
            Ok(booted) => booted,
            Err(error) if !self.flips.is_empty() => {
                // It noticed. The operator puts the byte right and starts again.
                self.summary.refused_boots += 1;
                self.note(|| format!("boot refused: {error}"));
                for flip in std::mem::take(&mut self.flips) {
                    self.disk.toggle(flip);
                }
                self.plan_in(1_000, Happening::Boot);
                return Ok(());
            }
            Err(error) => return Err(format!("boot refused without a reason: {error} (invariants 33, 35)")),
        };
        let applied = booted.replica.last_committed().0;
        self.note(|| format!("boot at {applied:#x}, {} replayed, torn {:?}", booted.replayed, booted.torn));
        self.judge_boot(booted.replica.tree(), applied)?;
        if self.dice.chance(200) && self.flips.is_empty() {
            self.boot_from_older(applied, seed)?;
        }
        for flip in std::mem::take(&mut self.flips) {
            // Noticed or not: it was survived, and is put right.
            self.disk.toggle(flip);
        }
        self.commits.rewind(applied);
        self.disk.durable = applied;
        self.doomed.clear();
        self.hearing.clear();
        self.opening.clear();
        self.count_sessions();
        let (_, most) = self.ears();
        self.hearing.values_mut().for_each(|heard| heard.most = most);
        let shards = (0..self.plan.shard_count)
            .map(|shard| {
                let tree = booted.replica.tree().replicate();
                Shard::new(self.plan.shard_settings(shard), tree, Zxid(applied), now.mono)
            })
            .collect();
        self.server = Some(Server::new(booted.replica, shards, applied));
        let life = self.life;
        self.plan_in(0, Happening::ReplicaTick { life });
        for shard in 0..usize::from(self.plan.shard_count) {
            self.plan_in(0, Happening::ShardTick { life, shard });
        }
        self.carry_out(booted.effects)
    }

    /// Invariants 2, 33, 34: what came back is a state of the commit order, and not before anything acknowledged.
    fn judge_boot(&self, tree: &Tree, applied: i64) -> Result<(), String> {
        let model = &self.commits.model;
        if applied < self.disk.durable || applied > model.last() {
            return Err(format!(
                "booted at {applied:#x}; {:#x} had been acknowledged, {:#x} proposed (invariant 33)",
                self.disk.durable,
                model.last()
            ));
        }
        same_tree(tree, model, applied).map_err(|why| format!("booted at {applied:#x}: {why} (invariants 2, 34)"))
    }

    /// The snapshot before the newest, and the longer journal behind it, must tell the same story or nothing.
    fn boot_from_older(&self, applied: i64, seed: u64) -> Result<(), String> {
        if self.disk.snapshot_zxids().len() < 2 {
            return Ok(());
        }
        let media = Media { disk: &self.disk, hide: 1 };
        match replica::boot(&media, self.plan.replica_settings(), seed, self.clock()) {
            Ok(booted) if booted.replica.last_committed().0 == applied => {
                same_tree(booted.replica.tree(), &self.commits.model, applied)
                    .map_err(|why| format!("from an older snapshot: {why} (invariant 34)"))
            }
            Ok(booted) => {
                Err(format!("an older snapshot leads to {}, not {applied:#x}", booted.replica.last_committed()))
            }
            Err(error) => Err(format!("an older snapshot that was kept does not boot: {error} (invariant 35)")),
        }
    }

    /// A session ended unasked: it must have been silent for its whole timeout (invariant 19).
    pub(super) fn judge_expiry(&mut self, session: i64) -> Result<(), String> {
        self.summary.expired += 1;
        let (_, most) = self.ears();
        self.note(|| format!("session {session:#x} expires"));
        let Some(heard) = self.hearing.get(&session) else { return Ok(()) };
        let silent = most.saturating_sub(heard.most);
        let on_its_way = heard.lapsed_at > 0 && self.now - heard.lapsed_at < EXPIRY_MARGIN_US;
        if silent < heard.timeout_least_ms as u64 * 1000 && !on_its_way {
            return Err(format!(
                "session {session:#x} expired after {} of {} ms of silence (invariant 19)",
                silent / 1000,
                heard.timeout_least_ms
            ));
        }
        Ok(())
    }

    /// Looks after what must happen in time: silent sessions end (invariants 16, 19).
    pub(super) fn watchman(&mut self) -> Result<(), String> {
        if self.stopped {
            return Ok(());
        }
        self.plan_in(100_000, Happening::Watchman);
        if !self.server.as_ref().is_some_and(Server::is_open) {
            return Ok(());
        }
        let (least, _) = self.ears();
        let slack = 2 * self.plan.tick_ms as u64 * 1000 + EXPIRY_MARGIN_US;
        for (session, Hearing { least: heard, timeout_most_ms, .. }) in &self.hearing {
            let silent = least.saturating_sub(*heard);
            if silent > *timeout_most_ms as u64 * 1000 + slack {
                return Err(format!(
                    "session {session:#x} lives after {} ms of silence, its timeout is {timeout_most_ms} ms (invariant 19)",
                    silent / 1000
                ));
            }
        }
        Ok(())
    }

    /// Faults end. Everything asked is answered, then everybody leaves and nothing of them may stay.
    pub(super) fn come_to_rest(&mut self) -> Result<(), String> {
        self.calm = true;
        self.fuse = None;
        self.plan = Plan { failing_writes: false, full_disk: false, failing_snapshots: false, ..self.plan.clone() };
        self.clients.iter_mut().for_each(|client| client.stuck = false);
        let ids: Vec<u64> =
            self.links.iter().filter(|(_, link)| link.at_server && !link.severed).map(|(id, _)| *id).collect();
        for link in ids {
            self.plan_in(0, Happening::AtClient { link, bytes: Vec::new() });
        }
        // A boot may be due, and a write may fail that was doomed before: long enough for both.
        let end = self.now + 6_000_000;
        self.run_until(end)?;
        if self.server.is_none() {
            return Err("the server did not come back".into());
        }
        for (id, link) in &self.links {
            if link.at_server
                && link.at_client
                && !link.severed
                && link.client.is_some()
                && let Some(asked) = link.line.asked.front().filter(|asked| asked.at + 2_000_000 < self.now)
            {
                return Err(format!("link {id}: never answered: {asked:?} (invariant 5)"));
            }
            if link.word == Some("ruok") && link.at_client && !link.severed && link.collected != b"imok" {
                return Err(format!("link {id}: ruok was answered {:?}", link.collected));
            }
        }
        self.stopped = true;
        for client in 0..self.clients.len() {
            self.leave(client);
        }
        let longest = self.hearing.values().map(|heard| heard.timeout_most_ms).max().unwrap_or(0) as u64;
        let end = self.now + longest * 1000 + 3 * self.plan.tick_ms as u64 * 1000 + EXPIRY_MARGIN_US;
        self.run_until(end)?;
        // A TTL znode may come due at any moment, and its end be on its way to the disk: it lands soon.
        let end = self.now + EXPIRY_MARGIN_US;
        while self.commits.model.last() != self.disk.durable && self.now < end {
            self.run_until(self.now + 1_000)?;
        }
        let model = &self.commits.model;
        if let Some((session, _)) = model.sessions_at(i64::MAX).next() {
            return Err(format!("session {session:#x} outlived its client (invariant 19)"));
        }
        if let Some((path, node)) = model.tree_at(i64::MAX).find(|(_, node)| node.session().is_some()) {
            return Err(format!("{path} outlived its session: {node:?} (invariant 16)"));
        }
        if let Some(server) = &self.server {
            same_tree(server.replica.tree(), model, model.last())
                .map_err(|why| format!("at rest: {why} (invariant 2)"))?;
        }
        if self.commits.model.last() != self.disk.durable {
            return Err(format!("at rest {:#x} is durable of {:#x}", self.disk.durable, model.last()));
        }
        Ok(())
    }
}

/// Compares a machine's tree with the model at `zxid`, node by node and by digest.
pub fn same_tree(tree: &Tree, model: &Model, zxid: i64) -> Result<(), String> {
    let mut count = 0;
    for (path, due) in model.tree_at(zxid) {
        count += 1;
        let Some(node) = tree.get(path) else { return Err(format!("{path} is missing")) };
        let stat = shared(path, node.stat());
        if node.data() != due.data.as_deref() || stat != due.stat() || node.acl() != due.acl.as_slice() {
            return Err(format!("{path} is {:?} {:?}, due was {due:?}", node.stat(), node.acl()));
        }
        let mut names: Vec<&str> = tree.children(&node).collect();
        names.sort_unstable();
        if names.len() != due.children.len() || names.iter().zip(due.children.iter()).any(|(name, due)| name != due) {
            return Err(format!("{path} has children {names:?}, due were {:?}", due.children));
        }
    }
    if tree.digest() != model.digest_at(zxid) {
        return Err(format!("the digest is {}, due was {} (invariant 42)", tree.digest(), model.digest_at(zxid)));
    }
    // The root counts twice (parity ZN-29).
    if tree.znode_count() == count + 1 {
        Ok(())
    } else {
        Err(format!("{} znodes, due were {}", tree.znode_count(), count + 1))
    }
}
