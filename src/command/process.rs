//! What the `server` command arranges with the system, and what it warns of where the system gives
//! less than the limits ask for.
//!
//! Knows nothing of requests or sockets beyond their number.
//!
//! Rule: each number in a warning is what really holds in this process.

use reactor_pool::config::{REFUSAL_RESERVE, WorstCase};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::SIGXFSZ;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use tracing::warn;

/// Has the allocator keep up to 16 MiB of free memory a heap for what comes next. By itself it
/// keeps 128 KiB. Then requests of some kilobytes make the heap shrink and grow all the time, at a
/// page fault for each 4 KiB.
///
/// glibc has two thresholds for this (mallopt(3), `M_MMAP_THRESHOLD`). It raises both when a block
/// is freed that was mapped by itself: larger blocks are mapped, and twice its size may stay free.
/// What `GLIBC_TUNABLES` or `MALLOC_TRIM_THRESHOLD_` say comes first. Nobody writes to the block,
/// so it takes no memory. For other allocators it means nothing.
pub(crate) fn keep_free_memory() {
    const KEPT_BYTES: usize = 16 << 20;
    drop(black_box(Vec::<u8>::with_capacity(KEPT_BYTES / 2)));
}

/// A log file at its size limit (`ulimit -f`) must not end the server: with a handler for the
/// signal the write fails instead, and the line is lost. Rust ignores SIGPIPE by itself.
pub(crate) fn survive_file_size_limit() -> Result<(), String> {
    signal_hook::flag::register(SIGXFSZ, Arc::default())
        .map(drop)
        .map_err(|cause| format!("cannot take over SIGXFSZ: {cause}"))
}

/// Raises the soft limit of descriptors to what the connection limit needs, as far as allowed;
/// returns what is in force.
pub(crate) fn raise_descriptor_limit(max_connections: usize) -> u64 {
    /// Poll, waker, timer, signals, listeners, and what the system takes in passing.
    const OWN: u64 = 32;
    let needed = open_descriptors() + (max_connections + REFUSAL_RESERVE) as u64 + OWN;
    let limits = getrlimit(Resource::Nofile);
    let soft = limits.current.unwrap_or(u64::MAX);
    if soft >= needed {
        return soft;
    }
    let raised = needed.min(limits.maximum.unwrap_or(u64::MAX));
    let wanted = Rlimit {
        current: Some(raised),
        maximum: limits.maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => raised,
        Err(_) => soft,
    }
}

/// Warns if not even `max_connections` fit beside what is open now: call it when all else is open.
pub(crate) fn warn_of_descriptors(descriptors: u64, max_connections: usize) {
    let fits = descriptors.saturating_sub(open_descriptors());
    if fits < max_connections as u64 {
        warn!(
            max_connections,
            fits, descriptors, "the descriptor limit allows fewer connections"
        );
    }
}

/// Counted in proc_pid_fd(5). Elsewhere only the standard streams are assumed.
fn open_descriptors() -> u64 {
    // One of them is that of the folder itself.
    let count = |folder: fs::ReadDir| folder.count().saturating_sub(1) as u64;
    fs::read_dir("/proc/self/fd").map_or(3, count)
}

/// Warns if the system would not let the server have what it can come to need.
pub(crate) fn warn_of_memory(worst_case: WorstCase) {
    let address_space = getrlimit(Resource::As).current;
    for (limit, bytes, needed) in [
        (
            "address space (ulimit -v)",
            address_space,
            worst_case.process(),
        ),
        ("cgroup", cgroup_memory_limit(), worst_case.total()),
    ] {
        if let Some(bytes) = bytes.filter(|bytes| *bytes < needed) {
            warn!(
                limit,
                limit_mib = bytes >> 20,
                worst_case_mib = needed >> 20,
                "the worst case needs more memory than the limit: lower --max-connections, --max-buffered, --socket-buffer or --max-line"
            );
        }
    }
}

/// What is resident of the process (proc_pid_status(5)); none where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = kib.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// The smallest limit of this process's cgroup and those above it (cgroups(7)); none where there
/// is none.
fn cgroup_memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(limit_of_group).min()
}

fn limit_of_group(line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        v1 if v1.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let limit_in = |folder: &Path| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        text.trim().parse().ok()
    };
    let group = Path::new(root).join(path.trim_start_matches('/'));
    let groups = group
        .ancestors()
        .take_while(|folder| folder.starts_with(root));
    groups.filter_map(limit_in).min()
}
