//! What stands in a result beside its figures: this program, this machine and the time.
//!
//! Reads /proc, the arguments and the clock; knows no figure.
//!
//! Rule: what cannot be read is left empty: no run fails because of it.

use std::env;
use std::fs;
use std::thread;
use std::time::SystemTime;

use rustix::system::uname;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::figures::provenance::Provenance;

/// The provenance of what was measured from `started` on.
pub(crate) fn since(started: SystemTime) -> Provenance {
    let names = uname();
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    let arguments = env::args_os().skip(1);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Provenance {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        arguments: arguments
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect(),
        host: text(names.nodename()),
        processor: processor(&cpuinfo).to_owned(),
        processors: thread::available_parallelism().map_or(1, usize::from),
        kernel: text(names.release()),
        started: rfc_3339(started),
    }
}

/// The model as Linux names it; processors that name none are described by their vendor's numbers.
fn processor(cpuinfo: &str) -> &str {
    let value = |name: &str| {
        let mut lines = cpuinfo.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.split_once(':')?.1.trim()))
    };
    value("model name")
        .or_else(|| value("CPU part"))
        .unwrap_or_default()
}

fn rfc_3339(moment: SystemTime) -> String {
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let text = OffsetDateTime::from(moment).format(&form);
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_sort_as_texts() {
        let at = |ms| rfc_3339(SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!(at(1_000_000_000_007), "2001-09-09T01:46:40.007Z");
        assert!(at(999) < at(1000) && at(1000) < at(60_000));
    }

    #[test]
    fn the_processor_is_found_in_either_form() {
        let x86 = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: A CPU @ 3 GHz\n";
        assert_eq!(processor(x86), "A CPU @ 3 GHz");
        assert_eq!(processor("processor\t: 0\nCPU part\t: 0xd0c\n"), "0xd0c");
        assert_eq!(processor(""), "");
    }

    #[test]
    fn this_program_and_machine_are_named() {
        let here = since(SystemTime::now());
        assert!(!here.host.is_empty() && !here.kernel.is_empty(), "{here:?}");
        assert!(
            here.processors > 0 && here.version.contains('.'),
            "{here:?}"
        );
    }
}
