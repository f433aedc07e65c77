//! Configurations: any text is a configuration or an error that says where, never a panic.

use super::Target;
use super::dice::{Dice, join, split};
use ringkeeper::config::keys::KEYS;
use ringkeeper::config::{Outside, Request, assemble, placement};
use std::net::IpAddr;
use std::path::Path;

pub const CONFIGS: Target = Target { name: "configs", make, run };

const VALUES: [&str; 40] = [
    "",
    "true",
    "false",
    "TRUE",
    "yes",
    "0",
    "1",
    "-1",
    "2181",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483648",
    "9223372036854775807",
    "99999999999999999999999",
    "1.5",
    "NaN",
    "1e400",
    "0x10",
    " 7 ",
    "/tmp/data",
    "a:b:c",
    "[::1]:2888:3888",
    "h:2888:3888:participant;2181",
    "h:1:2|g:3:4",
    "1:2:3",
    "1:2:",
    ":",
    "ruok, *",
    "0-3",
    "0-99999999999",
    "3-1,,5",
    "none",
    "sasl",
    "digest,x509",
    "\u{e9}\u{1f600}",
    "${dataDir}",
    "64M",
    "1,2,3;4",
];

fn key(dice: &mut Dice) -> String {
    match dice.below(12) {
        0 => format!("server.{}", dice.number()),
        1 => format!("group.{}", dice.below(4)),
        2 => format!("weight.{}", dice.number()),
        3 => "clientPort".into(),
        4 => "dataDir".into(),
        _ => KEYS[dice.below(KEYS.len())].name.replace('*', dice.pick(&["", "1", "x.y"])),
    }
}

fn value(dice: &mut Dice) -> String {
    match dice.below(6) {
        0 => dice.number().to_string(),
        1 => format!("{},{}", dice.pick(&VALUES), dice.pick(&VALUES)),
        _ => dice.pick(&VALUES).into(),
    }
}

fn make(dice: &mut Dice) -> Vec<u8> {
    let mut file = String::new();
    if dice.one_in(2) {
        file.push_str("dataDir=/d\nclientPort=2181\n");
    }
    for _ in 0..dice.below(14) {
        let separator = dice.pick(&["=", "=", "=", ":", " ", "==", "\\\n=", "\\u003d"]);
        file.push_str(&format!("{}{separator}{}\n", key(dice), value(dice)));
    }
    let mut file = file.into_bytes();
    if dice.one_in(3) {
        dice.mutate(&mut file, 4);
    }
    let mut shell = String::from("SERVER_JVMFLAGS=\"-Xmx1g");
    for _ in 0..dice.below(5) {
        shell.push_str(&format!(" -D{}{}={}", dice.pick(&["zookeeper.", ""]), key(dice), value(dice)));
    }
    shell.push_str(dice.pick(&[
        "\"\n",
        " $JVMFLAGS\"\nexport JVMFLAGS='-Da=b'\n",
        "",
        "\\",
        "\"; if true\n",
        "${X:-y}\"",
    ]));
    let mut shell = shell.into_bytes();
    if dice.one_in(3) {
        dice.mutate(&mut shell, 4);
    }
    let variable = value(dice).into_bytes();
    let id = if dice.one_in(2) { b"1\n".to_vec() } else { value(dice).into_bytes() };
    join(&[file, shell, variable, id])
}

struct World<'a> {
    parts: Vec<&'a [u8]>,
}

impl World<'_> {
    fn part(&self, number: usize) -> Vec<u8> {
        self.parts.get(number).map_or(Vec::new(), |part| part.to_vec())
    }
}

impl Outside for World<'_> {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        Ok(match path.file_name().and_then(|name| name.to_str()) {
            Some("myid") => self.part(3),
            Some("java.env" | "zookeeper-env.sh") => self.part(1),
            _ => self.part(0),
        })
    }

    fn resolve(&self, host: &str) -> Option<IpAddr> {
        host.parse().ok().or_else(|| host.is_ascii().then_some(IpAddr::from([127, 0, 0, 1])))
    }

    fn variable(&self, _: &str) -> Option<String> {
        Some(String::from_utf8_lossy(&self.part(2)).into_owned())
    }
}

fn run(input: &[u8]) {
    let world = World { parts: split(input) };
    match assemble(&Request::file("/conf/zoo.cfg"), &world) {
        Ok(config) => {
            assert!(config.effective.iter().all(|setting| !setting.key.is_empty() || setting.place.is_some()));
            let refused = config.startable().err();
            assert_eq!(refused.is_some(), !config.refusals.is_empty());
            if let Ok(placed) = placement(&[0, 1, 2, 5], &config.cores) {
                assert!(placed.replica_index() < placed.cores.len());
            }
        }
        Err(error) => assert!(error.to_string().contains(": "), "an error says where and what: {error}"),
    }
}
