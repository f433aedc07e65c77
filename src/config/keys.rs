//! The one table of keys: what each is called, where it may be written, its default, what becomes of it.
//!
//! A key is *honoured*; or belongs to an *ensemble* (judged now, used by its members); or is *pointless* here (JVM, Jetty,
//! Netty: accepted, said once); or *not yet* there but harmless to miss (warned about); or *refused*, because to start
//! without the feature would break a promise of safety or security. A key that is not in this table is unknown.
//! Facts: parity sections 10 and 13 of ZooKeeper's own documentation and source, ids in the comments.

use super::draft::{Draft, Setting};
use super::error::ConfigError;
use super::judged;

/// Where a key may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// zoo.cfg only; ZooKeeper's parser knows it (CF-03).
    Native,
    /// zoo.cfg, or `-Dzookeeper.<key>` where zoo.cfg is silent.
    NativeOrProperty,
    /// zoo.cfg as `<key>`, which is the system property `zookeeper.<key>` and beats a `-D` of that name (CF-02).
    Property,
    /// As `Property`, and the bare `-D<key>` counts where that is absent.
    PropertyOrBare,
    /// The system property `<key>` without prefix (CF-10); accepted in zoo.cfg too, which Apache does not.
    Bare,
    /// ringkeeper's own: zoo.cfg, flag, or `-D<key>`.
    Ours,
}

/// How a value is read and where it goes.
pub enum Reading {
    /// Decimal; anything else, or beyond the bounds, stops the start (CF-04, CF-05).
    Native(i64, i64, fn(&mut Draft, i64)),
    /// `true` or `false`; anything else stops the start (CF-04).
    NativeBool(fn(&mut Draft, bool)),
    /// A property's number: what cannot be used falls back to the default, with a warning.
    Number(i64, i64, fn(&mut Draft, i64)),
    /// A property's fraction, likewise.
    Real(f64, f64, fn(&mut Draft, f64)),
    /// `true` in any case is true, everything else false (CF-04).
    Flag(fn(&mut Draft, bool)),
    /// True unless the text is exactly this one.
    Unless(&'static str, fn(&mut Draft, bool)),
    /// True only if the text is exactly this one.
    Exactly(&'static str, fn(&mut Draft, bool)),
    Text(fn(&mut Draft, &str)),
    /// Has rules of its own.
    Judged(fn(&mut Draft, &Setting) -> Result<(), ConfigError>),
}

/// What becomes of a key.
pub enum Class {
    Honoured(Reading),
    /// Judged now; takes effect in an ensemble.
    Ensemble(Reading),
    /// Has no meaning in this server, for this reason.
    Pointless(Reading, &'static str),
    /// The feature is missing; missing it is harmless, for this reason.
    NotYet(Reading, &'static str),
    /// Refused unless the value asks for nothing: (asks for nothing?, what would be broken, what to do).
    Refused(fn(&str) -> bool, &'static str, &'static str),
}

/// A row of the table.
pub struct Key {
    /// A trailing `*` stands for any ending.
    pub name: &'static str,
    pub origin: Origin,
    /// As one would write it; empty = unset.
    pub default: &'static str,
    pub class: Class,
    /// What it does, and its unit.
    pub doc: &'static str,
}

impl Key {
    /// Does this row speak of `name`?
    pub fn matches(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => self.name == name,
        }
    }

    /// May its value hold a secret?
    pub fn is_secret(name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        name.contains("password") || name.contains("superdigest") || name.contains("secret")
    }
}

/// The row a line of zoo.cfg means: native keys first, then the longest name.
pub fn in_file(name: &str) -> Option<&'static Key> {
    best(|key| key.matches(name))
}

/// The row `-D<name>=` means, and the key without its prefix; the flag tells prefixed from bare.
pub fn in_flags(name: &str) -> Option<(&'static Key, String, bool)> {
    let prefixed = name.strip_prefix("zookeeper.").and_then(|short| {
        let found = best(|key| {
            matches!(key.origin, Origin::Property | Origin::PropertyOrBare | Origin::NativeOrProperty)
                && key.matches(short)
        });
        found.map(|key| (key, short.to_owned(), true))
    });
    prefixed.or_else(|| {
        let found =
            best(|key| matches!(key.origin, Origin::Bare | Origin::PropertyOrBare | Origin::Ours) && key.matches(name));
        found.map(|key| (key, name.to_owned(), false))
    })
}

fn best(wanted: impl Fn(&Key) -> bool) -> Option<&'static Key> {
    let native = |key: &Key| matches!(key.origin, Origin::Native | Origin::NativeOrProperty);
    KEYS.iter().filter(|key| wanted(key)).max_by_key(|key| (native(key), !key.name.ends_with('*'), key.name.len()))
}

/// The closest name to a misspelt one, if any is close.
pub fn suggestion(name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase();
    let near = |key: &&Key| (distance(&lower, &key.name.to_lowercase()), key.name);
    KEYS.iter()
        .filter(|key| !key.name.ends_with('*'))
        .map(|key| near(&key))
        .min()
        .filter(|(far, _)| *far <= 2)
        .map(|(_, name)| name)
}

/// Edits between two short texts (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

const I32: i64 = i32::MAX as i64;
const I32_MIN: i64 = i32::MIN as i64;
const I64: i64 = i64::MAX;
/// Largest number of KiB whose bytes fit.
const KIB: i64 = i64::MAX / 1024;

const JVM: &str = "it belongs to the Java virtual machine";
const JETTY: &str = "there is no Jetty here";
const NETTY: &str = "there is no Netty here";
const THREADS: &str = "there are no such thread pools here; ringkeeper.shards and ringkeeper.shardCpus place the work";
const LOGGING: &str = "logging is set with --log-level, --log-format and RUST_LOG";
const CLIENT: &str = "it configures Java clients";
const NO_SASL: &str =
    "SASL is not supported, so it has nothing to act on; a configuration that enables SASL is refused";
const NO_TLS: &str =
    "TLS is not supported yet, so it has nothing to act on; a configuration that opens a TLS port is refused";
const NO_ADMIN: &str = "the admin HTTP server does not exist yet; use the four-letter words";
const GROUP_COMMIT: &str = "group commit has no timer here: what queues while one write is under way is the next write";
const STALE: &str = "a waiting request waits in its connection and goes with it";
const TESTING: &str = "it exists for Apache's own tests";
const JMX: &str = "there is no JMX here";

const fn off(value: &str) -> bool {
    !value.eq_ignore_ascii_case("true")
}
const fn never(_: &str) -> bool {
    false
}
const UNREAD: Reading = Reading::Text(|_, _| {});
const UNREAD_BOOL: Reading = Reading::NativeBool(|_, _| {});
const UNREAD_INT: Reading = Reading::Native(I32_MIN, I32, |_, _| {});

use Class::{Ensemble, Honoured, NotYet, Pointless, Refused};
use Origin::{Bare, Native, NativeOrProperty, Ours, Property, PropertyOrBare};
use Reading::{Exactly, Flag, Judged, NativeBool, Number, Real, Text, Unless};

const fn key(name: &'static str, origin: Origin, default: &'static str, class: Class, doc: &'static str) -> Key {
    Key { name, origin, default, class, doc }
}

/// Every key, in the order of ZooKeeper's documentation.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    // Basics: CF-20 to CF-34.
    key("clientPort", Native, "", Honoured(Judged(judged::client_port)), "port of the client listener; 0 = any free one"),
    key("clientPortAddress", Native, "", Honoured(Judged(judged::client_port_address)), "address or name it binds; all when unset"),
    key("secureClientPort", Native, "", Refused(never, "it promises TLS to clients, and TLS is not supported yet", "remove it, or keep Apache ZooKeeper for TLS clients"), "port of the TLS listener"),
    key("secureClientPortAddress", Native, "", Refused(never, "it promises TLS to clients, and TLS is not supported yet", "remove it, or keep Apache ZooKeeper for TLS clients"), "address of the TLS listener"),
    key("dataDir", Native, "", Honoured(Judged(judged::data_dir)), "directory of snapshots, myid and epoch files"),
    key("dataLogDir", Native, "", Honoured(Judged(judged::data_log_dir)), "directory of the transaction log; dataDir when unset"),
    key("tickTime", Native, "3000", Honoured(Reading::Native(1, I32, |d, v| d.config.client.tick_time_ms = v as u32)), "ms; session granularity and base of cluster timeouts"),
    key("minSessionTimeout", Native, "-1", Honoured(Reading::Native(-1, I32, |d, v| d.min_session_timeout_ms = v)), "ms; -1 = 2 * tickTime"),
    key("maxSessionTimeout", Native, "-1", Honoured(Reading::Native(-1, I32, |d, v| d.max_session_timeout_ms = v)), "ms; -1 = 20 * tickTime"),
    key("maxClientCnxns", Native, "60", Honoured(Reading::Native(I32_MIN, I32, |d, v| d.config.client.max_client_cnxns = v.max(0) as u32)), "connections per source address; 0 = unlimited"),
    key("maxCnxns", Property, "0", Honoured(Number(I32_MIN, I32, |d, v| d.config.client.max_cnxns = v.max(0) as u32)), "connections in all; 0 = unlimited"),
    key("clientPortListenBacklog", Native, "-1", Honoured(Reading::Native(I32_MIN, I32, |d, v| d.config.client.listen_backlog = (v > 0).then_some(v as u32))), "listen backlog; -1 = the platform's"),
    key("datadir.autocreate", Property, "true", Honoured(Flag(|d, v| d.config.journal.datadir_autocreate = v)), "create missing directories"),
    key("db.autocreate", Property, "true", Ensemble(Flag(|d, v| d.config.journal.db_autocreate = v)), "start empty when there is no data"),
    key("serverCnxnFactory", Property, "", Honoured(Judged(judged::server_cnxn_factory)), "Apache's network classes; ringkeeper has one network layer"),

    // Cluster: CF-40 to CF-75.
    key("server.*", Native, "", Ensemble(Judged(judged::member_line)), "a member of the ensemble"),
    key("group*", Native, "", Ensemble(Judged(judged::member_line)), "a group of a hierarchical quorum"),
    key("weight*", Native, "", Ensemble(Judged(judged::member_line)), "voting weight of a member"),
    key("dynamicConfigFile", Native, "", Ensemble(Judged(judged::dynamic_config_file)), "file that holds the member lines"),
    key("initLimit", Native, "0", Ensemble(Reading::Native(0, I32, |d, v| d.config.quorum.init_limit_ticks = v as u32)), "ticks to connect and synchronize"),
    key("syncLimit", Native, "0", Ensemble(Reading::Native(0, I32, |d, v| d.config.quorum.sync_limit_ticks = v as u32)), "ticks a learner may lag"),
    key("connectToLearnerMasterLimit", Native, "0", Ensemble(Reading::Native(0, I32, |d, v| d.config.quorum.connect_to_learner_master_limit_ticks = v as u32)), "ticks for the connect phase; 0 = initLimit"),
    key("peerType", Native, "participant", Ensemble(Judged(judged::peer_type)), "participant or observer"),
    key("electionAlg", Native, "3", Ensemble(Judged(judged::election_alg)), "only 3"),
    key("leaderServes", Property, "yes", Ensemble(Unless("no", |d, v| d.config.quorum.leader_serves = v)), "no = the leader takes no clients"),
    key("quorumListenOnAllIPs", Native, "false", Ensemble(NativeBool(|d, v| d.config.quorum.quorum_listen_on_all_ips = v)), "bind quorum and election ports everywhere"),
    key("cnxTimeout", Property, "5000", Ensemble(Number(1, I32, |d, v| d.config.quorum.cnx_timeout_ms = v as u32)), "ms; election connect timeout"),
    key("quorumCnxnTimeoutMs", Property, "-1", Ensemble(Number(I32_MIN, I32, |d, v| d.config.quorum.quorum_cnxn_timeout_ms = (v > 0).then_some(v as u32))), "ms; election read timeout"),
    key("electionPortBindRetry", Property, "3", Ensemble(Number(0, I32, |d, v| d.config.quorum.election_port_bind_retry = v as u32)), "attempts; 0 = for ever"),
    key("fastleader.minNotificationInterval", Property, "200", Ensemble(Number(1, I32, |d, v| d.config.quorum.min_notification_interval_ms = v as u32)), "ms; first election pause"),
    key("fastleader.maxNotificationInterval", Property, "60000", Ensemble(Number(1, I32, |d, v| d.config.quorum.max_notification_interval_ms = v as u32)), "ms; longest election pause"),
    key("leader.maxTimeToWaitForEpoch", Property, "-1", Ensemble(Number(I32_MIN, I32, |d, v| d.config.quorum.max_time_to_wait_for_epoch_ms = (v >= 0).then_some(v as u32))), "ms a leader waits for its epoch before a voter that looks for a leader again makes it give up; -1 = off"),
    key("leader.maxConcurrentSnapSyncs", Property, "10", Ensemble(Number(1, I32, |d, v| d.config.quorum.max_concurrent_snap_syncs = v as u32)), "snapshots sent to learners at once; observers beyond it are turned away"),
    key("leader.maxConcurrentDiffSyncs", Property, "100", Ensemble(Number(1, I32, |d, v| d.config.quorum.max_concurrent_diff_syncs = v as u32)), "differences sent to learners at once; observers beyond it are turned away"),
    key("leader.ackLoggingFrequency", Property, "1000", Pointless(UNREAD, "it samples a metric of Apache's leader"), "metric sampling"),
    key("leaderConnectDelayDuringRetryMs", Property, "100", Ensemble(Number(0, I32, |d, v| d.config.quorum.leader_connect_delay_during_retry_ms = v as u32)), "ms between attempts to connect to a leader, of which there are five"),
    key("tcpKeepAlive", Property, "false", Ensemble(Flag(|d, v| d.config.quorum.tcp_keep_alive = v)), "keepalive on election sockets"),
    key("observerMasterPort", Native, "0", Ensemble(Reading::Native(I32_MIN, 65_535, |d, v| d.config.quorum.observer_master_port = (v > 0).then_some(v as u16))), "voters that follow serve observers here, and observers learn from them there; 0 = off"),
    key("observerMaster.sizeLimit", Property, "33554432", Ensemble(Number(1, I32, |d, v| d.config.quorum.observer_master_size_limit_bytes = v as u32)), "bytes of transactions that may wait behind an observer's synchronization"),
    key("syncEnabled", Native, "true", Ensemble(NativeBool(|d, v| d.config.quorum.sync_enabled = v)), "false = observers write down only what they are sent as a whole"),
    key("observer.syncEnabled", Property, "", Ensemble(Flag(|d, v| d.sync_enabled_property = Some(v))), "as syncEnabled, and wins over it"),
    key("observer.reconnectDelayMs", Property, "0", Ensemble(Number(0, I64, |d, v| d.config.quorum.observer_reconnect_delay_ms = v as u64)), "ms an observer waits at most before it dials its leader"),
    key("observer.election.DelayMs", Property, "200", Ensemble(Number(0, I64, |d, v| d.config.quorum.observer_election_delay_ms = v as u64)), "ms an observer waits at most before it looks for a leader again"),
    key("learner.asyncSending", PropertyOrBare, "false", Pointless(UNREAD, "learners never block on sending here"), "Apache's sender thread"),
    key("learner.closeSocketAsync", PropertyOrBare, "false", Pointless(UNREAD, "closing never blocks here"), "Apache's close thread"),
    key("leader.closeSocketAsync", PropertyOrBare, "false", Pointless(UNREAD, "closing never blocks here"), "Apache's close thread"),
    key("forward_learner_requests_to_commit_processor_disabled", Property, "false", Pointless(UNREAD, "there is no such processor here"), "Apache's pipeline"),
    key("follower.skipLearnerRequestToNextProcessor", Property, "false", Pointless(UNREAD, "there is no such processor here"), "Apache's pipeline"),
    key("multiAddress.enabled", NativeOrProperty, "false", Ensemble(NativeBool(|d, v| d.config.quorum.multi_address_enabled = v)), "several addresses per member"),
    key("multiAddress.reachabilityCheckEnabled", NativeOrProperty, "true", Ensemble(NativeBool(|d, v| d.config.quorum.multi_address_reachability_check_enabled = v)), "probe them"),
    key("multiAddress.reachabilityCheckTimeoutMs", NativeOrProperty, "1000", Ensemble(Reading::Native(0, I32, |d, v| d.config.quorum.multi_address_reachability_check_timeout_ms = v as u32)), "ms"),
    key("oraclePath", Native, "", Ensemble(Text(|d, v| d.config.quorum.oracle_path = (!v.is_empty()).then(|| v.into()))), "file whose first character 1 lets this one of two voters go on without the other"),
    key("commitLogCount", Property, "500", Ensemble(Number(I32_MIN, I32, |d, v| d.config.quorum.commit_log_count = v.max(500) as u32)), "proposals kept for DIFF, at least 500"),
    key("snapshotSizeFactor", Property, "0.33", Ensemble(Real(f64::MIN, 1.0, |d, v| d.config.quorum.snapshot_size_factor = (v >= 0.0).then_some(v))), "learners get what they lack from the journal while that is below this share of a snapshot; 0 = always, negative = never"),
    key("forceSnapshotSync", Property, "false", Ensemble(Flag(|d, v| d.config.quorum.force_snapshot_sync = v)), "always SNAP"),
    key("localSessionsEnabled", Native, "false", Ensemble(NativeBool(|d, v| d.config.quorum.local_sessions_enabled = v)), "sessions known to one server only"),
    key("localSessionsUpgradingEnabled", Native, "false", Ensemble(NativeBool(|d, v| d.config.quorum.local_sessions_upgrading_enabled = v)), "local sessions become global for ephemerals"),
    key("leader.nodelay", Bare, "true", Ensemble(Flag(|d, v| d.config.quorum.leader_nodelay = v)), "TCP_NODELAY of the leader"),
    key("follower.nodelay", Bare, "true", Ensemble(Flag(|d, v| d.config.quorum.follower_nodelay = v)), "TCP_NODELAY of learners"),
    key("standaloneEnabled", Native, "true", Ensemble(NativeBool(|d, v| d.config.quorum.standalone_enabled = v)), "one member runs standalone"),
    key("reconfigEnabled", Native, "false", Ensemble(NativeBool(|d, v| d.config.quorum.reconfig_enabled = v)), "membership may change at run time"),

    // TLS and authentication between servers: CF-110 to CF-121.
    key("ssl.*", Property, "", NotYet(UNREAD, NO_TLS), "TLS of clients, servers and admin"),
    key("sslQuorum", Native, "false", Refused(off, "it promises TLS between servers, and TLS is not supported yet", "set sslQuorum=false"), "TLS between servers"),
    key("portUnification", Native, "false", Refused(off, "it promises TLS between servers, and TLS is not supported yet", "set portUnification=false"), "TLS and plain on one quorum port"),
    key("sslQuorumReloadCertFiles", Native, "false", NotYet(UNREAD_BOOL, NO_TLS), "reload quorum certificates"),
    key("client.portUnification", Property, "false", Refused(off, "it promises TLS to clients, and TLS is not supported yet", "set client.portUnification=false"), "TLS and plain on the client port"),
    key("client.certReload", Property, "false", NotYet(UNREAD, NO_TLS), "reload client-side certificates"),
    key("quorum.auth.enableSasl", Native, "false", Refused(off, "it promises authentication between servers, and SASL is not supported", "set quorum.auth.enableSasl=false"), "SASL between servers"),
    key("quorum.auth.serverRequireSasl", Native, "false", Refused(off, "it promises authentication between servers, and SASL is not supported", "set quorum.auth.serverRequireSasl=false"), "refuse learners without SASL"),
    key("quorum.auth.learnerRequireSasl", Native, "false", Refused(off, "it promises authentication between servers, and SASL is not supported", "set quorum.auth.learnerRequireSasl=false"), "refuse leaders without SASL"),
    key("quorum.auth.learner.saslLoginContext", Native, "QuorumLearner", Pointless(UNREAD, NO_SASL), "JAAS section"),
    key("quorum.auth.server.saslLoginContext", Native, "QuorumServer", Pointless(UNREAD, NO_SASL), "JAAS section"),
    key("quorum.auth.kerberos.servicePrincipal", Native, "zkquorum/localhost", Pointless(UNREAD, NO_SASL), "Kerberos principal"),
    key("quorum.cnxn.threads.size", Native, "20", Pointless(UNREAD_INT, THREADS), "threads"),
    key("fips-mode", Property, "true", Pointless(UNREAD, "it chooses between TLS verifiers and SASL mechanisms, and there are none"), "FIPS"),

    // Authentication and authorisation: CF-130 to CF-153.
    key("authProvider.*", Property, "", Honoured(Judged(judged::auth_provider)), "further authentication schemes"),
    key("DigestAuthenticationProvider.enabled", Property, "true", Honoured(Flag(|d, v| d.config.auth.digest_enabled = v)), "the digest scheme"),
    key("DigestAuthenticationProvider.superDigest", Property, "", Honoured(Text(|d, v| d.config.auth.super_digest = (!v.is_empty()).then(|| v.to_owned()))), "super:<base64> of the superuser"),
    key("DigestAuthenticationProvider.digestAlg", Property, "SHA1", Honoured(Judged(judged::digest_alg)), "hash of the digest scheme"),
    key("X509AuthenticationProvider.superUser", Property, "", Pointless(UNREAD, "certificates are not read, so nobody can be this user"), "superuser by certificate"),
    key("IPAuthenticationProvider.usexforwardedfor", Property, "false", NotYet(UNREAD, NO_ADMIN), "admin server trusts X-Forwarded-For"),
    key("SASLAuthenticationProvider.superPassword", Property, "", Pointless(UNREAD, NO_SASL), "password of the SASL superuser"),
    key("superUser*", Property, "", Pointless(UNREAD, NO_SASL), "superuser by SASL id"),
    key("letAnySaslUserDoX", Property, "", Pointless(UNREAD, NO_SASL), "ACL id that matches every SASL user"),
    key("allowSaslFailedClients", Property, "false", Pointless(UNREAD, NO_SASL), "keep clients that fail SASL"),
    key("sessionRequireClientSASLAuth", Property, "false", Refused(off, "it promises that clients without SASL are turned away, and SASL is not supported", "remove it, or enforce digest with enforce.auth.enabled=true and enforce.auth.schemes=digest"), "SASL or nothing"),
    key("enforce.auth.enabled", Property, "false", Honoured(Judged(judged::enforce_auth_enabled)), "every client must authenticate"),
    key("enforce.auth.schemes", Property, "", Honoured(Judged(judged::enforce_auth_schemes)), "by one of these schemes"),
    key("skipACL", Property, "no", Honoured(Exactly("yes", judged::skip_acl)), "every ACL check passes"),
    key("enableEagerACLCheck", Property, "false", Ensemble(Flag(|d, v| d.config.auth.enable_eager_acl_check = v)), "check ACLs before queueing"),
    key("ensembleAuthName", Property, "", Refused(str::is_empty, "it promises that clients of another ensemble are turned away, and the scheme ensemble is not supported", "remove it"), "names of this ensemble"),
    key("sasl.*", Property, "", Pointless(UNREAD, NO_SASL), "SASL details"),
    key("security.auth_to_local", Property, "DEFAULT", Pointless(UNREAD, NO_SASL), "Kerberos name rules"),
    key("requireKerberosConfig", Property, "false", Pointless(UNREAD, NO_SASL), "fail without a realm"),
    key("kerberos.*", Property, "", Pointless(UNREAD, NO_SASL), "Kerberos details"),
    key("kinit", Property, "/usr/bin/kinit", Pointless(UNREAD, NO_SASL), "ticket refresh command"),
    key("server.realm", Property, "", Pointless(UNREAD, NO_SASL), "Kerberos realm"),
    key("server.principal", Property, "", Pointless(UNREAD, CLIENT), "Kerberos principal"),
    key("java.security.auth.login.config", Bare, "", NotYet(UNREAD, NO_SASL), "JAAS file"),
    key("sun.security.jgss.native", Bare, "", Pointless(UNREAD, NO_SASL), "native Kerberos"),

    // Limits and throttling: CF-160 to CF-183.
    key("jute.maxbuffer", Bare, "1048575", Honoured(Number(1, I32, |d, v| d.config.client.jute_max_buffer_bytes = v as u32)), "bytes; largest frame"),
    key("jute.maxbuffer.extrasize", Property, "", Honoured(Number(0, I32, |d, v| d.extra_size_bytes = Some(v))), "bytes a field may exceed it by; jute.maxbuffer when unset"),
    key("globalOutstandingLimit", Property, "1000", Honoured(Number(1, I32, |d, v| d.config.client.global_outstanding_limit = v as u32)), "requests in flight before reading pauses"),
    key("request_throttle_max_requests", Property, "0", Honoured(Number(I32_MIN, I32, |d, v| d.config.client.request_throttle.max_requests = v.max(0) as u32)), "requests in the pipeline; 0 = off"),
    key("request_throttle_stall_time", Property, "100", Pointless(UNREAD, "a request that leaves lets the next one in, nobody looks at intervals"), "ms"),
    key("request_throttle_drop_stale", Property, "true", Pointless(UNREAD, STALE), "drop stale requests"),
    key("request_stale_connection_check", Property, "true", Pointless(UNREAD, STALE), "closed connection = stale"),
    key("request_stale_latency_check", Property, "false", NotYet(UNREAD, "requests are not dropped for their age; throttled_op_wait_time answers old ones with an error"), "older than the session timeout = stale"),
    key("request_throttler.shutdownTimeout", Property, "10000", Pointless(UNREAD, "the orderly stop answers what was taken in, for 10 s at most"), "ms"),
    key("throttled_op_wait_time", Property, "0", Honoured(Number(I32_MIN, I32, |d, v| d.config.client.request_throttle.throttled_op_wait_time_ms = v.max(0) as u32)), "ms; 0 = off"),
    key("largeRequestThreshold", Property, "-1", Honoured(Number(I32_MIN, I32, |d, v| d.config.client.large_request_threshold_bytes = (v > 0).then_some(v as u32))), "bytes; -1 = off"),
    key("largeRequestMaxBytes", Property, "104857600", Honoured(Number(1, I32, |d, v| d.config.client.large_request_max_bytes = v as u32)), "bytes of large requests in flight"),
    key("connection_throttle_tokens", Property, "0", Honoured(Number(0, I32, |d, v| d.config.client.connection_throttle.tokens = v as u32)), "bucket size; 0 = off"),
    key("connection_throttle_fill_time", Property, "1", Honoured(Number(1, I32, |d, v| d.config.client.connection_throttle.fill_time_ms = v as u32)), "ms"),
    key("connection_throttle_fill_count", Property, "1", Honoured(Number(0, I32, |d, v| d.config.client.connection_throttle.fill_count = v as u32)), "tokens per fill time"),
    key("connection_throttle_freeze_time", Property, "-1", Honoured(Number(I32_MIN, I32, |d, v| d.config.client.connection_throttle.freeze_time_ms = (v >= 0).then_some(v as u32))), "ms; -1 = no random drop"),
    key("connection_throttle_drop_increase", Property, "0.02", Honoured(Real(0.0, 1.0, |d, v| d.config.client.connection_throttle.drop_increase = v)), "probability"),
    key("connection_throttle_drop_decrease", Property, "0.002", Honoured(Real(0.0, 1.0, |d, v| d.config.client.connection_throttle.drop_decrease = v)), "probability"),
    key("connection_throttle_decrease_ratio", Property, "0", Honoured(Real(0.0, 1.0, |d, v| d.config.client.connection_throttle.decrease_ratio = v)), "share of the bucket"),
    key("connection_throttle_weight_enabled", Property, "false", Honoured(Flag(|d, v| d.config.client.connection_throttle.weight_enabled = v)), "charge by session kind"),
    key("connection_throttle_global_session_weight", Property, "3", Honoured(Number(1, I32, |d, v| d.config.client.connection_throttle.global_session_weight = v as u32)), "tokens of a new session"),
    key("connection_throttle_local_session_weight", Property, "1", Honoured(Number(1, I32, |d, v| d.config.client.connection_throttle.local_session_weight = v as u32)), "tokens of a local session"),
    key("connection_throttle_renew_session_weight", Property, "2", Honoured(Number(1, I32, |d, v| d.config.client.connection_throttle.renew_session_weight = v as u32)), "tokens of a reconnect"),
    key("enforceQuota", Property, "false", Honoured(Flag(|d, v| d.config.auth.enforce_quota = v)), "hard quotas refuse writes"),
    key("netty.*", Property, "", Pointless(UNREAD, NETTY), "Netty details"),
    key("4lw.commands.whitelist", Property, "srvr", Honoured(Text(|d, v| d.four_letter_words = v.to_owned())), "four-letter words that are answered"),
    key("clientTcpKeepAlive", Property, "false", Honoured(Flag(|d, v| d.config.client.tcp_keep_alive = v)), "keepalive on client sockets"),

    // Snapshots, log, purge: CF-190 to CF-205.
    key("snapCount", Property, "100000", Honoured(Number(I32_MIN, I32, |d, v| d.config.journal.snap_count = v.max(2) as u32)), "records between snapshots, at least 2"),
    key("snapSizeLimitInKb", Property, "4194304", Honoured(Number(i64::MIN, KIB, |d, v| d.config.journal.snap_size_limit_bytes = (v > 0).then(|| v as u64 * 1024))), "KiB of log between snapshots; 0 or less = off"),
    key("txnLogSizeLimitInKb", Property, "-1", Honoured(Number(i64::MIN, KIB, |d, v| d.config.journal.txn_log_size_limit_bytes = (v > 0).then(|| v as u64 * 1024))), "KiB; a journal segment is no larger, but at least 8192; -1 = preAllocSize alone decides"),
    key("preAllocSize", Property, "65536", Honoured(Number(0, KIB, |d, v| d.config.journal.prealloc_bytes = v as u64 * 1024)), "KiB of a journal segment, at least 8192"),
    key("autopurge.snapRetainCount", Native, "3", Honoured(Judged(judged::snap_retain_count)), "snapshots kept, at least 3"),
    key("autopurge.purgeInterval", Native, "0", Honoured(Judged(judged::purge_interval)), "hours, or with a suffix ms, s, m, h, d; 0 = off"),
    key("snapshot.compression.method", Property, "", Pointless(UNREAD, "snapshots have a format of their own; import reads Apache's in every compression, export writes plain ones"), "gz, snappy or nothing"),
    key("snapshot.trust.empty", Property, "false", Pointless(UNREAD, "a journal that begins with the first transaction is the whole state, with or without a snapshot; one that begins later is refused without its snapshot"), "allow a log without a snapshot"),
    key("serializeLastProcessedZxid.enabled", Property, "true", Pointless(UNREAD, "export always writes it, and every ZooKeeper reads past it"), "zxid trailer in exported snapshots"),
    key("digest.enabled", Property, "true", Honoured(Flag(|d, v| d.config.journal.digest_enabled = v)), "keep the tree digest"),
    key("closeSessionTxn.enabled", Property, "true", Honoured(Flag(|d, v| d.config.journal.close_session_txn_enabled = v)), "closeSession records list their paths"),
    key("forceSync", Property, "yes", Honoured(Unless("no", judged::force_sync)), "no = acknowledge before the disk has it"),
    key("fsync.warningthresholdms", PropertyOrBare, "1000", Honoured(Number(0, I64, |d, v| d.config.journal.fsync_warning_threshold_ms = v as u64)), "ms; slower syncs are logged"),
    key("flushDelay", Property, "0", Pointless(UNREAD, GROUP_COMMIT), "ms a group of writes is held back"),
    key("maxWriteQueuePollTime", Property, "", Pointless(UNREAD, GROUP_COMMIT), "ms; flushDelay / 3 when unset"),
    key("maxBatchSize", Property, "1000", Pointless(UNREAD, GROUP_COMMIT), "requests per flush; 0 = unlimited"),

    // Admin, metrics, audit: CF-210 to CF-217.
    key("admin.enableServer", Property, "false", NotYet(Flag(|_, _| {}), NO_ADMIN), "admin HTTP server"),
    key("admin.httpVersion", Property, "11", Pointless(UNREAD, JETTY), "HTTP version"),
    key("admin.*", Property, "", NotYet(UNREAD, NO_ADMIN), "admin HTTP server details"),
    key("metricsProvider.className", Native, "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider", Honoured(Judged(judged::metrics_provider)), "where metrics go"),
    key("metricsProvider.*", Native, "", NotYet(UNREAD, "metrics are answered by the word mntr only"), "metrics provider details"),
    key("audit.enable", Property, "false", Refused(off, "it promises an audit trail, and there is none yet", "set audit.enable=false"), "audit log"),
    key("audit.impl.class", Property, "", Pointless(UNREAD, "it names a Java class"), "audit log class"),
    key("pathStats.*", Property, "", NotYet(UNREAD, "request paths are not sampled"), "request path sampling"),
    key("messageTracker.*", Property, "", NotYet(UNREAD, "quorum packets are not kept"), "last quorum packets"),
    key("jvm.pause.monitor", Native, "false", Pointless(UNREAD_BOOL, JVM), "pause monitor"),
    key("jvm.pause.warn-threshold.ms", Native, "10000", Pointless(Reading::Native(i64::MIN, I64, |_, _| {}), JVM), "ms"),
    key("jvm.pause.info-threshold.ms", Native, "1000", Pointless(Reading::Native(i64::MIN, I64, |_, _| {}), JVM), "ms"),
    key("jvm.pause.sleep.time.ms", Native, "500", Pointless(Reading::Native(i64::MIN, I64, |_, _| {}), JVM), "ms"),

    // Performance: CF-220 to CF-231.
    key("nio.sessionlessCnxnTimeout", Property, "10000", Honoured(Number(1, I32, |d, v| d.config.client.sessionless_cnxn_timeout_ms = v as u32)), "ms; close connections that never open a session"),
    key("nio.*", Property, "", Pointless(UNREAD, THREADS), "Java NIO details"),
    key("commitProcessor.*", Property, "", Pointless(UNREAD, THREADS), "Apache's pipeline"),
    key("maxResponseCacheSize", Property, "400", Pointless(UNREAD, "replies are encoded straight from the tree, nothing is cached"), "cached getData replies"),
    key("maxGetChildrenResponseCacheSize", Property, "400", Pointless(UNREAD, "replies are encoded straight from the tree, nothing is cached"), "cached getChildren replies"),
    key("intBufferStartingSizeBytes", Property, "1024", Pointless(UNREAD, "buffers size themselves"), "starting buffer"),
    key("watchManagerName", Property, "WatchManager", Pointless(UNREAD, "there is one watch table"), "watch table class"),
    key("watcherClean*", Property, "", Pointless(UNREAD, "dead watchers go at once"), "watch cleaner"),
    key("maxInProcessingDeadWatchers", Property, "-1", Pointless(UNREAD, "dead watchers go at once"), "watch cleaner"),
    key("bitHashCacheSize", Property, "10", Pointless(UNREAD, "there is one watch table"), "watch table cache"),

    // Extended types, unsafe, testing: CF-240 to CF-244.
    key("extendedTypesEnabled", Property, "true", Honoured(Flag(|d, v| d.config.znode.extended_types_enabled = v)), "TTL nodes; on unless switched off (Apache: off)"),
    key("emulate353TTLNodes", Property, "false", NotYet(UNREAD, "TTL nodes are stored and read as 3.5.4 and later do"), "TTL nodes as 3.5.3 stored them"),
    key("znode.container.checkIntervalMs", Bare, "60000", Honoured(Number(1, I32, |d, v| d.config.znode.container_check_interval_ms = v as u32)), "ms between looks for empty containers"),
    key("znode.container.maxPerMinute", Bare, "10000", Honoured(Number(1, I32, |d, v| d.config.znode.container_max_per_minute = v as u32)), "deletions per minute"),
    key("znode.container.maxNeverUsedIntervalMs", Bare, "0", Honoured(Number(0, I64, |d, v| d.config.znode.container_max_never_used_interval_ms = v as u64)), "ms an unused container may live; 0 = for ever"),
    key("readonlymode.enabled", Bare, "false", Honoured(Exactly("true", |d, v| d.config.quorum.read_only_mode = v)), "serve reads without a leader (needs localSessionsEnabled); answer the word isro"),
    key("test.*", Property, "", Pointless(UNREAD, TESTING), "tests"),
    key("testingonly.*", Property, "", Pointless(UNREAD, TESTING), "tests"),
    key("controllerPort", Property, "", Pointless(UNREAD, TESTING), "tests"),
    key("jmx.*", Property, "", Pointless(UNREAD, JMX), "JMX"),

    // What Apache's scripts and clients define: CF-250 to CF-256, logging.
    key("client.secure", Property, "", Pointless(UNREAD, CLIENT), "client TLS"),
    key("clientCnxnSocket", Property, "", Pointless(UNREAD, CLIENT), "client socket class"),
    key("request.timeout", Property, "", Pointless(UNREAD, CLIENT), "client request timeout"),
    key("disableAutoWatchReset", Property, "", Pointless(UNREAD, CLIENT), "client watches"),
    key("shuffleDnsResponse", Property, "", Pointless(UNREAD, CLIENT), "client DNS"),
    key("hostProvider.*", Property, "", Pointless(UNREAD, CLIENT), "client DNS"),
    key("log.*", Property, "", Pointless(UNREAD, LOGGING), "logging"),
    key("root.logger", Property, "", Pointless(UNREAD, LOGGING), "logging"),
    key("console.threshold", Property, "", Pointless(UNREAD, LOGGING), "logging"),
    key("tracelog.*", Property, "", Pointless(UNREAD, LOGGING), "logging"),
    key("auditlog.*", Property, "", Pointless(UNREAD, LOGGING), "logging"),

    // Ours.
    key("ringkeeper.shards", Ours, "", Honoured(Judged(judged::shards)), "number of shards; one per CPU left over by replication when unset"),
    key("ringkeeper.shardCpus", Ours, "", Honoured(Judged(judged::shard_cpus)), "CPUs of the shards, for example 1-7"),
    key("ringkeeper.replicationCpu", Ours, "", Honoured(Judged(judged::replication_cpu)), "CPU of the replication core"),
    key("ringkeeper.pin", Ours, "true", Honoured(NativeBool(|d, v| d.config.cores.pin = v)), "false = leave CPUs to the kernel"),
    key("ringkeeper.spinBeforeParkUs", Ours, "0", Honoured(Reading::Native(0, 1_000_000, |d, v| d.config.cores.spin_before_park_us = v as u32)), "us an idle executor looks for work before it sleeps"),
];
