//! What the reference keeps of a connection: the client with its socket, and the places of its
//! order.
//!
//! Knows nothing of the engine but ids and limits of time.
//!
//! Rule: each place is opened for one cut of the stream, and is answered once.

use super::super::reference::Cut;
use super::LINGER_TIMEOUT;
use reactor_pool::task::ConnectionId;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// One place in the order of the served connection.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) cut: Cut,
    pub(super) framed_at: Instant,
    pub(super) state: State,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Submitted,
    Answered(Vec<u8>),
}

/// A client and its socket.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: ConnectionId,
    /// Sent by the client, not yet read by the server.
    pub(super) network: VecDeque<u8>,
    pub(super) half_closed: bool,
    /// Bytes that its socket still takes.
    pub(super) window: usize,
    pub(super) readable: bool,
    pub(super) end_read: bool,
    /// All that reached it.
    pub(super) received: Vec<u8>,
    /// When the server shut its sending side.
    pub(super) shut_at: Option<Instant>,
    /// When it was told goodbye before its time.
    pub(super) farewell_at: Option<Instant>,
}

/// What the reference knows about the connection that is served.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) client: Client,
    /// All that the engine was given to frame.
    pub(super) stream: Vec<u8>,
    pub(super) cuts: Vec<Cut>,
    /// Every place ever opened; those before `left` have left.
    pub(super) places: Vec<Place>,
    pub(super) left: usize,
    /// What must have gone out, or be about to.
    pub(super) output: Vec<u8>,
    pub(super) last_progress: Instant,
    /// Bytes that the engine has been told were taken.
    pub(super) taken: usize,
    pub(super) last_slot_at: Instant,
    /// Nothing more is framed: it was idle, or the server is stopping.
    pub(super) is_cut_off: bool,
    /// It was idle with unsent bytes: to be closed without a word.
    pub(super) is_given_up: bool,
}

impl Client {
    pub(super) fn new(id: ConnectionId) -> Client {
        Client {
            id,
            network: VecDeque::new(),
            half_closed: false,
            window: 100,
            readable: false,
            end_read: false,
            received: Vec::new(),
            shut_at: None,
            farewell_at: None,
        }
    }

    /// Whether the time is over in which it may take its last words.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let since = self.shut_at.or(self.farewell_at);
        since.is_some_and(|since| since + LINGER_TIMEOUT <= now)
    }
}

impl Served {
    pub(super) fn new(id: ConnectionId, now: Instant) -> Served {
        Served {
            client: Client::new(id),
            stream: Vec::new(),
            cuts: Vec::new(),
            places: Vec::new(),
            left: 0,
            output: Vec::new(),
            last_progress: now,
            taken: 0,
            last_slot_at: now,
            is_cut_off: false,
            is_given_up: false,
        }
    }

    pub(super) fn in_flight(&self) -> &[Place] {
        &self.places[self.left..]
    }

    pub(super) fn oldest_waiting(&mut self) -> Option<&mut Place> {
        let mut in_flight = self.places[self.left..].iter_mut();
        in_flight.find(|place| place.state == State::Waiting)
    }

    pub(super) fn request_bytes(&self) -> usize {
        let places = self.in_flight().iter();
        places.map(|place| line_bytes(&place.cut)).sum()
    }

    pub(super) fn waiting(&self) -> usize {
        let is_waiting = |place: &&Place| place.state == State::Waiting;
        self.in_flight().iter().filter(is_waiting).count()
    }

    /// Promise 4: it has waited so long since it was framed, and since the last slot.
    pub(super) fn busy_deadline(&mut self, busy_timeout: Duration) -> Option<Instant> {
        let last_slot_at = self.last_slot_at;
        let waiting = self.oldest_waiting()?;
        Some(waiting.framed_at.max(last_slot_at) + busy_timeout)
    }

    /// Promise 8: no progress for so long, unless something is pending or its end has begun.
    pub(super) fn idle_deadline(&self, idle_timeout: Duration) -> Option<Instant> {
        let has_ended = self.client.shut_at.or(self.client.farewell_at).is_some();
        // A drain has a timeout of its own.
        let is_on = !has_ended && !self.is_cut_off && self.in_flight().is_empty();
        let is_on = is_on && !idle_timeout.is_zero();
        is_on.then(|| self.last_progress + idle_timeout)
    }

    /// Moves the answered front out of the order.
    pub(super) fn leave(&mut self, now: Instant) {
        let before = self.left;
        while let Some(place) = self.places.get(self.left) {
            let State::Answered(line) = &place.state else {
                break;
            };
            self.output.extend_from_slice(line);
            self.left += 1;
        }
        if self.left > before && self.in_flight().is_empty() {
            self.last_progress = now;
        }
    }
}

pub(super) fn line_bytes(cut: &Cut) -> usize {
    match cut {
        Cut::Line(line) => line.len(),
        Cut::TooLong | Cut::Incomplete | Cut::Foreign(_) => 0,
    }
}
