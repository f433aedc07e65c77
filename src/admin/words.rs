//! The four-letter words: their numbers on the wire, who may be asked, and what each one needs to be answered
//! (parity section 7.1).

use crate::mail::SurveyKind;

/// ZK: FourLetterCommands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Word {
    Conf,
    Cons,
    Crst,
    Dirs,
    Dump,
    Envi,
    Gtmk,
    Hash,
    Isro,
    Mntr,
    Ruok,
    Srst,
    Srvr,
    Stat,
    Stmk,
    Wchc,
    Wchp,
    Wchs,
    /// Not a word: telnet's interrupt pattern, which counts as one (parity FL-11).
    TelnetClose,
}

impl Word {
    pub const ALL: [Word; 19] = [
        Word::Conf,
        Word::Cons,
        Word::Crst,
        Word::Dirs,
        Word::Dump,
        Word::Envi,
        Word::Gtmk,
        Word::Hash,
        Word::Isro,
        Word::Mntr,
        Word::Ruok,
        Word::Srst,
        Word::Srvr,
        Word::Stat,
        Word::Stmk,
        Word::Wchc,
        Word::Wchp,
        Word::Wchs,
        Word::TelnetClose,
    ];

    /// Whether a server without a leader has nothing to say to it (parity FL-08).
    pub fn needs_serving(self) -> bool {
        !matches!(self, Word::Ruok | Word::Isro | Word::Gtmk | Word::Stmk | Word::Envi | Word::TelnetClose)
    }

    /// The word those four bytes are; `None` means they are a length.
    pub fn from_bytes(bytes: [u8; 4]) -> Option<Word> {
        if bytes == [0xff, 0xf4, 0xff, 0xfd] {
            return Some(Word::TelnetClose);
        }
        Word::ALL.into_iter().find(|word| word.name().as_bytes() == bytes)
    }

    pub fn name(self) -> &'static str {
        match self {
            Word::Conf => "conf",
            Word::Cons => "cons",
            Word::Crst => "crst",
            Word::Dirs => "dirs",
            Word::Dump => "dump",
            Word::Envi => "envi",
            Word::Gtmk => "gtmk",
            Word::Hash => "hash",
            Word::Isro => "isro",
            Word::Mntr => "mntr",
            Word::Ruok => "ruok",
            Word::Srst => "srst",
            Word::Srvr => "srvr",
            Word::Stat => "stat",
            Word::Stmk => "stmk",
            Word::Wchc => "wchc",
            Word::Wchp => "wchp",
            Word::Wchs => "wchs",
            Word::TelnetClose => "telnet close",
        }
    }

    /// What must be surveyed to answer. `argument` is stmk's; ruok needs nothing and is not asked.
    pub fn survey(self, argument: i64) -> SurveyKind {
        match self {
            Word::Conf | Word::Dirs | Word::Envi | Word::Hash | Word::Isro | Word::Ruok | Word::TelnetClose => {
                SurveyKind::Host
            }
            Word::Cons | Word::Stat => SurveyKind::Connections,
            Word::Crst => SurveyKind::ResetConnections,
            Word::Dump => SurveyKind::Dump,
            Word::Gtmk => SurveyKind::TraceMask { set: None },
            Word::Mntr => SurveyKind::Metrics,
            Word::Srst => SurveyKind::ResetServer,
            Word::Srvr => SurveyKind::Totals,
            Word::Stmk => SurveyKind::TraceMask { set: Some(argument) },
            Word::Wchc | Word::Wchp => SurveyKind::Watches,
            Word::Wchs => SurveyKind::WatchSummary,
        }
    }
}

/// Which words are answered (parity FL-02, FL-03).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Whitelist(u32);

impl Whitelist {
    /// Asks the configuration about each word's name.
    pub fn of(allows: impl Fn(&str) -> bool) -> Whitelist {
        let allowed = Word::ALL.into_iter().filter(|word| allows(word.name()));
        Whitelist(allowed.fold(1 << Word::Srvr as u32, |bits, word| bits | 1 << word as u32))
    }

    /// `list` is the value of `4lw.commands.whitelist`, `None` when it is not set. `srvr` is always in;
    /// `isro` is when read-only mode is enabled.
    pub fn parse(list: Option<&str>, read_only_mode: bool) -> Whitelist {
        let entries = || list.unwrap_or_default().split(',').map(str::trim);
        Whitelist::of(|name| entries().any(|entry| entry == "*" || entry == name) || (read_only_mode && name == "isro"))
    }

    pub fn allows(self, word: Word) -> bool {
        self.0 & 1 << word as u32 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_from_lengths() {
        assert_eq!(Word::from_bytes(*b"ruok"), Some(Word::Ruok));
        assert_eq!(Word::from_bytes([0, 0, 0, 45]), None);
        assert_eq!(Word::from_bytes([0xff, 0xf4, 0xff, 0xfd]), Some(Word::TelnetClose));
        assert_eq!(Word::from_bytes(*b"abcd"), None);
    }

    #[test]
    fn srvr_is_always_whitelisted_and_isro_in_read_only_mode() {
        let list = Whitelist::parse(Some(" ruok , nonsense"), false);
        assert!(list.allows(Word::Ruok) && list.allows(Word::Srvr) && !list.allows(Word::Isro));
        assert!(Whitelist::parse(None, true).allows(Word::Isro));
        assert!(Whitelist::parse(Some("*"), false).allows(Word::TelnetClose));
        assert!(!Whitelist::parse(None, false).allows(Word::Stat));
    }
}
