//! The configuration as an operator meets it: zoo.cfg texts in, settings or explanations out. No file is touched except
//! the profiles of `tuning/` and `deploy/`, which must load without a warning.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ringkeeper::admin::Word;
use ringkeeper::config::keys::{Class, KEYS, Origin};
use ringkeeper::config::{
    Config, ConfigError, ConfigErrorKind, NoticeLevel, Outside, Place, Request, Role, Setting, assemble, placement,
};

/// A machine made of maps.
#[derive(Default)]
struct World {
    files: BTreeMap<PathBuf, Vec<u8>>,
    variables: BTreeMap<String, String>,
}

impl Outside for World {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn resolve(&self, host: &str) -> Option<IpAddr> {
        if host == "localhost" { Some([127, 0, 0, 1].into()) } else { host.parse().ok() }
    }
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }
}

impl World {
    fn with(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.into(), text.into());
        self
    }
    fn variable_is(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
    fn load(&self) -> Result<Config, ConfigError> {
        assemble(&Request::file("/c/zoo.cfg"), self)
    }
}

const BASE: &str = "dataDir=/d\nclientPort=2181\n";

/// The base, then `text` from line 3 on.
fn load(text: &str) -> Result<Config, ConfigError> {
    World::default().with("/c/zoo.cfg", &format!("{BASE}{text}")).load()
}

fn good(text: &str) -> Config {
    load(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> String {
    load(text).map(|_| panic!("{text}: accepted")).unwrap_err().to_string()
}

fn warnings(config: &Config) -> Vec<String> {
    let loud = config.warnings.iter().filter(|notice| notice.level == NoticeLevel::Warning);
    loud.map(|notice| notice.to_string()).collect()
}

use ringkeeper::tree::auth::DigestAlg;

#[test]
fn a_minimal_file_gives_the_defaults() {
    let config = good("");
    assert_eq!(config.client.client_addr.unwrap().to_string(), "0.0.0.0:2181");
    assert!(config.client.client_addr_is_any);
    assert_eq!(
        (config.client.tick_time_ms, config.client.min_session_timeout_ms, config.client.max_session_timeout_ms),
        (3000, 6000, 60_000)
    );
    assert_eq!(config.journal.data_log_dir, Path::new("/d"));
    assert!(config.znode.extended_types_enabled);
    assert_eq!(config.warnings, vec![]);
    assert_eq!(config.config_text, BASE);
    assert_eq!(config.startable(), Ok(()));
}

#[test]
fn without_a_file_the_server_is_local() {
    let config = Config::default_for_dev();
    assert_eq!(config.client.client_addr.unwrap().to_string(), "127.0.0.1:2181");
    assert_eq!(config.journal.data_dir, Path::new("./ringkeeper-data"));
    assert_eq!(config.warnings, vec![]);
}

/// Writing every default down must change nothing: so the table tells the truth about `Default`.
#[test]
fn the_defaults_of_the_table_are_the_defaults_of_the_structs() {
    let mut text = String::new();
    for key in KEYS.iter().filter(|key| !key.default.is_empty() && !key.name.ends_with('*')) {
        text.push_str(&format!("{}={}\n", key.name, key.default));
    }
    let (written, silent) = (good(&text), good(""));
    assert_eq!(warnings(&written), Vec::<String>::new());
    assert_eq!(written.refusals, vec![]);
    assert_eq!(
        (written.client, written.auth, written.znode, written.journal, written.cores, written.quorum),
        (silent.client, silent.auth, silent.znode, silent.journal, silent.cores, silent.quorum)
    );
}

/// Every row of the table, set to something, does what its class promises.
#[test]
fn every_key_does_what_its_class_says() {
    let mut seen = [0; 5];
    for key in KEYS.iter().filter(|key| !matches!(key.name, "dataDir" | "clientPort")) {
        let name = key.name.replace('*', "x");
        let line = |value: &str| format!("{name}={value}\n");
        match &key.class {
            Class::Refused(..) => {
                let config = good(&line("true"));
                assert_eq!(config.refusals.len(), 1, "{name}");
                let refusal = config.startable().unwrap_err();
                assert_eq!((refusal.kind, refusal.exit_code()), (ConfigErrorKind::Unsupported, 2));
                assert!(refusal.to_string().starts_with(&format!("/c/zoo.cfg:3: {name}=")), "{refusal}");
                seen[0] += 1;
            }
            Class::NotYet(..) => {
                let config = good(&line("true"));
                assert!(
                    warnings(&config).iter().any(|text| text.contains(&format!("{name} has no effect yet"))),
                    "{name}"
                );
                seen[1] += 1;
            }
            Class::Pointless(..) => {
                // Some are read strictly, as booleans or numbers.
                let config = if name.starts_with("server.") {
                    // In zoo.cfg this would be a member line.
                    let world = World::default()
                        .with("/c/zoo.cfg", BASE)
                        .variable_is("JVMFLAGS", &format!("-Dzookeeper.{name}=7"));
                    world.load().unwrap()
                } else {
                    load(&line("7")).or_else(|_| load(&line("true"))).unwrap()
                };
                assert_eq!(warnings(&config), Vec::<String>::new(), "{name}");
                let notice = config.warnings.first().unwrap_or_else(|| panic!("{name} is not mentioned"));
                assert!(notice.text.starts_with(&format!("{name} is accepted and has no effect: ")), "{notice}");
                seen[2] += 1;
            }
            Class::Honoured(_) => {
                let unknown = load(&line("?"))
                    .map(|config| warnings(&config).join("\n"))
                    .unwrap_or_else(|error| error.to_string());
                assert!(!unknown.contains("not a known key"), "{unknown}");
                seen[3] += 1;
            }
            Class::Ensemble(_) => seen[4] += 1,
        }
        if matches!(key.origin, Origin::Property | Origin::PropertyOrBare) && matches!(key.class, Class::Refused(..)) {
            let world =
                World::default().with("/c/zoo.cfg", BASE).variable_is("JVMFLAGS", &format!("-Dzookeeper.{name}=true"));
            assert_eq!(world.load().unwrap().refusals.len(), 1, "-Dzookeeper.{name}");
        }
    }
    assert!(seen.iter().all(|count| *count > 5), "{seen:?}");
}

#[test]
fn unknown_keys_are_warnings_with_file_and_line() {
    for (text, expected) in [
        ("tickTimes=2000", "/c/zoo.cfg:3: tickTimes is not a known key and has no effect; did you mean tickTime?"),
        (
            "nonsense.entirely=1",
            "/c/zoo.cfg:3: nonsense.entirely is not a known key and has no effect; check its spelling or remove it",
        ),
        (
            "zookeeper.maxCnxns=7",
            "/c/zoo.cfg:3: zookeeper.maxCnxns has no effect with this prefix; in this file write maxCnxns",
        ),
        ("\nmaxCnxns=1\nmaxCnxns=2", "/c/zoo.cfg:5: maxCnxns is set again; line 4 has no effect"),
    ] {
        assert_eq!(warnings(&good(text)), vec![expected.to_owned()]);
    }
    assert_eq!(good("maxCnxns=1\nmaxCnxns=2").client.max_cnxns, 2);
}

#[test]
fn fatal_problems_say_where_and_what_would_be_right() {
    for (text, expected) in [
        (
            "tickTime=abc",
            "/c/zoo.cfg:3: tickTime=abc is not a whole number; write decimal digits, for example tickTime=3000",
        ),
        ("tickTime=0", "/c/zoo.cfg:3: tickTime=0 is out of range; write a number from 1 to 2147483647"),
        ("tickTime=0x7d0", "is not a whole number"),
        ("clientPort=70000", "/c/zoo.cfg:3: clientPort: \"70000\" is not a port; write a number from 0 to 65535"),
        ("clientPortAddress=no.such.host", "clientPortAddress=no.such.host cannot be resolved"),
        (
            "minSessionTimeout=9000\nmaxSessionTimeout=8000",
            "minSessionTimeout (9000 ms) is larger than maxSessionTimeout (8000 ms)",
        ),
        ("minSessionTimeout=70000", "is larger than maxSessionTimeout (60000 ms)"),
        ("electionAlg=2", "electionAlg=2 is not an election algorithm; write electionAlg=3"),
        ("peerType=boss", "peerType=boss is not a role; write participant or observer"),
        ("localSessionsEnabled=yes", "localSessionsEnabled=yes is not a truth value; write true or false"),
        ("metricsProvider.className=com.example.X", "is not a known metrics provider"),
        ("autopurge.purgeInterval=often", "is not an interval"),
        ("DigestAuthenticationProvider.digestAlg=MD4", "is not a supported hash; write one of SHA-1"),
        ("enforce.auth.enabled=true", "enforces no scheme; name some"),
        (
            "enforce.auth.enabled=true\nenforce.auth.schemes=magic",
            "/c/zoo.cfg:4: enforce.auth.schemes=magic names the unknown scheme \"magic\"",
        ),
        ("enforce.auth.enabled=on", "is not a truth value"),
        ("standaloneEnabled=false", "no participant is listed"),
        ("dataDir=", "dataDir= names no directory"),
        ("snapCount=\\u12", "/c/zoo.cfg:3: \\u12 is not a unicode escape"),
        ("ringkeeper.shards=0", "ringkeeper.shards=0 is not a number of shards; write a number from 1 to 256"),
        ("ringkeeper.shardCpus=3-1", "is not a list of CPUs: the range 3-1 runs backwards"),
        ("ringkeeper.replicationCpu=x", "is not a CPU number"),
        ("ringkeeper.pin=maybe", "is not a truth value"),
    ] {
        let found = error(text);
        assert!(found.contains(expected), "{text}\n  found    {found}\n  expected {expected}");
        assert!(found.starts_with("/c/zoo.cfg"), "{found}");
    }
    let bare = |text: &str| World::default().with("/c/zoo.cfg", text).load().unwrap_err().to_string();
    assert_eq!(bare("clientPort=1"), "/c/zoo.cfg: dataDir is not set; add dataDir=/var/lib/ringkeeper");
    assert!(
        bare("dataDir=/d\nclientPortAddress=127.0.0.1")
            .contains("/c/zoo.cfg:2: clientPortAddress=127.0.0.1 is set but clientPort is not")
    );
    let absent = World::default().load().unwrap_err();
    assert_eq!((absent.kind, absent.exit_code()), (ConfigErrorKind::Unreadable, 2));
}

#[test]
fn native_booleans_are_strict_and_property_booleans_lenient() {
    assert!(good("reconfigEnabled=TRUE").quorum.reconfig_enabled);
    assert!(error("reconfigEnabled=1").contains("not a truth value"));
    assert!(good("enforceQuota=TrUe").auth.enforce_quota);
    let odd = good("digest.enabled=yes");
    assert!(!odd.journal.digest_enabled);
    assert_eq!(
        warnings(&odd),
        vec!["/c/zoo.cfg:3: digest.enabled=yes is read as false, as ZooKeeper does; write true or false"]
    );
    // Texts that must match exactly.
    assert!(good("skipACL=YES").auth.skip_acl.eq(&false));
    let open = good("skipACL=yes\nforceSync=no");
    assert!(open.auth.skip_acl && !open.journal.force_sync);
    assert!(warnings(&open)[0].starts_with("/c/zoo.cfg:3: skipACL=yes: every client"));
    assert!(warnings(&open)[1].starts_with("/c/zoo.cfg:4: forceSync=no: acknowledged writes can be lost"));
    assert!(good("forceSync=No").journal.force_sync && good("leaderServes=NO").quorum.leader_serves);
}

#[test]
fn property_numbers_fall_back_with_a_warning() {
    let config = good(
        "globalOutstandingLimit=many\nsnapCount=0x10\nfsync.warningthresholdms=-4\nconnection_throttle_drop_increase=2.5",
    );
    assert_eq!(config.client.global_outstanding_limit, 1000);
    assert_eq!(config.journal.snap_count, 16);
    assert_eq!(config.journal.fsync_warning_threshold_ms, 1000);
    assert_eq!(config.client.connection_throttle.drop_increase, 0.02);
    let found = warnings(&config);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().any(|text| text == "/c/zoo.cfg:3: globalOutstandingLimit=many is not a whole number from 1 to 2147483647; 1000 is used instead"));
}

#[test]
fn special_values_mean_what_they_mean_in_zookeeper() {
    let config = good(
        "maxClientCnxns=-1\nmaxCnxns=-5\nclientPortListenBacklog=100\nsnapCount=1\nsnapSizeLimitInKb=0\ntxnLogSizeLimitInKb=4\nlargeRequestThreshold=0\nautopurge.snapRetainCount=1\nautopurge.purgeInterval=2\ncommitLogCount=3\nsnapshotSizeFactor=-1",
    );
    assert_eq!(
        (config.client.max_client_cnxns, config.client.max_cnxns, config.client.listen_backlog),
        (0, 0, Some(100))
    );
    assert_eq!(
        (config.journal.snap_count, config.journal.snap_size_limit_bytes, config.journal.txn_log_size_limit_bytes),
        (2, None, Some(4096))
    );
    assert_eq!(config.client.large_request_threshold_bytes, None);
    assert_eq!((config.journal.snap_retain_count, config.journal.purge_interval_ms), (3, 7_200_000));
    assert_eq!(config.journal.segment_bytes(), 4096);
    assert_eq!(good("txnLogSizeLimitInKb=999999").journal.segment_bytes(), 64 << 20, "it is a limit, not a size");
    assert_eq!(good("preAllocSize=16384").journal.segment_bytes(), 16 << 20);
    assert_eq!((config.quorum.commit_log_count, config.quorum.snapshot_size_factor), (500, None));
    assert_eq!(good("autopurge.purgeInterval=90m").journal.purge_interval_ms, 5_400_000);
    assert_eq!(good("DigestAuthenticationProvider.digestAlg=sha3-256").auth.digest_algorithm, DigestAlg::Sha3_256);
    assert!(!good("extendedTypesEnabled=false").znode.extended_types_enabled);
    assert_eq!(good("tickTime=2000").client.max_session_timeout_ms, 40_000);
    assert_eq!(
        good("enforce.auth.enabled=true\nenforce.auth.schemes= ip , digest").auth.enforce_auth_schemes,
        vec!["ip", "digest"]
    );
    assert_eq!(good("clientPortAddress=localhost").client.client_addr.unwrap().to_string(), "127.0.0.1:2181");
    assert_eq!(good("clientPortAddress=::1").client.client_addr.unwrap().to_string(), "[::1]:2181");
}

/// What has no counterpart here is said once, with the reason, and is not listed among what counts.
#[test]
fn keys_without_a_meaning_here_are_not_reported_as_honoured() {
    for (line, reason) in [
        ("flushDelay=20", "group commit has no timer"),
        ("maxWriteQueuePollTime=5", "group commit has no timer"),
        ("maxBatchSize=100", "group commit has no timer"),
        ("snapshot.compression.method=gz", "a format of their own"),
        ("snapshot.trust.empty=true", "with or without a snapshot"),
    ] {
        let config = good(line);
        let key = line.split('=').next().unwrap();
        let text = format!("/c/zoo.cfg:3: {key} is accepted and has no effect: ");
        let notice = config.warnings.iter().map(ToString::to_string).find(|notice| notice.starts_with(&text));
        assert!(notice.as_ref().is_some_and(|notice| notice.contains(reason)), "{line}: {notice:?}");
        assert!(config.effective.iter().all(|setting| setting.key != key), "{key} is listed as if it counted");
    }
    let counts = good("txnLogSizeLimitInKb=16384");
    assert!(counts.effective.iter().any(|setting| setting.key == "txnLogSizeLimitInKb"));
    assert_eq!(counts.warnings, vec![]);
}

#[test]
fn throttle_weights_fall_into_order() {
    let throttle = good("connection_throttle_tokens=100\nconnection_throttle_fill_count=2\nconnection_throttle_weight_enabled=true\nconnection_throttle_local_session_weight=4").client.connection_throttle;
    assert_eq!((throttle.global_session_weight, throttle.renew_session_weight), (4, 4));
    assert_eq!((throttle.tokens, throttle.fill_count), (100, 2), "the bucket counts sessions; a shard weighs them");
}

#[test]
fn four_letter_words_follow_the_whitelist() {
    let words = |text: &str| good(text).client.four_letter_words;
    assert!(words("").allows(Word::Srvr) && !words("").allows(Word::Stat));
    let some = words("4lw.commands.whitelist= stat , ruok,xxxx");
    assert!(some.allows(Word::Stat) && some.allows(Word::Ruok) && some.allows(Word::Srvr) && !some.allows(Word::Dump));
    assert!(words("4lw.commands.whitelist=*").allows(Word::Dump));
    assert!(
        words("readonlymode.enabled=true").allows(Word::Isro) && !words("readonlymode.enabled=TRUE").allows(Word::Isro)
    );
}

#[test]
fn jute_limits_add_up_without_overflow() {
    let sizes = |text: &str| {
        let client = good(text).client;
        (client.jute_max_buffer_bytes, client.jute_max_buffer_extra_bytes)
    };
    assert_eq!(sizes(""), (1_048_575, 1_048_575));
    assert_eq!(sizes("jute.maxbuffer=0x400000"), (4_194_304, 4_194_304));
    assert_eq!(sizes("jute.maxbuffer.extrasize=1"), (1_048_575, 1024));
    assert_eq!(sizes("jute.maxbuffer=2147483647"), (2_147_483_647, 0));
}

#[test]
fn definitions_of_the_scripts_count_in_their_order() {
    let world = || World::default().with("/c/zoo.cfg", BASE);
    let both = world()
        .variable_is("SERVER_JVMFLAGS", "-Dzookeeper.maxCnxns=1")
        .variable_is("JVMFLAGS", "-Dzookeeper.maxCnxns=2 -Xmx1g");
    let config = both.load().unwrap();
    assert_eq!(config.client.max_cnxns, 2);
    assert_eq!(
        config.warnings[0].to_string(),
        "environment variable JVMFLAGS: flags of the Java virtual machine have no effect here (1 found)"
    );
    let file_wins = World::default()
        .with("/c/zoo.cfg", &format!("{BASE}maxCnxns=3"))
        .variable_is("JVMFLAGS", "-Dzookeeper.maxCnxns=2");
    assert_eq!(file_wins.load().unwrap().client.max_cnxns, 3);
    let sourced = world()
        .with("/c/java.env", "# x\nexport JVMFLAGS=\"-Djute.maxbuffer=5000000 $JVMFLAGS\"")
        .variable_is("JVMFLAGS", "-Dfsync.warningthresholdms=7");
    let config = sourced.load().unwrap();
    assert_eq!((config.client.jute_max_buffer_bytes, config.journal.fsync_warning_threshold_ms), (5_000_000, 7));
    for (flag, expected) in [
        ("-Dzookeeper.tickTime=1", "tickTime is read from zoo.cfg only"),
        ("-Dzookeeper.jute.maxbuffer=1", "has no effect with this prefix; write -Djute.maxbuffer"),
        ("-Dzookeeper.nonsense=1", "-Dzookeeper.nonsense is not a known property"),
    ] {
        let found = warnings(&world().variable_is("JVMFLAGS", flag).load().unwrap());
        assert!(found.len() == 1 && found[0].contains(expected), "{flag}: {found:?}");
    }
    let shell = world().with("/c/java.env", "\nJVMFLAGS=$(cat x)").load().unwrap();
    assert!(warnings(&shell)[0].starts_with("/c/java.env:2: this shell is not executed"), "{:?}", shell.warnings);
}

const THREE: &str = "initLimit=10\nsyncLimit=5\nserver.1=a:2888:3888\nserver.2=b:2888:3888:observer;10.0.0.2:2182\nserver.3=c:2888:3888\nserver.4=d:2888:3888\n";

#[test]
fn an_ensemble_is_understood() {
    let world = World::default().with("/c/zoo.cfg", &format!("{BASE}{THREE}")).with("/d/myid", "3\n");
    let config = world.load().unwrap();
    let ensemble = config.ensemble.as_ref().unwrap();
    assert_eq!((ensemble.my_id, ensemble.members.len(), ensemble.members[&2].role), (3, 4, Role::Observer));
    config.startable().unwrap();
}

#[test]
fn read_only_mode_needs_local_sessions_to_let_anybody_in() {
    let with = |more: &str| {
        let world = World::default().with("/c/zoo.cfg", &format!("{BASE}{THREE}{more}"));
        world.with("/d/myid", "1\n").load().unwrap()
    };
    let alone = with("readonlymode.enabled=true\n");
    let sessions = |config: &Config| {
        let quorum = &config.quorum;
        (quorum.read_only_mode, quorum.local_sessions_enabled, quorum.local_sessions_upgrading_enabled)
    };
    assert_eq!(sessions(&alone), (true, false, false));
    assert!(
        warnings(&alone).iter().any(|told| told.contains("add localSessionsEnabled=true")),
        "{:?}",
        warnings(&alone)
    );
    let both = with("readonlymode.enabled=true\nlocalSessionsEnabled=true\nlocalSessionsUpgradingEnabled=true\n");
    assert_eq!(sessions(&both), (true, true, true));
    assert!(!warnings(&both).iter().any(|told| told.contains("ocalSessions")), "{:?}", warnings(&both));
}

#[test]
fn ensembles_need_their_parts() {
    let with = |text: &str, myid: &str| {
        World::default().with("/c/zoo.cfg", &format!("{BASE}{text}")).with("/d/myid", myid).load()
    };
    for (text, myid, expected) in [
        (THREE.replace("initLimit=10\n", ""), "1", "initLimit is not set"),
        (THREE.replace("syncLimit=5\n", ""), "1", "syncLimit is not set"),
        (THREE.to_owned(), "one", "/d/myid:1: \"one\" is not a server id"),
        (THREE.to_owned(), "9", "there is no server.9 line"),
        (THREE.to_owned(), "2", "clients connect to 10.0.0.2:2182"),
        (format!("{THREE}dynamicConfigFile=/c/dyn"), "1", "must not stand beside dynamicConfigFile"),
    ] {
        let found = with(&text, myid).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    }
    assert!(load(THREE).unwrap_err().to_string().contains("myid is missing"));
    let single = good("server.1=a:2888:3888");
    assert!(single.ensemble.is_none() && single.startable().is_ok());
    assert!(warnings(&single)[0].contains("the line is ignored and the server runs standalone"));
}

#[test]
fn dynamic_files_hold_members_only() {
    let world = |dynamic: &str| {
        let text = format!("{BASE}initLimit=10\nsyncLimit=5\ndynamicConfigFile=/c/zoo.cfg.dynamic.1f\n");
        World::default().with("/c/zoo.cfg", &text).with("/c/zoo.cfg.dynamic.1f", dynamic).with("/d/myid", "1")
    };
    let members = "server.1=a:2888:3888;2181\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n";
    let config = world(members).load().unwrap();
    assert_eq!(config.ensemble.as_ref().unwrap().version, 0x1f);
    for (more, expected) in [
        ("version=1f", "/c/zoo.cfg.dynamic.1f:4: version has no place in a dynamic file"),
        ("tickTime=1", "tickTime has no place in a dynamic file"),
        ("group.1=1:2", "server 3 is in no group"),
    ] {
        let found = world(&format!("{members}{more}")).load().unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    }
    let absent = World::default().with("/c/zoo.cfg", &format!("{BASE}dynamicConfigFile=/c/none")).load().unwrap_err();
    assert_eq!((absent.kind, absent.place), (ConfigErrorKind::Unreadable, Some(Place::File("/c/none".into()))));
}

#[test]
fn security_that_is_missing_is_never_silent() {
    for text in [
        "secureClientPort=2281",
        "client.portUnification=true",
        "sslQuorum=true",
        "portUnification=true",
        "quorum.auth.enableSasl=true",
        "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
        "authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider",
        "authProvider.mine=com.example.Mine",
        "sessionRequireClientSASLAuth=true",
        "enforce.auth.enabled=true\nenforce.auth.schemes=sasl",
        "ensembleAuthName=prod",
        "audit.enable=true",
    ] {
        let refusal = good(text).startable().expect_err(text);
        assert_eq!(refusal.kind, ConfigErrorKind::Unsupported, "{text}");
        assert!(!refusal.remedy.is_empty());
    }
    for text in [
        "audit.enable=false",
        "sslQuorum=false",
        "authProvider.1=org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
    ] {
        assert_eq!(good(text).startable(), Ok(()), "{text}");
    }
}

#[test]
fn secrets_stay_out_of_the_report() {
    let config = good("DigestAuthenticationProvider.superDigest=super:hunter2");
    assert_eq!(config.auth.super_digest.as_deref(), Some("super:hunter2"));
    assert!(config.effective.iter().all(|setting| !setting.value.contains("hunter2")));
    let world = World::default().with("/c/zoo.cfg", &format!("{BASE}ssl.keyStore.password=hunter2"));
    assert!(world.load().unwrap().warnings.iter().all(|notice| !notice.text.contains("hunter2")));
}

#[test]
fn flags_win_over_the_file() {
    let flag = |key: &str, value: &str| Setting::new(key, value, Place::CommandLine("--flag".into()));
    let mut request = Request::file("/c/zoo.cfg");
    request.overrides = vec![flag("clientPort", "0"), flag("ringkeeper.shards", "2")];
    let world = World::default().with("/c/zoo.cfg", &format!("{BASE}ringkeeper.shards=5\n"));
    let config = assemble(&request, &world).unwrap();
    assert_eq!((config.client.client_addr.unwrap().port(), config.cores.shards), (0, Some(2)));
    request.overrides = vec![flag("ringkeeper.shards", "none")];
    assert!(
        assemble(&request, &world).unwrap_err().to_string().starts_with("command line --flag: ringkeeper.shards=none")
    );
}

#[test]
fn random_files_never_panic() {
    let mut seed = 0x2181_u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    };
    let values = [
        "",
        "true",
        "-1",
        "0",
        "99999999999999999999",
        "a:1:2|b:3:4",
        "[::1]:1:2;[",
        "1:2:x",
        "é\\u",
        "0x",
        ";;;",
        "ms",
        "1-3,9",
        "yes",
    ];
    for key in KEYS {
        for value in values.iter().chain(&["-9223372036854775808", "9223372036854775807", "4294967296", "NaN", "1e400"])
        {
            let _ = load(&format!("{}={value}", key.name.replace('*', "1")));
        }
    }
    for _ in 0..3_000 {
        let mut text: Vec<u8> = BASE.into();
        for _ in 0..next() % 8 {
            let key = KEYS[next() % KEYS.len()].name.replace('*', ["", "1", "x", ".1"][next() % 4]);
            text.extend(format!("{key}={}\n", values[next() % values.len()]).bytes());
        }
        for _ in 0..next() % 4 {
            let at = next() % text.len();
            text[at] = next() as u8;
        }
        let mut world = World::default().variable_is("JVMFLAGS", values[next() % values.len()]);
        world.files.insert("/c/zoo.cfg".into(), text.clone());
        world.files.insert("/c/java.env".into(), text);
        if let Ok(config) = world.load() {
            let _ = config.startable();
            let _ = placement(&[0, 1, 2], &config.cores);
        }
    }
}

/// Each profile on a machine of its size: no warning, and the executors its comments promise.
#[test]
fn tuning_profiles_load_without_a_warning() {
    for (name, cpus, shards) in
        [("one-core.cfg", 1, 1), ("two-cores.cfg", 2, 2), ("eight-cores.cfg", 8, 7), ("many-cores-numa.cfg", 64, 29)]
    {
        let config = from_disk(&format!("tuning/{name}"));
        let mask: Vec<usize> = (0..cpus).collect();
        let placed = placement(&mask, &config.cores).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(placed.shard_count(), shards, "{name}");
    }
}

#[test]
fn the_samples_of_deploy_load_without_a_warning() {
    for path in ["deploy/zoo.cfg", "deploy/zoo.docker.cfg"] {
        let config = from_disk(path);
        assert!(config.journal.data_dir.is_absolute());
        placement(&[0], &config.cores).unwrap();
    }
}

fn from_disk(path: &str) -> Config {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let config = World::default().with("/c/zoo.cfg", &text).load().unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(config.warnings, vec![], "{path}");
    assert_eq!(config.startable(), Ok(()), "{path}");
    config
}
