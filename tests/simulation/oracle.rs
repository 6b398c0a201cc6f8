//! One connection as PROTOCOL says it should be: what is framed, pending, written, refused and
//! closed.
//!
//! Knows the bytes that went in, the times, and what the queue and the workers did; never what the
//! engine thinks.
//!
//! Rule: it foretells, so that the engine's every step and every unsent byte can be compared.

mod actions;
mod deadlines;
mod places;
mod runs;

use crate::answers;
use crate::framing::{Cut, Cutter, Framing};
use crate::header::Header;
use crate::settings::{Counts, Settings};
pub(crate) use actions::CLOSE;
use deadlines::LINGER_TIMEOUT;
use reactor_pool::Peer;
use reactor_pool::engine::UNSENT_LIMIT_BYTES;
use reactor_pool::task::ConnectionId;
pub(crate) use runs::Run;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Promise 3: how much is discarded of what still comes; what comes beyond waits in the socket.
const LINGER_LIMIT_BYTES: usize = 64 << 20;
/// What unsent responses cost besides their bytes, if their requests were framed at one time:
/// their numbers, when that was, and where they end.
const NOTE_BYTES: usize = size_of::<(u64, u64, Instant, u64)>();

/// One read takes at most so much.
const CHUNK_BYTES: usize = 65_536;

/// A framed request whose response has not yet its turn to be written.
#[derive(Debug)]
struct Place {
    cut: Cut,
    framed_at: Instant,
    state: State,
    /// What follows its response and answers nothing.
    words: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Queued,
    Running,
    Answered(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The header of its proxy comes first.
    Header {
        by: Instant,
    },
    Serving,
    Closing(Closing),
    Lingering {
        is_draining: bool,
        left_bytes: usize,
    },
    Over,
}

/// Why nothing more is read, while what is pending is answered and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// The server stops.
    Drain,
    /// Nothing that comes can be a request any more.
    Last,
    /// It has been told goodbye, and has until then to take that.
    Farewell { by: Instant },
}

#[derive(Debug)]
pub(crate) struct Oracle {
    framing: Rc<dyn Framing>,
    max_line: usize,
    max_inflight: usize,
    max_run: usize,
    max_parallel: usize,
    /// Tasks of it that are queued, run, or come back.
    in_flight: usize,
    /// The task that is there runs alone.
    alone_in_flight: bool,
    /// When its requests were last held back no more by that.
    released_at: Option<Instant>,
    /// Longer requests are not quick.
    quick_bytes: usize,
    busy_timeout: Duration,
    idle_timeout: Duration,
    request_timeout: Duration,
    min_read_rate: u64,
    phase: Phase,
    pub(crate) opened_at: Instant,
    /// It came when the connection limit was reached.
    pub(crate) is_refused: bool,
    /// Who it is told to be, once somebody is told of it.
    pub(crate) peer: Option<Peer>,
    /// What it has to begin with, and how much of that has come.
    header: Option<Header>,
    header_read: usize,
    header_timeout: Duration,
    /// The address that it names has as many connections as it may.
    pub(crate) is_address_full: bool,
    /// What that may have in flight, zero for no limit.
    max_inflight_per_address: usize,
    /// All that was read to be served, and whether its end was read.
    stream: Vec<u8>,
    end_read: bool,
    cutter: Box<dyn Cutter>,
    /// Whether its client is to go on with what it has begun is not decided yet.
    interim_is_due: bool,
    /// Cut, but not framed for want of room; with where each ends in the stream.
    unframed: VecDeque<(Cut, usize)>,
    /// Where in the stream the last framed one ends.
    framed_until: usize,
    places: VecDeque<Place>,
    /// Places that have left: the sequence number of the first place is one more.
    left: u64,
    /// All that should have been written or be unsent.
    output: Vec<u8>,
    sent: usize,
    /// The unsent responses to requests that were framed at one time: when that was, how many they
    /// are, and where they end in `output`.
    notes: VecDeque<(Instant, u64, usize)>,
    last_progress: Instant,
    /// When the first byte of the request that is begun came, or something was written since.
    begun_at: Instant,
    /// Bytes of `output` that the client is known to have taken.
    taken: usize,
    /// When the engine has to look at the latest whether it takes more.
    check_due: Option<Instant>,
    /// How many bytes its client is behind the least rate, when that was counted, and how much it
    /// had taken then.
    arrears: Option<(u64, Instant, usize)>,
    looked_at: Option<Instant>,
    /// It is idle, unless so many bytes bring a request: they had come before that was judged.
    /// Beside them, how many more count that come while those are read.
    idle_unless: Option<(usize, usize)>,
    /// Nobody has tried to read it since that was judged.
    pub(crate) is_read_due: bool,
    last_slot_at: Instant,
    /// Its end was read before the input was cut off.
    ended_by_client: bool,
    /// The stop or a goodbye cut the input off: what was not framed by then has no answer.
    cut_off: bool,
    /// Promise 4: connections that had a turn for slots while this one waited, since it had its
    /// last.
    passed_for_slots: Vec<ConnectionId>,
    /// Promise 7: connections of which a worker took a task since this one has one queued or had
    /// its turn.
    passed_for_workers: Vec<ConnectionId>,
    pub(crate) counts: Counts,
}

impl Oracle {
    pub(crate) fn new(settings: &Settings, now: Instant) -> Oracle {
        let config = &settings.config;
        Oracle {
            framing: Rc::clone(&settings.framing),
            max_line: config.max_line,
            max_inflight: config.max_inflight,
            max_run: config.max_run,
            max_parallel: config.max_parallel,
            in_flight: 0,
            alone_in_flight: false,
            released_at: None,
            quick_bytes: settings.quick_bytes,
            busy_timeout: config.busy_timeout,
            idle_timeout: config.idle_timeout,
            request_timeout: config.request_timeout,
            min_read_rate: config.min_read_rate as u64,
            phase: Phase::Serving,
            opened_at: now,
            is_refused: false,
            peer: Some(Peer::Unix),
            header: None,
            header_read: 0,
            header_timeout: config.proxy_header_timeout,
            is_address_full: false,
            max_inflight_per_address: config.max_inflight_per_address,
            stream: Vec::new(),
            end_read: false,
            cutter: settings.framing.cutter(),
            interim_is_due: false,
            unframed: VecDeque::new(),
            framed_until: 0,
            places: VecDeque::new(),
            left: 0,
            output: Vec::new(),
            sent: 0,
            notes: VecDeque::new(),
            last_progress: now,
            begun_at: now,
            taken: 0,
            check_due: None,
            arrears: None,
            looked_at: None,
            idle_unless: None,
            is_read_due: false,
            last_slot_at: now,
            ended_by_client: false,
            cut_off: false,
            passed_for_slots: Vec::new(),
            passed_for_workers: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Bytes that one connection may hold at most: the beginning of a request; the rest of a read;
    /// the requests in flight; their responses; unsent output.
    pub(crate) fn memory_bound(settings: &Settings) -> usize {
        let (config, framing) = (&settings.config, &settings.framing);
        let response = answers::MAX_RESPONSE_BYTES + framing.overhead() + NOTE_BYTES;
        framing.max_partial_bytes()
            + CHUNK_BYTES
            + framing.limit().max(2 * config.max_line)
            + config.max_inflight * response
            + UNSENT_LIMIT_BYTES
    }

    // What happened.

    pub(crate) fn refuse_connection(&mut self, now: Instant) {
        self.is_refused = true;
        self.peer = None;
        self.farewell(answers::TOO_MANY, now);
    }

    /// Nobody is told of it until that has come.
    pub(crate) fn await_header(&mut self, header: Header, now: Instant) {
        self.peer = None;
        self.header = Some(header);
        let by = now + self.header_timeout;
        self.phase = Phase::Header { by };
    }

    /// How many of these bytes belong to the header.
    fn header_received(&mut self, bytes: &[u8], now: Instant) -> usize {
        let header = self.header.as_ref().expect("one is awaited");
        let count = bytes.len().min(header.known_after - self.header_read);
        let come = &header.bytes[self.header_read..][..count];
        assert_eq!(&bytes[..count], come, "the header is read as it was sent");
        let is_part = self.header_read > 0;
        self.header_read += count;
        if self.header_read < header.known_after {
            return count;
        }
        if header.is_valid {
            self.counts.introduced += 1;
            self.counts.introduced_by_parts += u64::from(is_part);
            let client = header.client;
            self.phase = Phase::Serving;
            self.last_progress = now;
            self.idle_unless = None;
            if self.is_address_full {
                self.counts.too_many_per_address += 1;
                self.is_refused = true;
                self.farewell(answers::TOO_MANY, now);
                return count;
            }
            self.peer = Some(client.map_or(Peer::Unix, Peer::Tcp));
            if client.is_some() && self.max_inflight_per_address > 0 {
                self.max_inflight = self.max_inflight.min(self.max_inflight_per_address);
            }
        } else {
            self.counts.headers_broken += 1;
            self.farewell(answers::NO_HEADER, now);
        }
        count
    }

    pub(crate) fn received(&mut self, bytes: &[u8], now: Instant) {
        let mut bytes = bytes;
        if matches!(self.phase, Phase::Header { .. }) {
            if let Some((left, _)) = &mut self.idle_unless {
                *left = left.saturating_sub(bytes.len());
            }
            bytes = &bytes[self.header_received(bytes, now)..];
            if bytes.is_empty() || self.phase != Phase::Serving {
                return;
            }
        }
        self.stream.extend_from_slice(bytes);
        if let Some((left, _)) = &mut self.idle_unless {
            *left = left.saturating_sub(bytes.len());
        }
        let was_begun = self.cutter.is_begun();
        let was_due = self.request_deadline().is_some_and(|by| by <= now);
        self.cutter.add(bytes, &mut self.unframed);
        if !was_begun {
            self.begun_at = now;
        }
        self.counts.whole_at_last += u64::from(was_due && !self.unframed.is_empty());
        self.interim_is_due = true;
        self.settle(now);
    }

    pub(crate) fn received_end(&mut self, now: Instant) {
        self.end_read = true;
        if matches!(self.phase, Phase::Header { .. }) && self.header_read > 0 {
            self.counts.headers_ended += 1;
            self.farewell(answers::NO_HEADER, now);
        }
        if self.phase == Phase::Serving {
            self.ended_by_client = true;
            self.cutter.end(&mut self.unframed);
        }
        self.settle(now);
    }

    pub(crate) fn discarded(&mut self, count: usize) {
        let Phase::Lingering { left_bytes, .. } = &mut self.phase else {
            panic!("discarded, but it does not linger");
        };
        *left_bytes = left_bytes.saturating_sub(count);
        self.counts.linger_limits += u64::from(*left_bytes == 0);
    }

    pub(crate) fn sent(&mut self, count: usize, now: Instant) {
        self.sent += count;
        while let Some((_, responses, end)) = self.notes.front()
            && *end <= self.sent
        {
            self.counts.written += responses;
            self.notes.pop_front();
        }
        self.wrote(now);
        self.settle(now);
        self.expect_check(now);
        self.begin_arrears(now);
    }

    fn wrote(&mut self, now: Instant) {
        (self.last_progress, self.begun_at) = (now, now);
    }

    pub(crate) fn shut_down(&mut self, now: Instant) {
        self.phase = Phase::Lingering {
            is_draining: self.phase == Phase::Closing(Closing::Drain),
            left_bytes: LINGER_LIMIT_BYTES,
        };
        self.last_progress = now;
        self.expect_check(now);
    }

    pub(crate) fn stop(&mut self, now: Instant) {
        match self.phase {
            Phase::Header { .. } | Phase::Serving => {
                self.cut_off = true;
                self.cut_input_off(Closing::Drain);
            }
            Phase::Closing(Closing::Last) => self.phase = Phase::Closing(Closing::Drain),
            Phase::Closing(_) | Phase::Lingering { .. } | Phase::Over => {}
        }
        self.settle(now);
    }

    /// A queue slot was given to the request `sequence`.
    pub(crate) fn slot_given(&mut self, sequence: u64, now: Instant) {
        if !self.has_queued() {
            self.passed_for_workers.clear();
        }
        let first = self.first(&State::Waiting);
        assert_eq!(
            first,
            Some(sequence),
            "promise 2: slots go to the oldest request first"
        );
        self.place(sequence).state = State::Queued;
        self.last_slot_at = now;
        self.passed_for_slots.clear();
    }

    /// A worker took so many requests, the first of which is `first`.
    pub(crate) fn started(&mut self, first: u64, requests: usize) {
        for sequence in first..first + requests as u64 {
            assert_eq!(
                self.first(&State::Queued),
                Some(sequence),
                "a worker took a request, but not the oldest queued"
            );
            self.place(sequence).state = State::Running;
        }
        self.passed_for_workers.clear();
    }

    /// A task of it is about to be queued.
    pub(crate) fn task_queued(&mut self) {
        assert!(!self.is_held_back(), "more of it run at a time than may");
        self.in_flight += 1;
        self.alone_in_flight = self.next_runs_alone();
        self.counts.alone += u64::from(self.alone_in_flight);
    }

    /// The responses of one task came back together; `panicked` says of each whether the handler
    /// did.
    pub(crate) fn completed(&mut self, first: u64, panicked: &[bool], now: Instant) {
        if self.is_held_back() {
            self.released_at = Some(now);
        }
        self.in_flight -= 1;
        self.alone_in_flight = false;
        for (sequence, panicked) in (first..).zip(panicked) {
            self.answered(sequence, *panicked);
        }
        let (mixed, all) = (panicked.contains(&true), !panicked.contains(&false));
        self.counts.runs_with_panics += u64::from(mixed && !all);
        self.settle(now);
        self.expect_check(now);
        self.begin_arrears(now);
    }

    fn answered(&mut self, sequence: u64, panicked: bool) {
        let place = self.place(sequence);
        assert_eq!(
            place.state,
            State::Running,
            "promise 1: answered twice, or never started"
        );
        let Cut::Request(payload) = &place.cut else {
            panic!("{:?} was run", place.cut);
        };
        let text = (!panicked).then(|| answers::answer(payload));
        let response = text.and_then(|text| self.framing.response(&text));
        self.counts.internal += u64::from(response.is_none());
        self.counts.unsayable += u64::from(response.is_none() && !panicked);
        let response = response.unwrap_or_else(|| self.refusal(answers::INTERNAL));
        self.place(sequence).state = State::Answered(response);
    }

    // What follows.

    /// Promise 5: what has been read is framed, as far as the bounds allow.
    fn settle(&mut self, now: Instant) {
        loop {
            let had_places = !self.places.is_empty();
            while let Some(Place {
                state: State::Answered(response),
                ..
            }) = self.places.front_mut()
            {
                let response = std::mem::take(response);
                let place = self.places.pop_front().expect("it was found just now");
                self.left += 1;
                self.write_response(&response, place.framed_at);
                self.output.extend(place.words);
            }
            if had_places && self.places.is_empty() {
                self.wrote(now);
            }
            let before = self.places.len();
            while self.has_room() {
                let Some((cut, end)) = self.unframed.pop_front() else {
                    break;
                };
                self.framed_until = end;
                self.open(cut, now);
            }
            if self.interim_is_due && self.unframed.is_empty() && self.has_places() {
                self.interim_is_due = false;
                self.tell_to_go_on(now);
            }
            if self.places.len() == before {
                return;
            }
        }
    }

    fn has_room(&self) -> bool {
        let next = self.unframed.front();
        let next_bytes = next.map_or(0, |(cut, _)| cut.payload_bytes());
        let is_within = self.request_bytes() + next_bytes <= 2 * self.max_line;
        self.has_places() && (is_within || next_bytes == 0 || self.places.is_empty())
    }

    fn has_places(&self) -> bool {
        self.places.len() < self.max_inflight && self.unsent_weight() <= UNSENT_LIMIT_BYTES
    }

    /// The client may wait to hear that it is to go on with what it has begun.
    fn tell_to_go_on(&mut self, now: Instant) {
        let partial = self.cutter.partial();
        let words = match partial.is_empty() || self.phase != Phase::Serving {
            true => b"",
            false => self.framing.interim(partial),
        };
        if words.is_empty() {
            return;
        }
        self.counts.interims += 1;
        match self.places.back_mut() {
            Some(last) => last.words.extend(words),
            None => {
                self.output.extend(words);
                self.wrote(now);
            }
        }
    }

    fn open(&mut self, cut: Cut, now: Instant) {
        self.check_due = None;
        let state = match &cut {
            Cut::Request(payload) => {
                self.counts.framed += 1;
                self.counts.large_alone += u64::from(payload.len() > 2 * self.max_line);
                if self.framing.is_last(payload) {
                    self.counts.last += 1;
                    self.cut_input_off(Closing::Last);
                }
                State::Waiting
            }
            Cut::TooLong { is_last } => {
                self.counts.too_long += 1;
                if *is_last {
                    self.counts.out_of_step += 1;
                    self.cut_input_off(Closing::Last);
                }
                State::Answered(self.refusal(&answers::too_long(self.framing.limit())))
            }
            Cut::Incomplete => {
                self.counts.incomplete += 1;
                State::Answered(self.refusal(answers::INCOMPLETE))
            }
        };
        self.places.push_back(Place {
            cut,
            framed_at: now,
            state,
            words: Vec::new(),
        });
    }

    fn farewell(&mut self, words: &[u8], now: Instant) {
        assert!(self.places.is_empty(), "a goodbye before the last answer");
        let by = now + LINGER_TIMEOUT;
        self.cut_off = true;
        self.cut_input_off(Closing::Farewell { by });
        let goodbye = self.refusal(words);
        self.write_response(&goodbye, now);
        self.last_progress = now;
    }

    /// Writes the response to what was framed then.
    fn write_response(&mut self, response: &[u8], framed_at: Instant) {
        self.output.extend_from_slice(response);
        let end = self.output.len();
        match self.notes.back_mut().filter(|(at, ..)| *at == framed_at) {
            Some((_, responses, at)) => (*responses, *at) = (*responses + 1, end),
            None => self.notes.push_back((framed_at, 1, end)),
        }
    }

    /// A refusal in the words of the server.
    fn refusal(&self, words: &[u8]) -> Vec<u8> {
        let refusal = self.framing.response(words);
        refusal.expect("every refusal is short enough")
    }

    fn cut_input_off(&mut self, closing: Closing) {
        self.phase = Phase::Closing(closing);
        self.check_due = self.check_due.filter(|_| closing == Closing::Drain);
        self.unframed.clear();
        self.cutter.forget();
    }
}
