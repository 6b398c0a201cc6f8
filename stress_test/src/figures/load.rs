//! What was asked for, as figures and in words.
//!
//! Knows the plan of a run; not what came of it.
//!
//! Rule: a run can be repeated from what stands here.

use serde::{Deserialize, Serialize};

use crate::load::plan::{Load, OpenLoop, Plan, Requests};
use crate::load::stages::Stage;
use crate::wire::Framing;

/// What a load is named that is no mix.
const TEMPLATE: &str = "template";
const HTTP: &str = "http";

/// What was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LoadFigures {
    /// `open` or `closed`.
    pub(crate) r#loop: String,
    /// Clients, each with a connection of its own.
    pub(crate) clients: u32,
    /// So many there might be in an open loop.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) most_clients: Option<u32>,
    /// Frames of each client, in a closed loop that counts them.
    pub(crate) frames: Option<u32>,
    /// Offered requests per second, in an open loop; of several stages the mean.
    pub(crate) rate_per_s: Option<f64>,
    /// The rates that followed each other, where there were several.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) stages: Vec<StageLoad>,
    /// `poisson` or `uniform`, in an open loop.
    pub(crate) arrivals: Option<String>,
    /// So many were due at the same time, where that was more than one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) burst: Option<u32>,
    /// How long requests were due, where time ended the load.
    pub(crate) duration_s: Option<f64>,
    /// What was due before was not measured.
    pub(crate) warmup_s: f64,
    /// Requests of one client under way at most.
    pub(crate) max_inflight: usize,
    /// What was asked for.
    pub(crate) mix: String,
    /// How requests and responses were told apart, where there was a mix.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) framing: Option<Framing>,
    /// Characters of a payload.
    pub(crate) payload: String,
    /// Milliseconds of a SLEEP.
    pub(crate) sleep_ms: String,
    /// What each request was, where it was no mix.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) send: Option<String>,
    /// What each answer had to be, where there was no mix.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) expect: Option<String>,
    /// How often a refused request was sent again.
    pub(crate) retries: u32,
    /// How long an answer was waited for.
    pub(crate) timeout_s: f64,
    /// Whether a connection that ended before its time was followed by another one.
    pub(crate) reconnect: bool,
    /// Pipelining clients beside.
    pub(crate) hogs: u32,
    /// Where the requests came from.
    pub(crate) seed: u64,
}

/// A rate for some time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct StageLoad {
    /// How long.
    pub(crate) duration_s: f64,
    /// Offered requests per second; 0 was a pause.
    pub(crate) rate_per_s: f64,
}

impl LoadFigures {
    /// What `plan` asks for.
    pub(crate) fn of(plan: &Plan) -> Self {
        let open = match &plan.load {
            Load::Rate(open) => Some(open),
            Load::Frames(_) | Load::Duration(_) => None,
        };
        let (mut send, mut expect) = (None, None);
        let mix = match &plan.requests {
            Requests::Mixes { clients, .. } => clients.to_string(),
            Requests::Template(exchange) => {
                send = Some(exchange.send().to_string());
                expect = Some(exchange.expect().to_string());
                TEMPLATE.to_owned()
            }
            Requests::Http(exchange) => {
                send = Some(format!("GET {}", exchange.path()));
                expect = exchange.body().map(ToString::to_string);
                HTTP.to_owned()
            }
        };
        Self {
            r#loop: if open.is_some() { "open" } else { "closed" }.to_owned(),
            clients: plan.clients,
            most_clients: open.map(|_| plan.most_clients),
            frames: plan.load.frames(),
            rate_per_s: open.map(OpenLoop::rate),
            stages: stages(plan.load.stages()),
            arrivals: open.map(|open| open.arrivals.to_string()),
            burst: open.map(|open| open.burst).filter(|&burst| burst > 1),
            duration_s: plan.load.duration().map(|duration| duration.as_secs_f64()),
            warmup_s: plan.warmup.as_secs_f64(),
            max_inflight: plan.max_inflight,
            mix,
            framing: send.is_none().then_some(plan.limits.framing),
            payload: plan.payload.to_string(),
            sleep_ms: plan.sleep_ms.to_string(),
            send,
            expect,
            retries: plan.retries,
            timeout_s: plan.timeout.as_secs_f64(),
            reconnect: plan.reconnect,
            hogs: plan.hogs,
            seed: plan.seed,
        }
    }

    /// How requests were spread in an open loop.
    pub(crate) fn arrivals_in_words(&self) -> String {
        let arrivals = self.arrivals.as_deref().unwrap_or_default();
        match self.burst {
            Some(burst) => format!("{arrivals}, {burst} at a time"),
            None => arrivals.to_owned(),
        }
    }

    /// Each stage as it is spelled on the command line.
    pub(crate) fn stages_in_words(&self) -> String {
        let stages = self.stages.iter();
        let stages = stages.map(|stage| format!("{}s:{}", stage.duration_s, stage.rate_per_s));
        stages.collect::<Vec<_>>().join(",")
    }

    /// How many clients do how much.
    pub(crate) fn amount_in_words(&self) -> String {
        let clients = self.clients;
        let most = self.most_clients.filter(|&most| most > clients);
        match (self.rate_per_s, self.frames, self.duration_s) {
            (Some(rate), _, Some(seconds)) => {
                let arrivals = self.arrivals_in_words();
                let to_most = most.map_or_else(String::new, |most| format!(" to {most}"));
                let rates = self.stages.iter().map(|stage| stage.rate_per_s);
                let what = match rates.clone().reduce(f64::min).zip(rates.reduce(f64::max)) {
                    Some((least, most)) => {
                        let count = self.stages.len();
                        format!("{count} stages of {least} to {most} requests/s")
                    }
                    None => format!("{rate} requests/s"),
                };
                format!("{what} ({arrivals}) for {seconds} s over {clients}{to_most} clients")
            }
            (_, Some(frames), _) => format!("{clients} clients x {frames} frames"),
            (_, _, Some(seconds)) => format!("{clients} clients for {seconds} s"),
            _ => format!("{clients} clients"),
        }
    }

    /// What was asked for, and how much of it.
    pub(crate) fn in_words(&self) -> String {
        match (&self.send, &self.expect) {
            (Some(get), None) => return format!("{get}, expect status 200 and the first body"),
            (Some(get), Some(body)) if self.mix == HTTP => {
                return format!("{get}, expect status 200 and '{body}'");
            }
            (Some(send), Some(expect)) => return format!("send '{send}' expect '{expect}'"),
            (None, _) => {}
        }
        let mut text = format!("mix {}, payload {} bytes", self.mix, self.payload);
        if !matches!(self.mix.as_str(), "echo" | "hash") {
            text += &format!(", sleep {} ms", self.sleep_ms);
        }
        if let Some(framing) = self.framing {
            text += &format!(", framing {framing}");
        }
        text
    }
}

/// What is to be said of `stages`: one is told by the rate and the duration.
fn stages(stages: &[Stage]) -> Vec<StageLoad> {
    let several = if stages.len() > 1 { stages } else { &[] };
    let loads = several.iter().map(|stage| StageLoad {
        duration_s: stage.duration.as_secs_f64(),
        rate_per_s: stage.rate,
    });
    loads.collect()
}
