//! Which executor runs on which CPU: a pure function of the affinity mask and the `ringkeeper.*` settings.
//!
//! ```text
//! mask          default
//! 1 CPU         executor 0: replica + shard 0
//! 2 CPUs        executor 0: replica + shard 0      executor 1: shard 1
//! 3 or more     executor 0: replica alone          executor i: shard i-1
//! ```
//!
//! The replication core is on the way of every write, so it gets a CPU to itself as soon as shards have two others.

use super::error::{ConfigError, ConfigErrorKind, Place};
use super::model::CoresConfig;

/// One executor and what it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// CPU it is pinned to; `None` = the kernel decides (`ringkeeper.pin=false`).
    pub cpu: Option<usize>,
    /// It runs the replica.
    pub replica: bool,
    /// The shard it runs.
    pub shard: Option<usize>,
    /// No other executor shares this CPU and the server was not told to leave CPUs to the kernel, so an idle executor may
    /// spin for a while without taking time from another.
    pub may_spin: bool,
}

/// Every executor of the server; exactly one runs the replica, and shards are numbered from 0 without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub cores: Vec<Core>,
}

impl Placement {
    /// Number of shards placed.
    pub fn shard_count(&self) -> usize {
        self.cores.iter().filter(|core| core.shard.is_some()).count()
    }

    /// Index of the executor that runs the replica.
    pub fn replica_index(&self) -> usize {
        self.cores.iter().position(|core| core.replica).expect("placement always places the replica")
    }
}

/// Most shards one server may have; each costs a thread, a ring and its own index of the tree.
pub const SHARDS_MAX: usize = 256;

/// Places replica and shards on the CPUs of `mask` (the process' affinity mask, in any order).
///
/// Explicit settings win; more shards than CPUs is allowed, and they take the CPUs in turn.
///
/// Errors: [`ConfigErrorKind::Contradiction`], naming the key, for a CPU outside the mask, for more shard CPUs than shards,
/// and for pinning settings beside `ringkeeper.pin=false`.
pub fn placement(mask: &[usize], cores: &CoresConfig) -> Result<Placement, ConfigError> {
    let mut cpus = mask.to_vec();
    cpus.sort_unstable();
    cpus.dedup();
    if cpus.is_empty() {
        return Err(contradiction(
            "the affinity mask of this process is empty",
            "give it at least one CPU (taskset, cpuset)",
        ));
    }
    judge(&cpus, cores)?;

    let replication_cpu = replication_cpu(&cpus, cores);
    let candidates = shard_candidates(&cpus, replication_cpu, cores);
    let shard_count = cores.shards.unwrap_or(candidates.len());

    let mut placed = vec![Core { cpu: Some(replication_cpu), replica: true, shard: None, may_spin: false }];
    for shard in 0..shard_count {
        let cpu = candidates[shard % candidates.len()];
        // The replica's own executor takes one shard; a second thread on that CPU would only add switches.
        if cpu == replication_cpu && placed[0].shard.is_none() {
            placed[0].shard = Some(shard);
        } else {
            placed.push(Core { cpu: Some(cpu), replica: false, shard: Some(shard), may_spin: false });
        }
    }
    settle(&mut placed, cores.pin);
    Ok(Placement { cores: placed })
}

/// Fills in who may spin, and takes the CPUs away again where pinning is off.
fn settle(placed: &mut [Core], pin: bool) {
    for index in 0..placed.len() {
        let cpu = placed[index].cpu;
        placed[index].may_spin = pin && placed.iter().filter(|core| core.cpu == cpu).count() == 1;
    }
    if !pin {
        placed.iter_mut().for_each(|core| core.cpu = None);
    }
}

fn judge(mask: &[usize], cores: &CoresConfig) -> Result<(), ConfigError> {
    if !cores.pin && (cores.shard_cpus.is_some() || cores.replication_cpu.is_some()) {
        return Err(contradiction(
            "ringkeeper.pin=false leaves the CPUs to the kernel, but ringkeeper.shardCpus or ringkeeper.replicationCpu names some",
            "remove one or the other",
        ));
    }
    if let Some(cpu) = cores.replication_cpu
        && !mask.contains(&cpu)
    {
        return Err(outside("ringkeeper.replicationCpu", cpu, mask));
    }
    let Some(shard_cpus) = &cores.shard_cpus else { return Ok(()) };
    if let Some(&cpu) = shard_cpus.as_slice().iter().find(|cpu| !mask.contains(cpu)) {
        return Err(outside("ringkeeper.shardCpus", cpu, mask));
    }
    match cores.shards {
        Some(shards) if shards < shard_cpus.len() => Err(contradiction(
            format!("ringkeeper.shardCpus={shard_cpus} names {} CPUs but ringkeeper.shards={shards}", shard_cpus.len()),
            format!("name {shards} CPUs, or leave ringkeeper.shards out to get one shard on each"),
        )),
        _ => Ok(()),
    }
}

/// The first CPU no shard asked for, or the first shard's if they asked for all.
fn replication_cpu(mask: &[usize], cores: &CoresConfig) -> usize {
    cores.replication_cpu.unwrap_or_else(|| match &cores.shard_cpus {
        None => mask[0],
        Some(shard_cpus) => {
            mask.iter().copied().find(|cpu| !shard_cpus.contains(*cpu)).unwrap_or(shard_cpus.as_slice()[0])
        }
    })
}

/// The CPUs shards are dealt to, in order.
fn shard_candidates(mask: &[usize], replication_cpu: usize, cores: &CoresConfig) -> Vec<usize> {
    if let Some(shard_cpus) = &cores.shard_cpus {
        return shard_cpus.as_slice().to_vec();
    }
    let others: Vec<usize> = mask.iter().copied().filter(|cpu| *cpu != replication_cpu).collect();
    let shards_fit_beside = match cores.shards {
        Some(shards) => others.len() >= shards.min(2),
        None => others.len() >= 2,
    };
    if shards_fit_beside && !others.is_empty() {
        others
    } else {
        std::iter::once(replication_cpu).chain(others).collect()
    }
}

fn outside(key: &str, cpu: usize, mask: &[usize]) -> ConfigError {
    let mask = mask.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    contradiction(
        format!("{key} names CPU {cpu}, which this process may not use"),
        format!("choose from its affinity mask ({mask}), or widen that (taskset, cpuset, CPUAffinity=)"),
    )
}

fn contradiction(problem: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Contradiction, None::<Place>, problem, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `R` = replica, digits = shard, `@cpu`; `!` where it may spin.
    fn drawn(mask: &[usize], cores: &CoresConfig) -> String {
        let draw = |core: &Core| {
            let replica = if core.replica { "R" } else { "" };
            let shard = core.shard.map(|shard| shard.to_string()).unwrap_or_default();
            let cpu = core.cpu.map(|cpu| cpu.to_string()).unwrap_or("-".to_owned());
            format!("{replica}{shard}@{cpu}{}", if core.may_spin { "!" } else { "" })
        };
        match placement(mask, cores) {
            Ok(placed) => placed.cores.iter().map(draw).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    fn cores(shards: Option<usize>, shard_cpus: Option<&str>, replication_cpu: Option<usize>) -> CoresConfig {
        let shard_cpus = shard_cpus.map(|text| text.parse().unwrap());
        CoresConfig { shards, shard_cpus, replication_cpu, ..CoresConfig::default() }
    }

    #[test]
    fn defaults_follow_the_mask() {
        let default = CoresConfig::default();
        assert_eq!(drawn(&[5], &default), "R0@5!");
        assert_eq!(drawn(&[0, 1], &default), "R0@0! 1@1!");
        assert_eq!(drawn(&[2, 0, 1], &default), "R@0! 0@1! 1@2!");
        assert_eq!(drawn(&[0, 1, 2, 3, 4, 5, 6, 7], &default), "R@0! 0@1! 1@2! 2@3! 3@4! 4@5! 5@6! 6@7!");
    }

    #[test]
    fn explicit_settings_win() {
        assert_eq!(drawn(&[0, 1, 2, 3], &cores(None, Some("2-3"), None)), "R@0! 0@2! 1@3!");
        assert_eq!(drawn(&[0, 1, 2, 3], &cores(None, None, Some(3))), "R@3! 0@0! 1@1! 2@2!");
        assert_eq!(drawn(&[0, 1, 2, 3], &cores(Some(1), None, None)), "R@0! 0@1!");
        assert_eq!(drawn(&[0, 1], &cores(Some(1), None, None)), "R@0! 0@1!");
        assert_eq!(drawn(&[0, 1], &cores(None, Some("0-1"), None)), "R0@0! 1@1!");
        assert_eq!(drawn(&[0, 1], &cores(None, Some("1"), Some(1))), "R0@1!");
    }

    #[test]
    fn more_shards_than_cpus_take_turns_and_nobody_spins_there() {
        assert_eq!(drawn(&[4], &cores(Some(3), None, None)), "R0@4 1@4 2@4");
        assert_eq!(drawn(&[0, 1], &cores(Some(3), None, None)), "R0@0 1@1! 2@0");
        assert_eq!(drawn(&[0, 1, 2], &cores(Some(3), None, None)), "R@0! 0@1 1@2! 2@1");
    }

    #[test]
    fn unpinned_servers_keep_the_shape_and_never_spin() {
        let unpinned = CoresConfig { pin: false, ..CoresConfig::default() };
        assert_eq!(drawn(&[0, 1, 2], &unpinned), "R@- 0@- 1@-");
    }

    #[test]
    fn contradictions_name_their_key() {
        for (mask, settings, named) in [
            (&[0, 1][..], cores(None, None, Some(2)), "ringkeeper.replicationCpu names CPU 2"),
            (&[0, 1], cores(None, Some("1-2"), None), "ringkeeper.shardCpus names CPU 2"),
            (&[0, 1, 2], cores(Some(1), Some("1-2"), None), "ringkeeper.shards=1"),
            (&[], CoresConfig::default(), "mask of this process is empty"),
            (
                &[0],
                CoresConfig { pin: false, replication_cpu: Some(0), ..CoresConfig::default() },
                "ringkeeper.pin=false",
            ),
        ] {
            let text = drawn(mask, &settings);
            assert!(text.contains(named), "{text}");
        }
    }

    #[test]
    fn every_placement_is_whole() {
        for cpus in 1..=9 {
            let mask: Vec<usize> = (0..cpus).collect();
            for shards in (1..=12).map(Some).chain([None]) {
                let placed = placement(&mask, &cores(shards, None, None)).unwrap();
                assert_eq!(placed.cores.iter().filter(|core| core.replica).count(), 1);
                let mut numbers: Vec<usize> = placed.cores.iter().filter_map(|core| core.shard).collect();
                numbers.sort_unstable();
                assert_eq!(numbers, (0..placed.shard_count()).collect::<Vec<_>>());
                assert_eq!(placed.shard_count(), shards.unwrap_or(if cpus < 3 { cpus } else { cpus - 1 }));
            }
        }
    }
}
