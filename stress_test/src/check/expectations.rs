//! The right answer to any frame of the run, and the frame that a stray answer belongs to.
//!
//! Joins the workload (what is asked) and the oracle (what is right); knows no connection's state.
//!
//! Rule: nothing is stored per request: both sides are written anew, into the same two buffers,
//! unless whoever asks has the request still.

use std::mem;
use std::ops::Range;

use crate::check::failure::Sender;
use crate::check::http_answer;
use crate::check::oracle;
use crate::check::sent::Sent;
use crate::load::frame::{Frame, tagged_frame};
use crate::load::http::HttpExchange;
use crate::load::plan::{Plan, Requests};
use crate::load::template::{Exchange, Template};
use crate::load::workload::Workload;
use crate::wire::{AnswerEnd, Limits, LineEnding};

/// An untagged answer (a digest) is looked for among so many of the last frames of each client.
const SEARCHED_FRAMES: u32 = 256;
/// So many frames are looked through in one run; after that, untagged strays stay unnamed.
const SEARCH_BUDGET: u32 = 4_000_000;
/// An OK of so many bytes has enough of its frame in it to be told from the answers to others.
const DISTINCTIVE_BYTES: usize = 12;

/// Whatever the longest request is, errors have no more bytes than this.
const LONGEST_ERROR_BYTES: usize = 128;

/// Stands for the body over HTTP until the first one has come. No status 200 is compared with it,
/// as that one is the first.
const UNKNOWN_BODY: &[u8] = b"and any body";

/// Every request and every right answer of a run.
#[derive(Debug)]
pub(crate) struct Expectations {
    source: Source,
    hogs: Range<u32>,
    /// How many frames each client and hog has sent so far, those of other loops too.
    sent: Sent,
    search_budget: u32,
    /// Scratch: the answer that was written last.
    answer: Vec<u8>,
}

/// Where requests and their right answers come from.
#[derive(Debug)]
enum Source {
    /// The workloads ask, and the oracle knows what is right.
    Protocol(Box<Protocol>),
    /// Both are spelled out, for every client alike.
    Template(Exchange),
    /// The same, and an answer is its status, a space and its body.
    Http(HttpExchange),
}

#[derive(Debug)]
struct Protocol {
    of_clients: Workload,
    of_hogs: Workload,
    hogs: Range<u32>,
    limits: Limits,
    /// Scratch: the request that was written last.
    request: Vec<u8>,
}

impl Protocol {
    fn workload(&self, client: u32) -> &Workload {
        if self.hogs.contains(&client) {
            &self.of_hogs
        } else {
            &self.of_clients
        }
    }

    fn append_answer(&mut self, frame: Frame, answer: &mut Vec<u8>) {
        let limits = self.limits;
        let (request, ending) = self.request(frame);
        oracle::append_answer(limits, request, ending, answer);
    }

    /// The request of `frame`, written anew, and how it ends.
    fn request(&mut self, frame: Frame) -> (&[u8], LineEnding) {
        let mut request = mem::take(&mut self.request);
        request.clear();
        let workload = self.workload(frame.client);
        let ending = workload.append_request(frame, &mut request);
        self.request = request;
        (&self.request, ending)
    }
}

impl Expectations {
    /// The expectations of `plan`, in which so much has been `sent`.
    pub(crate) fn new(plan: &Plan, sent: Sent) -> Self {
        let source = match &plan.requests {
            Requests::Mixes { clients, hogs } => Source::Protocol(Box::new(Protocol {
                of_clients: Workload::of_clients(plan, *clients),
                of_hogs: Workload::of_hogs(plan, *hogs),
                hogs: plan.hog_numbers(),
                limits: plan.limits,
                request: Vec::new(),
            })),
            Requests::Template(exchange) => Source::Template(exchange.clone()),
            Requests::Http(exchange) => Source::Http(exchange.clone()),
        };
        Self {
            source,
            hogs: plan.hog_numbers(),
            sent,
            search_budget: SEARCH_BUDGET,
            answer: Vec::new(),
        }
    }

    /// Whose number `client` is.
    pub(crate) fn sender(&self, client: u32) -> Sender {
        if client < self.hogs.start {
            Sender::Client(client)
        } else if client < self.hogs.end {
            Sender::Hog(client - self.hogs.start)
        } else {
            Sender::Client(client - (self.hogs.end - self.hogs.start))
        }
    }

    /// Whether the last frame of `client` may have to be sent alone.
    pub(crate) fn last_frame_may_end_the_stream(&self, client: u32) -> bool {
        match &self.source {
            Source::Protocol(protocol) => {
                let workload = protocol.workload(client);
                workload.last_frame_may_end_the_stream()
            }
            Source::Template(_) | Source::Http(_) => false,
        }
    }

    /// Appends `frame` to what will be sent. Returns whether it ends the stream: its sender shuts
    /// the sending side down behind it.
    pub(crate) fn append_request(&mut self, frame: Frame, outbox: &mut Vec<u8>) -> bool {
        self.sent.at_least(frame.client, frame.sequence + 1);
        match &self.source {
            Source::Protocol(protocol) => {
                let workload = protocol.workload(frame.client);
                let start = outbox.len();
                let ending = workload.append_request(frame, outbox);
                ending.enclose(start, outbox);
                ending == LineEnding::Eof
            }
            Source::Template(exchange) => {
                exchange.send().append(frame, outbox);
                false
            }
            Source::Http(exchange) => {
                exchange.append_request(frame, outbox);
                false
            }
        }
    }

    /// Where answers end.
    pub(crate) fn answer_end(&self) -> AnswerEnd {
        match &self.source {
            Source::Protocol(protocol) => protocol.limits.framing.answer_end(),
            Source::Template(exchange) => exchange.answer_end(),
            Source::Http(_) => AnswerEnd::Head,
        }
    }

    /// No right answer has more bytes than this.
    pub(crate) fn longest_answer_bytes(&self) -> usize {
        match &self.source {
            // An OK is no longer than its request; an error may be, where lines are short.
            Source::Protocol(protocol) => protocol.limits.max_line_bytes + LONGEST_ERROR_BYTES,
            Source::Template(exchange) => exchange.expect().longest_bytes(),
            Source::Http(_) => http_answer::MOST_BODY_BYTES,
        }
    }

    /// The right answer to `frame`, without the LF that ends it or the length in front of it.
    pub(crate) fn answer(&mut self, frame: Frame) -> &[u8] {
        self.answer.clear();
        match &mut self.source {
            Source::Protocol(protocol) => protocol.append_answer(frame, &mut self.answer),
            Source::Template(exchange) => exchange.expect().append(frame, &mut self.answer),
            Source::Http(exchange) => {
                self.answer.extend_from_slice(http_answer::OK);
                if !exchange.append_body(frame, &mut self.answer) {
                    self.answer.extend_from_slice(UNKNOWN_BODY);
                }
            }
        }
        &self.answer
    }

    /// An answer has come over HTTP. The first right one says what body all others have, where
    /// nobody else does.
    pub(crate) fn learn(&self, answer: &[u8]) {
        if let Source::Http(exchange) = &self.source
            && let Some(body) = answer.strip_prefix(http_answer::OK)
        {
            exchange.learn(body);
        }
    }

    /// Whether `line` says that the server is too busy for the request.
    pub(crate) fn is_busy(&self, line: &[u8]) -> bool {
        match &self.source {
            Source::Protocol(_) | Source::Template(_) => line == oracle::BUSY,
            Source::Http(_) => line.starts_with(http_answer::BUSY),
        }
    }

    /// Whether `line` is the right answer to `frame`.
    pub(crate) fn is_answer(&mut self, frame: Frame, line: &[u8]) -> bool {
        self.answer_at_the_front(frame, None, line) == Some(line.len())
    }

    /// How long the right answer to `frame` is, if `bytes` begin with it. Of a frame that is a
    /// line, somebody may still have what was `sent`.
    #[inline(always)]
    pub(crate) fn answer_at_the_front(
        &mut self,
        frame: Frame,
        sent: Option<&[u8]>,
        bytes: &[u8],
    ) -> Option<usize> {
        if let Source::Protocol(protocol) = &mut self.source {
            let limits = protocol.limits;
            let (request, ending) = match sent {
                Some(sent) => {
                    let request = LineEnding::split_off(sent);
                    debug_assert_eq!(
                        request,
                        protocol.request(frame),
                        "it was sent for {frame:?}"
                    );
                    request
                }
                None => protocol.request(frame),
            };
            return oracle::answer_at_the_front(limits, request, ending, bytes, &mut self.answer);
        }
        let answer = self.answer(frame);
        bytes.starts_with(answer).then_some(answer.len())
    }

    /// Whether `line` can be told from the answers to other frames.
    pub(crate) fn is_distinctive(&self, line: &[u8]) -> bool {
        match &self.source {
            Source::Protocol(_) => line.len() >= DISTINCTIVE_BYTES && line.starts_with(b"OK "),
            Source::Template(exchange) => exchange.expect().varies(),
            Source::Http(exchange) => exchange.body().is_some_and(Template::varies),
        }
    }

    /// The frame that has been sent, by whichever client, and that `line` is the answer to;
    /// clients are searched from `nearest` on.
    pub(crate) fn whose(&mut self, line: &[u8], nearest: u32) -> Option<Frame> {
        if !self.is_distinctive(line) {
            return None;
        }
        if let Some(frame) = line.strip_prefix(b"OK ").and_then(tagged_frame)
            && let Some(sent) = self.sent.by(frame.client)
            && frame.sequence < sent
            && self.is_answer(frame, line)
        {
            return Some(frame);
        }
        self.search(line, nearest)
    }

    fn search(&mut self, line: &[u8], nearest: u32) -> Option<Frame> {
        let clients = self.sent.clients();
        for client in (nearest..clients).chain(0..nearest) {
            let sent = self.sent.by(client)?;
            for sequence in (sent.saturating_sub(SEARCHED_FRAMES)..sent).rev() {
                self.search_budget = self.search_budget.checked_sub(1)?;
                let frame = Frame { client, sequence };
                if self.is_answer(frame, line) {
                    return Some(frame);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::load::plan::tests::plan;
    use crate::load::plan::{Load, Mix};
    use crate::wire::Framing;

    fn sent(mix: Mix, frames: u32) -> Expectations {
        let plan = plan(mix);
        let nothing = Sent::none(plan.most_connections());
        let mut expectations = Expectations::new(&plan, nothing);
        for client in 0..4 {
            for sequence in 0..frames {
                expectations.append_request(Frame { client, sequence }, &mut Vec::new());
            }
        }
        expectations
    }

    #[test]
    fn a_stray_answer_is_traced_to_its_frame() {
        for mix in [Mix::Echo, Mix::Hash] {
            let mut expectations = sent(mix, 50);
            let mut traced = 0;
            for client in 0..4 {
                for sequence in 0..50 {
                    let frame = Frame { client, sequence };
                    let line = expectations.answer(frame).to_vec();
                    if expectations.is_distinctive(&line) {
                        assert_eq!(expectations.whose(&line, 1), Some(frame));
                        traced += 1;
                    }
                }
            }
            assert!(traced > 150, "{traced} of 200");
        }
    }

    #[test]
    fn what_was_not_sent_or_not_like_this_is_nobodys() {
        let mut expectations = sent(Mix::Echo, 50);
        let unsent = Frame {
            client: 1,
            sequence: 50,
        };
        let line = expectations.answer(unsent).to_vec();
        assert_eq!(expectations.whose(&line, 0), None);
        assert_eq!(expectations.whose(b"OK c1.f3.nothing like it", 0), None);
        assert_eq!(expectations.whose(b"OK c9999.f3.nothing like it", 0), None);
    }

    #[test]
    fn the_search_ends_when_its_budget_is_spent() {
        let mut expectations = sent(Mix::Hash, 50);
        expectations.search_budget = 100;
        assert_eq!(expectations.whose(b"OK 0123456789abcdef", 0), None);
        assert_eq!(expectations.search_budget, 0);
    }

    #[test]
    fn hogs_are_numbered_after_the_clients() {
        let expectations = sent(Mix::Echo, 1);
        assert_eq!(expectations.sender(2), Sender::Client(2));
        assert_eq!(expectations.sender(3), Sender::Hog(0));
        assert_eq!(
            expectations.sender(4),
            Sender::Client(3),
            "one that was added"
        );
    }

    /// How often each text of an answer to the last 100 requests of 20 clients occurs; each
    /// request is shown to `look` with its number and its ending.
    fn provoked(
        framing: Framing,
        mut look: impl FnMut(u32, &[u8], LineEnding),
    ) -> HashMap<&'static str, u32> {
        let mut plan = plan(Mix::Errors);
        plan.load = Load::Frames(2000);
        plan.limits.framing = framing;
        let workload = Workload::of_clients(&plan, Mix::Errors);
        let mut counts = HashMap::new();
        for client in 0..20 {
            for sequence in 1900..2000 {
                let mut line = Vec::new();
                let ending = workload.append_request(Frame { client, sequence }, &mut line);
                look(sequence, &line, ending);
                let mut answer = Vec::new();
                oracle::append_answer(plan.limits, &line, ending, &mut answer);
                let texts = [
                    "OK ",
                    "ERR empty request",
                    "ERR unknown op ",
                    "ERR SLEEP needs an integer from 0 to 10000",
                    TOO_LONG,
                    "ERR incomplete line",
                ];
                let mut texts = texts.into_iter();
                let text = texts.find(|text| answer.starts_with(text.as_bytes()));
                *counts.entry(text.expect("a known text")).or_default() += 1;
            }
        }
        counts
    }

    const TOO_LONG: &str = "ERR line too long (limit 1000 bytes)";

    #[test]
    fn every_error_of_the_protocol_is_provoked_and_no_line_holds_a_line_end() {
        let counts = provoked(Framing::Lines, |sequence, line, ending| {
            assert!(!line.contains(&b'\n') && ending != LineEnding::None);
            assert!(ending != LineEnding::Lf || !line.ends_with(b"\r"));
            assert!(ending != LineEnding::Eof || (sequence == 1999 && !line.is_empty()));
        });
        assert_eq!(counts.len(), 6, "{counts:?}");
        assert!(counts.values().all(|&count| count >= 5), "{counts:?}");
    }

    #[test]
    fn with_lengths_every_error_is_provoked_and_what_closes_the_connection_comes_last() {
        let (mut with_line_ends, mut longest) = (0, 0);
        let counts = provoked(Framing::Length, |sequence, request, ending| {
            if ending == LineEnding::Eof {
                assert!(sequence == 1999 && !request.is_empty());
                return;
            }
            assert_eq!(ending, LineEnding::None);
            with_line_ends += u32::from(request.contains(&b'\n') && request.contains(&b'\r'));
            longest = longest.max(request.len());
        });
        assert_eq!(counts.len(), 6, "{counts:?}");
        let closing = ["ERR incomplete line", TOO_LONG];
        for (text, count) in counts {
            let is_last = closing.contains(&text);
            assert!(is_last || count >= 50, "{text}: {count}");
        }
        assert!(with_line_ends > 50, "{with_line_ends}");
        assert_eq!(longest, 1000, "the longest that is no error is asked for");
    }
}
