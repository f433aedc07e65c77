//! Keys whose values have rules of their own. Each function is the `Judged` reading of a row in `keys.rs`.

use std::path::PathBuf;

use super::draft::{Draft, Setting};
use super::ensemble::{Role, parse_port};
use super::error::{ConfigError, ConfigErrorKind, Place};
use super::placement::SHARDS_MAX;
use super::value;
use crate::tree::auth::DigestAlg;

type Judged = Result<(), ConfigError>;

pub(super) fn client_port(draft: &mut Draft, setting: &Setting) -> Judged {
    let port = parse_port(&setting.key, &setting.value, &setting.place)?;
    draft.client_port = Some((port, setting.place.clone()));
    Ok(())
}

pub(super) fn client_port_address(draft: &mut Draft, setting: &Setting) -> Judged {
    draft.client_port_address = Some(setting.clone());
    Ok(())
}

pub(super) fn data_dir(draft: &mut Draft, setting: &Setting) -> Judged {
    draft.config.journal.data_dir = directory(draft, setting)?;
    Ok(())
}

pub(super) fn data_log_dir(draft: &mut Draft, setting: &Setting) -> Judged {
    draft.config.journal.data_log_dir = directory(draft, setting)?;
    Ok(())
}

fn directory(draft: &mut Draft, setting: &Setting) -> Result<PathBuf, ConfigError> {
    if setting.value.is_empty() {
        return Err(setting.wrong(
            "names no directory",
            format!("write an absolute path, for example {}=/var/lib/ringkeeper", setting.key),
        ));
    }
    let path = PathBuf::from(&setting.value);
    // A leading ./ says that relative is meant. ZK: VerifyingFileFactory.
    if path.is_relative() && !setting.value.starts_with('.') {
        let text = format!(
            "{}={} is relative to the working directory; write an absolute path, or ./ before it if that is meant",
            setting.key, setting.value
        );
        draft.warn(&setting.place, text);
    }
    Ok(path)
}

pub(super) fn server_cnxn_factory(draft: &mut Draft, setting: &Setting) -> Judged {
    const KNOWN: [&str; 2] =
        ["org.apache.zookeeper.server.NIOServerCnxnFactory", "org.apache.zookeeper.server.NettyServerCnxnFactory"];
    if !KNOWN.contains(&setting.value.as_str()) && !setting.value.is_empty() {
        let text = format!("serverCnxnFactory={} has no effect: Java classes cannot be loaded here", setting.value);
        draft.warn(&setting.place, text);
    }
    Ok(())
}

pub(super) fn member_line(draft: &mut Draft, setting: &Setting) -> Judged {
    draft.member_settings.push(setting.clone());
    Ok(())
}

pub(super) fn dynamic_config_file(draft: &mut Draft, setting: &Setting) -> Judged {
    draft.dynamic_config_file = Some(setting.clone());
    Ok(())
}

pub(super) fn peer_type(draft: &mut Draft, setting: &Setting) -> Judged {
    draft.config.quorum.peer_type =
        Role::parse(&setting.value).ok_or_else(|| setting.wrong("is not a role", "write participant or observer"))?;
    Ok(())
}

pub(super) fn election_alg(_: &mut Draft, setting: &Setting) -> Judged {
    match value::parse_long(&setting.value) {
        Some(3) => Ok(()),
        _ => Err(setting.wrong("is not an election algorithm", "write electionAlg=3, the only one, or leave it out")),
    }
}

pub(super) fn auth_provider(draft: &mut Draft, setting: &Setting) -> Judged {
    const BUILT_IN: [&str; 2] = [
        "org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
        "org.apache.zookeeper.server.auth.IPAuthenticationProvider",
    ];
    if !BUILT_IN.contains(&setting.value.as_str()) {
        let problem = format!(
            "{}={} cannot be honoured: it promises an authentication scheme that is not supported yet",
            setting.key, setting.value
        );
        let remedy = "remove it; the schemes world, auth, ip, digest and super are built in";
        draft.config.refusals.push(ConfigError::new(
            ConfigErrorKind::Unsupported,
            setting.place.clone(),
            problem,
            remedy,
        ));
    }
    Ok(())
}

pub(super) fn digest_alg(draft: &mut Draft, setting: &Setting) -> Judged {
    draft.config.auth.digest_algorithm = DigestAlg::from_name(&setting.value).ok_or_else(|| {
        setting.wrong("is not a supported hash", "write one of SHA-1, SHA-224, SHA-256, SHA-384, SHA-512, SHA-512/224, SHA-512/256, SHA3-224, SHA3-256, SHA3-384, SHA3-512")
    })?;
    Ok(())
}

pub(super) fn enforce_auth_enabled(draft: &mut Draft, setting: &Setting) -> Judged {
    draft.enforce_auth = setting.value.eq_ignore_ascii_case("true").then(|| setting.clone());
    // "yes" would leave the door open that somebody meant to close.
    if value::strict_bool(&setting.value).is_none() {
        return Err(setting.wrong("is not a truth value", "write true or false"));
    }
    Ok(())
}

pub(super) fn enforce_auth_schemes(draft: &mut Draft, setting: &Setting) -> Judged {
    draft.enforce_auth_schemes = Some(setting.clone());
    Ok(())
}

/// Unsafe on purpose, so it is said at every start.
pub(super) fn skip_acl(draft: &mut Draft, on: bool) {
    draft.config.auth.skip_acl = on;
}

/// Unsafe on purpose, so it is said at every start.
pub(super) fn force_sync(draft: &mut Draft, on: bool) {
    draft.config.journal.force_sync = on;
}

pub(super) fn snap_retain_count(draft: &mut Draft, setting: &Setting) -> Judged {
    let count = value::parse_long(&setting.value)
        .filter(|count| i32::try_from(*count).is_ok())
        .ok_or_else(|| setting.wrong("is not a whole number", "write how many snapshots to keep, at least 3"))?;
    if count < 3 {
        draft.warn(&setting.place, format!("{}={count} is raised to 3, the least that is safe to keep", setting.key));
    }
    draft.config.journal.snap_retain_count = count.max(3) as u32;
    Ok(())
}

pub(super) fn purge_interval(draft: &mut Draft, setting: &Setting) -> Judged {
    const HOUR_MS: i64 = 3_600_000;
    let interval_ms = value::interval_ms(&setting.value, HOUR_MS).ok_or_else(|| {
        setting.wrong("is not an interval", "write hours, or a number with ms, s, m, h or d; 0 switches the purge off")
    })?;
    draft.config.journal.purge_interval_ms = interval_ms.max(0) as u64;
    Ok(())
}

pub(super) fn metrics_provider(draft: &mut Draft, setting: &Setting) -> Judged {
    match setting.value.as_str() {
        "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"
        | "org.apache.zookeeper.metrics.impl.NullMetricsProvider" => Ok(()),
        "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider" => {
            draft.warn(
                &setting.place,
                "the Prometheus endpoint does not exist yet; metrics are answered by the word mntr",
            );
            Ok(())
        }
        _ => Err(setting.wrong("is not a known metrics provider", "leave it out; Java classes cannot be loaded here")),
    }
}

pub(super) fn shards(draft: &mut Draft, setting: &Setting) -> Judged {
    let count = value::parse_long(&setting.value)
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| (1..=SHARDS_MAX).contains(count))
        .ok_or_else(|| setting.wrong("is not a number of shards", format!("write a number from 1 to {SHARDS_MAX}")))?;
    draft.config.cores.shards = Some(count);
    Ok(())
}

pub(super) fn shard_cpus(draft: &mut Draft, setting: &Setting) -> Judged {
    let cpus = setting.value.parse().map_err(|reason| {
        setting
            .wrong(format!("is not a list of CPUs: {reason}"), "write numbers and ranges, for example 1-7 or 0,2,4-6")
    })?;
    draft.config.cores.shard_cpus = Some(cpus);
    Ok(())
}

pub(super) fn replication_cpu(draft: &mut Draft, setting: &Setting) -> Judged {
    let cpu =
        setting.value.parse().map_err(|_| setting.wrong("is not a CPU number", "write one number, for example 0"))?;
    draft.config.cores.replication_cpu = Some(cpu);
    Ok(())
}

/// Decides which schemes are enforced once both keys are known.
pub(super) fn settle_enforced_schemes(draft: &mut Draft) -> Judged {
    let Some(enabled) = draft.enforce_auth.clone() else { return Ok(()) };
    let schemes = draft
        .enforce_auth_schemes
        .clone()
        .filter(|schemes| !schemes.value.trim().is_empty())
        .ok_or_else(|| enabled.wrong("enforces no scheme", "name some, for example enforce.auth.schemes=digest"))?;
    for scheme in schemes.value.split(',').map(str::trim) {
        match scheme {
            "ip" => {}
            "digest" if draft.config.auth.digest_enabled => {}
            "digest" => {
                return Err(schemes.wrong(
                    "names digest",
                    "remove DigestAuthenticationProvider.enabled=false, or enforce another scheme",
                ));
            }
            "sasl" | "x509" => {
                let problem = format!(
                    "{}={} cannot be honoured: the scheme {scheme} is not supported yet",
                    schemes.key, schemes.value
                );
                let place: Place = schemes.place.clone();
                let refusal = ConfigError::new(ConfigErrorKind::Unsupported, place, problem, "enforce digest or ip");
                draft.config.refusals.push(refusal);
            }
            _ => {
                return Err(schemes
                    .wrong(format!("names the unknown scheme {scheme:?}"), "write a comma list of digest and ip"));
            }
        }
        draft.config.auth.enforce_auth_schemes.push(scheme.to_owned());
    }
    Ok(())
}
