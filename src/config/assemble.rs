//! From texts to a [`Config`]: gathers every setting by precedence, hands each to its row, then settles what depends on
//! several. Pure: files, names and variables come through [`Outside`].
//!
//! Precedence, highest first: flags of the command line; zoo.cfg; `-Dzookeeper.key` in JVMFLAGS, then SERVER_JVMFLAGS; the
//! bare `-Dkey` where a key allows it; built-in defaults.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::draft::{Draft, Setting};
use super::error::{ConfigError, ConfigErrorKind, NoticeLevel, Place};
use super::keys::{self, Class, KEYS, Key};
use super::{Config, EffectiveSetting, EnsembleConfig, ensemble, judged, jvm, properties, value};
use crate::admin::Whitelist;

/// The world as far as a configuration may look at it.
pub trait Outside {
    /// The bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The address of a host name.
    fn resolve(&self, host: &str) -> Option<IpAddr>;
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
}

/// An outside with no files, no names and no variables in it.
pub struct Nowhere;

impl Outside for Nowhere {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn resolve(&self, host: &str) -> Option<IpAddr> {
        host.parse().ok()
    }
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

/// What the command line gave.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The zoo.cfg to read.
    pub config_file: Option<PathBuf>,
    /// Settings where the files are silent (no config file, or Apache's `port dataDir` form).
    pub defaults: Vec<Setting>,
    /// Flags; they win over everything.
    pub overrides: Vec<Setting>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Default,
    BareFlag,
    PrefixedFlag,
    File,
    CommandLine,
}

type Gathered = BTreeMap<String, (Rank, &'static Key, Setting)>;

/// Reads everything; refusals are left in [`Config::refusals`].
pub fn assemble(request: &Request, outside: &dyn Outside) -> Result<Config, ConfigError> {
    let mut draft = Draft::new(Config::blank());
    let mut gathered = Gathered::new();
    for setting in &request.defaults {
        gather_known(&mut draft, &mut gathered, Rank::Default, setting.clone());
    }
    gather_flags(&mut draft, &mut gathered, request, outside);
    if let Some(path) = &request.config_file {
        gather_file(&mut draft, &mut gathered, path, outside)?;
    }
    for setting in &request.overrides {
        gather_known(&mut draft, &mut gathered, Rank::CommandLine, setting.clone());
    }
    for row in KEYS {
        for (_, key, setting) in gathered.values() {
            if std::ptr::eq(*key, row) {
                draft.take(row, setting)?;
            }
        }
    }
    draft.config.effective = effective(&gathered);
    finish(draft, outside)
}

fn put(gathered: &mut Gathered, rank: Rank, key: &'static Key, setting: Setting) {
    let stays = gathered.get(&setting.key).is_some_and(|(known, _, _)| *known > rank);
    if !stays {
        gathered.insert(setting.key.clone(), (rank, key, setting));
    }
}

fn gather_known(draft: &mut Draft, gathered: &mut Gathered, rank: Rank, setting: Setting) {
    match keys::in_file(&setting.key) {
        Some(key) => put(gathered, rank, key, setting),
        None => {
            let text = match (
                setting.key.strip_prefix("zookeeper.").filter(|short| keys::in_file(short).is_some()),
                keys::suggestion(&setting.key),
            ) {
                (Some(short), _) => {
                    format!("{} has no effect with this prefix; in this file write {short}", setting.key)
                }
                (None, Some(near)) => {
                    format!("{} is not a known key and has no effect; did you mean {near}?", setting.key)
                }
                (None, None) => {
                    format!("{} is not a known key and has no effect; check its spelling or remove it", setting.key)
                }
            };
            draft.warn(&setting.place, text);
        }
    }
}

fn gather_file(
    draft: &mut Draft,
    gathered: &mut Gathered,
    path: &Path,
    outside: &dyn Outside,
) -> Result<(), ConfigError> {
    let bytes = read(path, "name an existing zoo.cfg", outside)?;
    draft.config.config_text = String::from_utf8_lossy(&bytes).into_owned();
    draft.config.config_file = Some(path.to_owned());
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for setting in entries(path, &bytes)? {
        let Place::Line { line, .. } = setting.place else { unreachable!("entries of a file have lines") };
        if let Some(earlier) = lines.insert(setting.key.clone(), line) {
            let text = format!("{} is set again; line {earlier} has no effect", setting.key);
            draft.warn(&setting.place, text);
        }
        gather_known(draft, gathered, Rank::File, setting);
    }
    Ok(())
}

/// ZK: zkEnv.sh sources zookeeper-env.sh and java.env from the directory of the configuration.
fn gather_flags(draft: &mut Draft, gathered: &mut Gathered, request: &Request, outside: &dyn Outside) {
    const NAMES: [&str; 2] = ["SERVER_JVMFLAGS", "JVMFLAGS"];
    let from_environment = |name: &&str| outside.variable(name).map(|text| (name.to_string(), text));
    let mut variables: BTreeMap<String, String> = NAMES.iter().filter_map(from_environment).collect();
    let mut places: BTreeMap<&str, Place> = NAMES.iter().map(|name| (*name, Place::Environment(name))).collect();
    for file in request
        .config_file
        .iter()
        .flat_map(|path| ["zookeeper-env.sh", "java.env"].map(|name| path.with_file_name(name)))
    {
        let Ok(bytes) = outside.read(&file) else { continue };
        let sourced = jvm::source(&String::from_utf8_lossy(&bytes), variables);
        for line in sourced.not_understood {
            let place = Place::Line { file: file.clone(), line };
            draft.warn(
                &place,
                "this shell is not executed, so the JVM flags it sets are unknown; write a plain JVMFLAGS=\"-D...\"",
            );
        }
        for name in NAMES {
            if let Some(line) = sourced.assigned_on.get(name) {
                places.insert(name, Place::Line { file: file.clone(), line: *line });
            }
        }
        variables = sourced.variables;
    }
    let mut others = 0;
    for name in NAMES {
        for flag in jvm::flags(variables.get(name).map_or("", String::as_str)) {
            others += usize::from(!gather_flag(draft, gathered, flag, &places[name]));
        }
    }
    if others > 0 {
        let place = places[if variables.contains_key("JVMFLAGS") { "JVMFLAGS" } else { "SERVER_JVMFLAGS" }].clone();
        draft.notice(
            NoticeLevel::Info,
            &place,
            format!("flags of the Java virtual machine have no effect here ({others} found)"),
        );
    }
}

/// `false` if the flag is the JVM's own business.
fn gather_flag(draft: &mut Draft, gathered: &mut Gathered, flag: jvm::Flag, place: &Place) -> bool {
    let jvm::Flag::Definition { name, value } = flag else { return false };
    if let Some((key, short, prefixed)) = keys::in_flags(&name) {
        let rank = if prefixed { Rank::PrefixedFlag } else { Rank::BareFlag };
        put(gathered, rank, key, Setting::new(short, value, place.clone()));
        return true;
    }
    let Some(short) = name.strip_prefix("zookeeper.") else { return false };
    let text = match keys::in_file(short) {
        Some(key) if key.origin == keys::Origin::Native => {
            format!("-D{name} has no effect: {short} is read from zoo.cfg only")
        }
        Some(_) => format!("-D{name} has no effect with this prefix; write -D{short}"),
        None => format!("-D{name} is not a known property and has no effect; check its spelling or remove it"),
    };
    draft.warn(place, text);
    true
}

fn read(path: &Path, remedy: &str, outside: &dyn Outside) -> Result<Vec<u8>, ConfigError> {
    outside.read(path).map_err(|reason| {
        ConfigError::new(
            ConfigErrorKind::Unreadable,
            Place::File(path.to_owned()),
            format!("cannot be read ({reason})"),
            remedy,
        )
    })
}

fn entries(path: &Path, bytes: &[u8]) -> Result<Vec<Setting>, ConfigError> {
    let at = |line| Place::Line { file: path.to_owned(), line };
    let entries = properties::parse(bytes).map_err(|bad| {
        let problem = format!("{} is not a unicode escape", bad.text);
        ConfigError::new(
            ConfigErrorKind::Syntax,
            at(bad.line),
            problem,
            "write four hexadecimal digits after \\u, or \\\\ for a backslash",
        )
    })?;
    Ok(entries.into_iter().map(|entry| Setting::new(entry.key, entry.value, at(entry.line))).collect())
}

/// What counts, for `check-config`: every honoured key and where its value comes from.
fn effective(gathered: &Gathered) -> Vec<EffectiveSetting> {
    let mut settings = Vec::new();
    for row in KEYS.iter().filter(|row| matches!(row.class, Class::Honoured(_) | Class::Ensemble(_))) {
        let set = gathered.values().filter(|(_, key, _)| std::ptr::eq(*key, row)).map(|(_, _, setting)| setting);
        let before = settings.len();
        settings.extend(set.map(|setting| EffectiveSetting {
            key: setting.key.clone(),
            value: setting.shown().to_owned(),
            place: Some(setting.place.clone()),
            doc: row.doc,
        }));
        if settings.len() == before && !row.name.ends_with('*') {
            settings.push(EffectiveSetting {
                key: row.name.to_owned(),
                value: row.default.to_owned(),
                place: None,
                doc: row.doc,
            });
        }
    }
    settings
}

fn finish(mut draft: Draft, outside: &dyn Outside) -> Result<Config, ConfigError> {
    settle_directories(&mut draft)?;
    settle_client(&mut draft, outside)?;
    settle_throttle(&mut draft);
    judged::settle_enforced_schemes(&mut draft)?;
    settle_unsafe(&mut draft);
    if let Some(sync_enabled) = draft.sync_enabled_property {
        draft.config.quorum.sync_enabled = sync_enabled;
    }
    draft.config.server_id = my_id(&draft.config.journal.data_dir, outside)?;
    settle_ensemble(&mut draft, outside)?;
    Ok(draft.config)
}

fn whole_file(draft: &Draft) -> Option<Place> {
    draft.config.config_file.clone().map(Place::File)
}

fn settle_directories(draft: &mut Draft) -> Result<(), ConfigError> {
    if draft.config.journal.data_dir.as_os_str().is_empty() {
        let place = whole_file(draft);
        return Err(ConfigError::new(
            ConfigErrorKind::Missing,
            place,
            "dataDir is not set",
            "add dataDir=/var/lib/ringkeeper",
        ));
    }
    if draft.config.journal.data_log_dir.as_os_str().is_empty() {
        draft.config.journal.data_log_dir = draft.config.journal.data_dir.clone();
    }
    Ok(())
}

fn settle_client(draft: &mut Draft, outside: &dyn Outside) -> Result<(), ConfigError> {
    match (&draft.client_port, &draft.client_port_address) {
        (None, None) => {}
        (None, Some(address)) => {
            return Err(address.wrong("is set but clientPort is not", "add clientPort=2181"));
        }
        (Some((port, _)), None) => {
            draft.config.client.client_addr = Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port)));
            draft.config.client.client_addr_is_any = true;
        }
        (Some((port, _)), Some(address)) => {
            let host = address.value.trim_start_matches('[').trim_end_matches(']');
            let ip = outside.resolve(host).ok_or_else(|| {
                address.wrong("cannot be resolved", "write an address of this machine, or a name that resolves to one")
            })?;
            draft.config.client.client_addr = Some(SocketAddr::new(ip, *port));
        }
    }
    let client = &mut draft.config.client;
    let tick_time_ms = i64::from(client.tick_time_ms);
    let bound = |set: i64, ticks: i64| if set == -1 { tick_time_ms.saturating_mul(ticks) } else { set };
    let (min, max) = (bound(draft.min_session_timeout_ms, 2), bound(draft.max_session_timeout_ms, 20));
    if min > max {
        let place = whole_file(draft);
        let problem = format!("minSessionTimeout ({min} ms) is larger than maxSessionTimeout ({max} ms)");
        let remedy =
            format!("they default to 2 and 20 times tickTime ({tick_time_ms} ms); set both, the smaller first");
        return Err(ConfigError::new(ConfigErrorKind::Contradiction, place, problem, remedy));
    }
    client.min_session_timeout_ms = u32::try_from(min).unwrap_or(i32::MAX as u32);
    client.max_session_timeout_ms = u32::try_from(max).unwrap_or(i32::MAX as u32).min(i32::MAX as u32);
    let extra = draft.extra_size_bytes.map_or(client.jute_max_buffer_bytes, |extra| extra as u32);
    client.jute_max_buffer_extra_bytes = extra.max(1024).min(i32::MAX as u32 - client.jute_max_buffer_bytes);
    let words = &draft.four_letter_words;
    client.four_letter_words = Whitelist::parse(Some(words), draft.config.quorum.read_only_mode);
    if client.client_addr.is_none() && draft.member_settings.is_empty() && draft.dynamic_config_file.is_none() {
        let place = whole_file(draft).unwrap_or(Place::BuiltIn);
        draft.warn(&place, "clientPort is not set, so no client can connect; add clientPort=2181");
    }
    Ok(())
}

/// ZK: BlueThrottle: weights fall into order.
fn settle_throttle(draft: &mut Draft) {
    let throttle = &mut draft.config.client.connection_throttle;
    throttle.global_session_weight = throttle.global_session_weight.max(throttle.local_session_weight);
    throttle.renew_session_weight = throttle.renew_session_weight.max(throttle.local_session_weight);
}

/// Where a key was written that has another value than its default.
fn place_of(draft: &Draft, key: &str) -> Place {
    let setting = draft.config.effective.iter().find(|setting| setting.key == key);
    setting.and_then(|setting| setting.place.clone()).unwrap_or(Place::BuiltIn)
}

fn settle_unsafe(draft: &mut Draft) {
    if draft.config.auth.skip_acl {
        let place = place_of(draft, "skipACL");
        draft.warn(&place, "skipACL=yes: every client may read and change everything; remove it to have ACLs checked");
    }
    if !draft.config.journal.force_sync {
        let place = place_of(draft, "forceSync");
        draft.warn(
            &place,
            "forceSync=no: acknowledged writes can be lost in a power cut; remove it to have them synced first",
        );
    }
}

fn my_id(data_dir: &Path, outside: &dyn Outside) -> Result<Option<i64>, ConfigError> {
    let path = data_dir.join("myid");
    let Ok(bytes) = outside.read(&path) else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes).lines().next().unwrap_or("").to_owned();
    let id = value::parse_long(&text).ok_or_else(|| {
        let place = Place::Line { file: path, line: 1 };
        ConfigError::new(
            ConfigErrorKind::Value,
            place,
            format!("{text:?} is not a server id"),
            "write the N of this server's server.N line, nothing else",
        )
    })?;
    Ok(Some(id))
}

fn settle_ensemble(draft: &mut Draft, outside: &dyn Outside) -> Result<(), ConfigError> {
    let version = gather_members(draft, outside)?;
    let lines = std::mem::take(&mut draft.members);
    let place = lines.first_place.clone().or_else(|| whole_file(draft));
    let is_ensemble = lines
        .is_ensemble(draft.config.quorum.standalone_enabled, &mut draft.config.warnings)
        .map_err(|error| ConfigError { place: error.place.or(place.clone()), ..error })?;
    if let Some(own) = draft.config.server_id.and_then(|id| lines.members.get(&id)) {
        adopt_own_client_address(draft, own, outside)?;
    }
    if !is_ensemble {
        return Ok(());
    }
    let missing =
        |what: &str, remedy: &str| Err(ConfigError::new(ConfigErrorKind::Missing, place.clone(), what, remedy));
    if draft.config.quorum.read_only_mode && !draft.config.quorum.local_sessions_enabled {
        let place = place_of(draft, "readonlymode.enabled");
        draft.warn(
            &place,
            "readonlymode.enabled=true: only local sessions can be opened without a leader, so nobody will be served; \
             add localSessionsEnabled=true",
        );
    }
    let quorum = &draft.config.quorum;
    if quorum.init_limit_ticks == 0 {
        return missing("an ensemble is listed but initLimit is not set", "add initLimit=10");
    }
    if quorum.sync_limit_ticks == 0 {
        return missing("an ensemble is listed but syncLimit is not set", "add syncLimit=5");
    }
    let Some(my_id) = draft.config.server_id else {
        return missing(
            "an ensemble is listed but <dataDir>/myid is missing",
            "write the N of this server's server.N line into it",
        );
    };
    let Some(own) = lines.members.get(&my_id) else {
        return missing(
            &format!("<dataDir>/myid says {my_id}, but there is no server.{my_id} line"),
            "add it, or correct myid",
        );
    };
    if own.role != draft.config.quorum.peer_type {
        let text = format!("peerType does not match server.{my_id}, which is a {:?}; the server line counts", own.role);
        let at = own.place.clone();
        draft.warn(&at, text.to_lowercase().replacen("peertype", "peerType", 1));
    }
    draft.config.ensemble = Some(EnsembleConfig {
        my_id,
        members: lines.members,
        groups: lines.groups,
        weights: lines.weights,
        version,
        dynamic_config_file: draft.dynamic_config_file.as_ref().map(|setting| setting.value.clone().into()),
    });
    Ok(())
}

/// Reads the member lines of zoo.cfg or of the dynamic file; returns the version of the list.
fn gather_members(draft: &mut Draft, outside: &dyn Outside) -> Result<i64, ConfigError> {
    let multi_address = draft.config.quorum.multi_address_enabled;
    let Some(pointer) = draft.dynamic_config_file.clone() else {
        for setting in std::mem::take(&mut draft.member_settings) {
            draft.members.take(&setting.key, &setting.value, multi_address, &setting.place)?;
        }
        return Ok(0);
    };
    if let Some(misplaced) = draft.member_settings.first() {
        let remedy = format!("move it to {}, which dynamicConfigFile names", pointer.value);
        let problem = format!("{} must not stand beside dynamicConfigFile", misplaced.key);
        return Err(ConfigError::new(ConfigErrorKind::Contradiction, misplaced.place.clone(), problem, remedy));
    }
    let path = PathBuf::from(&pointer.value);
    let bytes = read(&path, "dynamicConfigFile must name an existing file", outside)?;
    for setting in entries(&path, &bytes)? {
        if !draft.members.take(&setting.key, &setting.value, multi_address, &setting.place)? {
            let problem = format!("{} has no place in a dynamic file", setting.key);
            let remedy = "keep only server., group and weight lines here; the version belongs into the file's name";
            return Err(ConfigError::new(ConfigErrorKind::Contradiction, setting.place, problem, remedy));
        }
    }
    Ok(ensemble::version_of_file_name(&pointer.value).unwrap_or(0))
}

/// The client address on this server's own line wins, but must not contradict zoo.cfg (CF-86).
fn adopt_own_client_address(
    draft: &mut Draft,
    own: &ensemble::Member,
    outside: &dyn Outside,
) -> Result<(), ConfigError> {
    let Some(listed) = &own.client else { return Ok(()) };
    let ip = outside.resolve(&listed.host).ok_or_else(|| {
        let problem = format!("server.{}: the client host {} cannot be resolved", own.id, listed.host);
        ConfigError::new(ConfigErrorKind::Value, own.place.clone(), problem, "write an address of this machine")
    })?;
    let address = SocketAddr::new(ip, listed.port);
    if let Some(configured) = draft.config.client.client_addr {
        let agrees =
            if configured.ip().is_unspecified() { configured.port() == address.port() } else { configured == address };
        if !agrees {
            let problem = format!(
                "server.{} says clients connect to {address}, but clientPort and clientPortAddress say {configured}",
                own.id
            );
            return Err(ConfigError::new(
                ConfigErrorKind::Contradiction,
                own.place.clone(),
                problem,
                "make them agree, or remove clientPort",
            ));
        }
    }
    draft.config.client.client_addr = Some(address);
    draft.config.client.client_addr_is_any = ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    Ok(())
}
