//! What a process uses, and what it ignores, from /proc.
//!
//! Knows two files of Linux; not what follows.
//!
//! Rule: a figure that cannot be read is no figure, and no error.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

/// The processor time that process `id` has used so far, all threads together.
pub(crate) fn processor_time(id: u32) -> Option<Duration> {
    parse_ticks(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
        .map(|ticks| Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
}

/// The most memory that process `id` has had resident, in bytes.
pub(crate) fn peak_memory_bytes(id: u32) -> Option<u64> {
    parse_peak(&fs::read_to_string(format!("/proc/{id}/status")).ok()?)
}

/// Whether this process ignores the signal `number`. Where nobody tells, it does not.
pub(crate) fn ignores(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    parse_ignored(&status).is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

/// utime and stime, fields 14 and 15 of proc_pid_stat(5). The name before them may hold anything.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn parse_ignored(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn parse_peak(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 5 0 100";
        assert_eq!(parse_ticks(stat), Some(300));
        assert_eq!(parse_ticks("12 (a"), None);
        assert_eq!(
            parse_peak("VmPeak:\t 9 kB\nVmHWM:\t   2048 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(parse_peak(""), None);
        assert_eq!(parse_ignored("SigIgn:\t000000000000a003\n"), Some(0xa003));
        assert_eq!(parse_ignored(""), None);
    }

    #[test]
    fn this_process_has_both() {
        let id = std::process::id();
        assert!(processor_time(id).is_some());
        assert!(peak_memory_bytes(id).is_some_and(|bytes| bytes > 100_000));
        assert_eq!(processor_time(u32::MAX), None);
    }
}
