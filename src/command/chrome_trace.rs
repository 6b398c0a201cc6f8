//! A [`Trace`] as a picture in the Chrome trace event format, which Perfetto and chrome://tracing
//! open.
//!
//! Knows the format and where each slice goes; no server and no file.
//!
//! Rule: slices of one track lie side by side or inside each other, so a connection has as many
//! tracks as it has requests at a time.

use reactor_pool::ConnectionId;
use reactor_pool::trace::{TaskEnd, TaskTimes, Trace, Work};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// The format calls the group of all tracks a process, and a track a thread. Viewers show them in
/// the order of their numbers. The first one has the number of its process, as in Linux.
const SERVER: u32 = 1;
const LOOP: u64 = 1;
const FIRST_WORKER: u64 = 2;
/// Behind any worker.
const FIRST_OF_CONNECTIONS: u64 = 10_000;

/// The shortest time that the file tells: an eighth of a microsecond.
const MOMENT: Duration = Duration::from_nanos(125);

/// Writes the whole picture; `server` says which program that was.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(trace: &Trace, server: &str, out: impl Write) -> io::Result<()> {
    let mut picture = Picture {
        trace,
        out,
        is_first: true,
    };
    let head = Head {
        server,
        requests: trace.tasks.iter().map(|task| task.requests as u64).sum(),
        dropped_requests: trace.dropped_requests,
        dropped_ticks: trace.dropped_ticks,
    };
    // The head stands in front, where it is read in a file of many megabytes, too.
    write!(picture.out, r#"{{"displayTimeUnit":"ms","otherData":"#)?;
    serde_json::to_writer(&mut picture.out, &head)?;
    picture.out.write_all(b",\"traceEvents\":[")?;
    picture.draw()?;
    picture.out.write_all(b"\n]}\n")?;
    picture.out.flush()
}

/// What the file says of itself.
#[derive(Serialize)]
struct Head<'a> {
    server: &'a str,
    requests: u64,
    dropped_requests: u64,
    dropped_ticks: u64,
}

/// A line of the file.
#[derive(Default, Serialize)]
struct Event<'a> {
    ph: &'static str,
    pid: u32,
    tid: u64,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    /// Joins the parts of a flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    /// `e`: an arrow ends at the slice in which it ends, not at the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    bp: Option<&'static str>,
    /// The scope of an instant: `t` for its track.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Args<'a>>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
enum Args<'a> {
    Name {
        name: &'a str,
    },
    Order {
        sort_index: u64,
    },
    Task {
        conn: u64,
        first: u64,
        requests: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        worker: Option<usize>,
        end: &'static str,
    },
}

struct Picture<'a, W> {
    trace: &'a Trace,
    out: W,
    is_first: bool,
}

impl<W: Write> Picture<'_, W> {
    fn draw(&mut self) -> io::Result<()> {
        let trace = self.trace;
        self.draw_loop()?;
        let workers = trace.tasks.iter().filter_map(|task| task.work);
        let workers = workers.map(|work| work.worker + 1).max().unwrap_or(0);
        for worker in 0..workers {
            self.name_track(track_of(worker), &format!("worker-{worker}"))?;
        }
        let mut connections: BTreeMap<ConnectionId, Vec<&TaskTimes>> = BTreeMap::new();
        for task in &trace.tasks {
            connections.entry(task.connection).or_default().push(task);
        }
        let (mut first_track, mut flow) = (FIRST_OF_CONNECTIONS, 0);
        for (id, mut tasks) in connections {
            tasks.sort_by_key(|task| task.first);
            let mut lanes = Lanes::default();
            for task in tasks {
                let lane = lanes.take(task.framed_at, end_of(task, trace));
                let track = first_track + lane.number;
                if lane.is_new {
                    let name = match lane.number {
                        0 => format!("conn {id}"),
                        others => format!("conn {id} ({})", others + 1),
                    };
                    self.name_track(track, &name)?;
                }
                flow += 1;
                self.draw_task(task, track, flow)?;
            }
            first_track += lanes.count;
        }
        Ok(())
    }

    fn draw_loop(&mut self) -> io::Result<()> {
        let trace = self.trace;
        self.about(LOOP, "process_name", Args::Name { name: "server" })?;
        self.name_track(LOOP, "event loop")?;
        let begin = trace.tasks.iter().map(|task| task.framed_at).min();
        if let Some(begin) = begin.filter(|_| trace.dropped_requests > 0) {
            let dropped = trace.dropped_requests;
            let name = format!("{dropped} requests that ended earlier are not kept");
            self.event(&Event {
                ph: "i",
                s: Some("t"),
                ts: Some(self.micros(begin)),
                ..on(LOOP, &name)
            })?;
        }
        for tick in &trace.ticks {
            self.slice(LOOP, "tick", (tick.began_at, tick.ended_at), None)?;
        }
        Ok(())
    }

    /// A task on the track of its connection, with its parts, and on that of its worker.
    fn draw_task(&mut self, task: &TaskTimes, track: u64, flow: usize) -> io::Result<()> {
        let end = end_of(task, self.trace);
        let (numbers, how) = (numbers(task), how_it_ended(task));
        let args = Some(Args::Task {
            conn: task.connection.serial(),
            first: task.first,
            requests: task.requests,
            worker: task.work.map(|work| work.worker),
            end: how,
        });
        let name = match how {
            "written" => numbers.clone(),
            other => format!("{numbers} ({other})"),
        };
        self.slice(track, &name, (task.framed_at, end), args)?;
        let Some(queued_at) = task.queued_at else {
            return match task.end {
                None => self.part(track, WAITING, (task.framed_at, end)),
                Some(_) => Ok(()),
            };
        };
        self.part(track, WAITING, (task.framed_at, queued_at))?;
        let started_at = task.work.map(|work| work.started_at);
        self.part(track, QUEUED, (queued_at, started_at.unwrap_or(end)))?;
        let Some(Work {
            worker,
            started_at,
            finished_at,
            ..
        }) = task.work
        else {
            return Ok(());
        };
        self.arrow("s", track, queued_at, flow)?;
        let worked = (started_at, finished_at.unwrap_or(end));
        let name = format!("conn {} {numbers}", task.connection);
        self.slice(track_of(worker), &name, worked, args)?;
        self.part(track, WORKING, worked)?;
        let Some(back_from) = finished_at.filter(|at| self.micros(*at) < self.micros(end)) else {
            return self.arrow("f", track_of(worker), started_at, flow);
        };
        self.arrow("t", track_of(worker), started_at, flow)?;
        self.part(track, BACK, (back_from, end))?;
        self.arrow("f", track, back_from, flow)
    }

    /// A part of a request. Viewers draw what begins together inside the longest of it, so one
    /// without length would come to lie in the part behind it: it is left out.
    fn part(&mut self, track: u64, name: &str, (from, to): (Instant, Instant)) -> io::Result<()> {
        match self.micros(from) < self.micros(to) {
            true => self.slice(track, name, (from, to), None),
            false => Ok(()),
        }
    }

    fn slice(
        &mut self,
        track: u64,
        name: &str,
        (from, to): (Instant, Instant),
        args: Option<Args<'_>>,
    ) -> io::Result<()> {
        let (from, to) = (self.micros(from), self.micros(to));
        self.event(&Event {
            ph: "X",
            ts: Some(from),
            dur: Some(to - from),
            args,
            ..on(track, name)
        })
    }

    /// One end of an arrow, or a place where it passes: at the last slice of that track which
    /// begins then.
    fn arrow(&mut self, ph: &'static str, track: u64, at: Instant, flow: usize) -> io::Result<()> {
        self.event(&Event {
            ph,
            ts: Some(self.micros(at)),
            id: Some(flow),
            cat: Some("task"),
            bp: (ph == "f").then_some("e"),
            ..on(track, "task")
        })
    }

    fn name_track(&mut self, track: u64, name: &str) -> io::Result<()> {
        let sort_index = track;
        self.about(track, "thread_name", Args::Name { name })?;
        self.about(track, "thread_sort_index", Args::Order { sort_index })
    }

    fn about(&mut self, track: u64, what: &str, args: Args<'_>) -> io::Result<()> {
        self.event(&Event {
            ph: "M",
            args: Some(args),
            ..on(track, what)
        })
    }

    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let between: &[u8] = if self.is_first { b"\n" } else { b",\n" };
        self.is_first = false;
        self.out.write_all(between)?;
        Ok(serde_json::to_writer(&mut self.out, event)?)
    }

    /// Since the server's start, in eighths of a microsecond: binary fractions, with which viewers
    /// count without rounding. So what ends together here ends together there.
    fn micros(&self, at: Instant) -> f64 {
        let since = at.saturating_duration_since(self.trace.started_at);
        (since.as_nanos() / MOMENT.as_nanos()) as f64 / 8.0
    }
}

// The four parts of a request.
const WAITING: &str = "waiting for a slot";
const QUEUED: &str = "queued";
const WORKING: &str = "working";
const BACK: &str = "on its way back";

/// `#7`, or `#7-9` where several travel together.
fn numbers(task: &TaskTimes) -> String {
    match task.requests {
        1 => format!("#{}", task.first),
        requests => format!("#{}-{}", task.first, task.first + requests as u64 - 1),
    }
}

fn how_it_ended(task: &TaskTimes) -> &'static str {
    match task.end {
        None => "unfinished",
        Some(TaskEnd::Dropped(_)) => "its connection had gone",
        Some(_) if task.queued_at.is_none() => "answered by the event loop",
        Some(_) => "written",
    }
}

/// What has not ended goes on until the trace was taken.
fn end_of(task: &TaskTimes, trace: &Trace) -> Instant {
    task.end.map_or(trace.taken_at, TaskEnd::at)
}

fn track_of(worker: usize) -> u64 {
    FIRST_WORKER + worker as u64
}

fn on(track: u64, name: &str) -> Event<'_> {
    Event {
        pid: SERVER,
        tid: track,
        name,
        ..Event::default()
    }
}

/// Tracks of one connection: each takes what comes after its last slice.
#[derive(Default)]
struct Lanes {
    count: u64,
    /// Those with a slice that may not be over, by its end.
    taken: BinaryHeap<Reverse<(Instant, u64)>>,
    free: BinaryHeap<Reverse<u64>>,
}

struct Lane {
    number: u64,
    is_new: bool,
}

impl Lanes {
    /// The first lane that is free from then on; slices come in the order of their begin. One
    /// without length keeps its lane for a moment, too.
    fn take(&mut self, from: Instant, to: Instant) -> Lane {
        let to = to.max(from + MOMENT);
        while let Some(Reverse((end, number))) = self.taken.peek().copied()
            && end <= from
        {
            self.taken.pop();
            self.free.push(Reverse(number));
        }
        let free = self.free.pop().map(|Reverse(number)| number);
        let number = free.unwrap_or(self.count);
        self.count = self.count.max(number + 1);
        self.taken.push(Reverse((to, number)));
        Lane {
            number,
            is_new: free.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_a_lane_never_overlap_and_the_first_free_lane_is_taken() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lanes = Lanes::default();
        let mut take = |from, to| {
            let Lane { number, is_new } = lanes.take(at(from), at(to));
            (number, is_new)
        };
        assert_eq!(take(0, 10), (0, true));
        assert_eq!(take(0, 30), (1, true));
        assert_eq!(take(5, 6), (2, true));
        assert_eq!(take(10, 11), (0, false));
        assert_eq!(take(10, 12), (2, false));
        assert_eq!(take(30, 30), (0, false));
        // Viewers would draw it inside the other one.
        assert_eq!(take(30, 40), (1, false));
        assert_eq!(lanes.count, 3);
    }
}
