//! How much memory a server can come to need.
//!
//! Knows the numbers of a [`Config`], and how many cores there are.
//!
//! Rule: one formula for all who name a figure. docs/reference.md derives each part of it.

use super::Config;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What the trace needs for a task that has ended, or for a request in flight. It may stand there
/// three times: among those kept, in the last copy that somebody asked for, and in the next.
pub(crate) const TRACED_BYTES: usize = 640;

/// The most memory that a server can come to need, in bytes; docs/reference.md derives each part.
/// A handler's own memory comes on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorstCase {
    /// What all connections together hold.
    pub connections: u64,
    /// What the queue and the workers hold.
    pub pool: u64,
    /// The program itself, its log and trace, and what the allocator keeps of what was free again.
    pub program: u64,
    /// The kernel's buffers of the sockets.
    pub kernel: u64,
}

impl WorstCase {
    /// All that is the process's own.
    pub fn process(self) -> u64 {
        self.connections + self.pool + self.program
    }

    /// All of it, as a cgroup counts.
    pub fn total(self) -> u64 {
        self.process() + self.kernel
    }
}

impl Config {
    /// Bytes of the process that a single connection can come to hold. For numbers in range.
    pub fn worst_case_connection(&self) -> u64 {
        11 * self.max_line as u64 + 896 * self.max_inflight as u64 + 256 * KIB
    }

    /// The most memory that the server can come to need. For numbers in range.
    pub fn worst_case_memory(&self) -> WorstCase {
        let (line, connections) = (self.max_line as u64, self.max_connections as u64);
        let workers = self.workers as u64;
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let beside_the_budget = line + 896 * self.max_inflight as u64 + 256 * KIB;
        // Blocks that the allocator maps by themselves raise what it keeps, as the server arranges
        // it.
        let kept_by_heap = if line > MIB { 64 * MIB } else { 16 * MIB };
        let heaps = (1 + workers).min(8 * cores);
        let traced = match self.trace_tasks as u64 {
            0 => 0,
            ended => ended + connections * self.max_inflight as u64,
        };
        WorstCase {
            connections: 3 * self.max_buffered as u64 + connections * beside_the_budget,
            pool: self.queue as u64 * line
                + workers * (24 * line.max(16 * KIB) + self.worker_stack as u64),
            program: heaps * kept_by_heap + 40 * MIB + traced * TRACED_BYTES as u64,
            // socket(7): the kernel doubles what is asked for, and each direction has a buffer.
            // The segment that fills one may go beyond it, and the socket itself takes some.
            kernel: connections * (4 * self.socket_buffer as u64 + 64 * KIB),
        }
    }
}
