//! A configuration in the making: what has been read so far, and the notices that go with it.

use super::ensemble::MemberLines;
use super::error::{ConfigError, ConfigErrorKind, ConfigNotice, NoticeLevel, Place};
use super::keys::{Class, Key, Reading};
use super::{Config, value};

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    pub value: String,
    pub place: Place,
}

impl Setting {
    pub fn new(key: impl Into<String>, value: impl Into<String>, place: Place) -> Self {
        Setting { key: key.into(), value: value.into(), place }
    }

    /// An error about this value.
    pub fn wrong(&self, problem: impl std::fmt::Display, remedy: impl Into<String>) -> ConfigError {
        let problem = format!("{}={} {problem}", self.key, self.shown());
        ConfigError::new(ConfigErrorKind::Value, self.place.clone(), problem, remedy)
    }

    /// The value, unless it may be a secret.
    pub fn shown(&self) -> &str {
        if Key::is_secret(&self.key) { "(hidden)" } else { &self.value }
    }
}

/// The configuration, and what can only be settled once every key is read.
pub struct Draft {
    pub config: Config,
    pub client_port: Option<(u16, Place)>,
    pub client_port_address: Option<Setting>,
    /// -1 = from tickTime.
    pub min_session_timeout_ms: i64,
    /// -1 = from tickTime.
    pub max_session_timeout_ms: i64,
    pub extra_size_bytes: Option<i64>,
    pub four_letter_words: String,
    pub enforce_auth: Option<Setting>,
    pub enforce_auth_schemes: Option<Setting>,
    pub sync_enabled_property: Option<bool>,
    pub member_settings: Vec<Setting>,
    pub dynamic_config_file: Option<Setting>,
    pub members: MemberLines,
}

impl Draft {
    pub fn new(config: Config) -> Self {
        Draft {
            config,
            client_port: None,
            client_port_address: None,
            min_session_timeout_ms: -1,
            max_session_timeout_ms: -1,
            extra_size_bytes: None,
            four_letter_words: "srvr".to_owned(),
            enforce_auth: None,
            enforce_auth_schemes: None,
            sync_enabled_property: None,
            member_settings: Vec::new(),
            dynamic_config_file: None,
            members: MemberLines::default(),
        }
    }

    pub fn warn(&mut self, place: &Place, text: impl Into<String>) {
        self.notice(NoticeLevel::Warning, place, text);
    }

    pub fn notice(&mut self, level: NoticeLevel, place: &Place, text: impl Into<String>) {
        self.config.warnings.push(ConfigNotice { level, place: Some(place.clone()), text: text.into() });
    }

    /// Does with a setting what its row says.
    pub fn take(&mut self, key: &Key, setting: &Setting) -> Result<(), ConfigError> {
        match &key.class {
            Class::Honoured(reading) | Class::Ensemble(reading) => self.read(key, reading, setting),
            Class::Pointless(reading, why) => {
                self.notice(
                    NoticeLevel::Info,
                    &setting.place,
                    format!("{} is accepted and has no effect: {why}", setting.key),
                );
                self.read(key, reading, setting)
            }
            Class::NotYet(reading, why) => {
                if !setting.value.eq_ignore_ascii_case(key.default) {
                    self.warn(&setting.place, format!("{} has no effect yet: {why}", setting.key));
                }
                self.read(key, reading, setting)
            }
            Class::Refused(asks_for_nothing, why, remedy) => {
                if asks_for_nothing(&setting.value) {
                    return Ok(());
                }
                let problem = format!("{}={} cannot be honoured: {why}", setting.key, setting.shown());
                let refusal = ConfigError::new(ConfigErrorKind::Unsupported, setting.place.clone(), problem, *remedy);
                self.config.refusals.push(refusal);
                Ok(())
            }
        }
    }

    fn read(&mut self, key: &Key, reading: &Reading, setting: &Setting) -> Result<(), ConfigError> {
        let text = setting.value.as_str();
        match reading {
            Reading::Native(min, max, set) => {
                let number =
                    value::parse_long(text).ok_or_else(|| setting.wrong("is not a whole number", example(key)))?;
                if !(*min..=*max).contains(&number) {
                    return Err(setting.wrong("is out of range", format!("write a number from {min} to {max}")));
                }
                set(self, number);
            }
            Reading::NativeBool(set) => {
                let truth = value::strict_bool(text)
                    .ok_or_else(|| setting.wrong("is not a truth value", "write true or false"))?;
                set(self, truth);
            }
            Reading::Number(min, max, set) => {
                match value::decode_long(text).filter(|number| (*min..=*max).contains(number)) {
                    Some(number) => set(self, number),
                    None => self.fall_back(key, setting, &format!("a whole number from {min} to {max}")),
                }
            }
            Reading::Real(min, max, set) => {
                match text.parse::<f64>().ok().filter(|real| (*min..=*max).contains(real)) {
                    Some(real) => set(self, real),
                    None => self.fall_back(key, setting, &format!("a number no larger than {max}")),
                }
            }
            Reading::Flag(set) => {
                let truth = value::strict_bool(text);
                if truth.is_none() {
                    self.warn(
                        &setting.place,
                        format!("{}={text} is read as false, as ZooKeeper does; write true or false", setting.key),
                    );
                }
                set(self, truth.unwrap_or(false));
            }
            Reading::Unless(word, set) => set(self, text != *word),
            Reading::Exactly(word, set) => set(self, text == *word),
            Reading::Text(set) => set(self, text),
            Reading::Judged(judge) => return judge(self, setting),
        }
        Ok(())
    }

    fn fall_back(&mut self, key: &Key, setting: &Setting, wanted: &str) {
        let default = if key.default.is_empty() { "its default" } else { key.default };
        let text = format!("{}={} is not {wanted}; {default} is used instead", setting.key, setting.shown());
        self.warn(&setting.place, text);
    }
}

fn example(key: &Key) -> String {
    let default = if key.default.is_empty() { "2181" } else { key.default };
    format!("write decimal digits, for example {}={default}", key.name)
}
