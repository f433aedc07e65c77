//! A list of CPUs as `taskset -c` and `/sys` write it: `0`, `1-7`, `0,2,4-6`.

use std::fmt;
use std::str::FromStr;

/// CPU numbers, ascending, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuSet(Vec<usize>);

impl CpuSet {
    /// The CPUs, ascending.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, cpu: usize) -> bool {
        self.0.binary_search(&cpu).is_ok()
    }
}

/// The kernel's own ceiling (CONFIG_NR_CPUS); it also bounds what a range such as `0-4000000000` may allocate.
const CPUS_MAX: usize = 8192;

impl FromStr for CpuSet {
    type Err = String;

    /// Errors: a text that says which part is wrong.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut cpus = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (cpu_number(first)?, cpu_number(last)?),
                None => (cpu_number(part)?, cpu_number(part)?),
            };
            if first > last {
                return Err(format!("the range {part} runs backwards"));
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Ok(CpuSet(cpus))
    }
}

fn cpu_number(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(cpu) if cpu < CPUS_MAX => Ok(cpu),
        Ok(cpu) => Err(format!("CPU {cpu} is beyond {}", CPUS_MAX - 1)),
        Err(_) if text.trim().is_empty() => Err("a CPU number is missing".to_owned()),
        Err(_) => Err(format!("{:?} is not a CPU number", text.trim())),
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        let mut separator = "";
        while let Some(&first) = rest.first() {
            let run = rest.iter().enumerate().take_while(|(index, cpu)| **cpu == first + index).count();
            if run == 1 {
                write!(out, "{separator}{first}")?;
            } else {
                write!(out, "{separator}{first}-{}", first + run - 1)?;
            }
            separator = ",";
            rest = &rest[run..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read_and_printed_alike() {
        for (text, cpus, printed) in [
            ("0", vec![0], "0"),
            ("1-3", vec![1, 2, 3], "1-3"),
            (" 4-5 , 0 ,2", vec![0, 2, 4, 5], "0,2,4-5"),
            ("1,1,1-2", vec![1, 2], "1-2"),
        ] {
            let set: CpuSet = text.parse().unwrap();
            assert_eq!(set.as_slice(), cpus);
            assert_eq!(set.to_string(), printed);
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_part() {
        for (text, part) in [
            ("", "missing"),
            ("3-1", "backwards"),
            ("1,x", "\"x\""),
            ("1-", "missing"),
            ("9000", "beyond"),
            ("-1", "missing"),
        ] {
            let refusal = text.parse::<CpuSet>().unwrap_err();
            assert!(refusal.contains(part), "{text}: {refusal}");
        }
    }
}
