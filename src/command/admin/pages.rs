//! Which path is answered by what.
//!
//! Knows HTTP as far as a method, a path and a query; where the answers come from.
//!
//! Rule: only GET and HEAD, and nothing that is asked changes anything.

use super::asker::Asker;
use super::metrics::{self, Scrape};
use super::{Facts, health, json, page};
use crate::process;
use reactor_pool::codec::http1::{self, respond_with};
use reactor_pool::config::Limit;
use reactor_pool::{NotAnswering, Request, Response, Service, TOP_CONNECTIONS};
use serde_json::{Value, json};
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::Dispatch;
use tracing::dispatcher::{self, DefaultGuard};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// How many connections of a kind are told of.
const SHOWN: Limit = Limit {
    flag: "n",
    default: 20,
    min: 1,
    max: TOP_CONNECTIONS as u64,
    unit: "connections",
    reason: "Connections of each kind",
};

/// What the admin interface serves.
#[derive(Debug)]
pub(super) struct Pages {
    facts: Facts,
    /// When that was, since 1970.
    started: Duration,
    /// The policy of the live page.
    policy: String,
    log: Dispatch,
}

/// What the worker owns.
#[derive(Debug)]
pub(super) struct Worker {
    asker: Asker,
    _log: DefaultGuard,
}

/// What a request asks for.
#[derive(Debug)]
struct Asked<'r> {
    path: &'r str,
    /// What stands behind the question mark.
    query: &'r str,
    /// How long ago it came.
    age: Duration,
}

type Page = for<'p> fn(&'p Pages, &Asked<'_>, &mut Asker) -> Answer<'p>;

/// A response, and the headers that not all have.
#[derive(Debug)]
struct Answer<'a> {
    status: u16,
    content_type: &'static str,
    header: Option<(&'static str, &'a str)>,
    body: Vec<u8>,
}

impl Answer<'_> {
    fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Answer {
            status,
            content_type,
            header: None,
            body: body.into(),
        }
    }

    fn line(status: u16, line: &str) -> Self {
        Answer::new(status, TEXT, format!("{line}\n"))
    }

    fn json(status: u16, value: &Value) -> Self {
        Answer::new(status, JSON, format!("{value}\n"))
    }

    /// 200, or 503 for a reason.
    fn unless(why_not: Option<String>) -> Self {
        match why_not {
            None => Answer::line(200, "ok"),
            Some(why) => Answer::line(503, &why),
        }
    }
}

impl Pages {
    pub(super) fn new(facts: Facts, log: Dispatch) -> Pages {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Pages {
            facts,
            started: now.unwrap_or_default(),
            policy: page::policy(),
            log,
        }
    }

    fn answer(&self, method: &str, asked: &Asked<'_>, asker: &mut Asker) -> Answer<'_> {
        let page: Page = match asked.path {
            "/" => Pages::live_page,
            "/livez" => Pages::livez,
            "/readyz" => Pages::readyz,
            "/metrics" => Pages::metrics,
            "/status" => Pages::status,
            "/connections" => Pages::connections,
            "/workers" => Pages::workers,
            "/config" => Pages::config,
            _ => return Answer::line(404, "there is no such path"),
        };
        match method {
            "GET" | "HEAD" => page(self, asked, asker),
            _ => Answer {
                header: Some(("allow", "GET, HEAD")),
                ..Answer::line(405, "only GET and HEAD")
            },
        }
    }

    fn live_page(&self, _: &Asked<'_>, _: &mut Asker) -> Answer<'_> {
        Answer {
            header: Some(("content-security-policy", &self.policy)),
            ..Answer::new(200, HTML, page::PAGE)
        }
    }

    fn livez(&self, asked: &Asked<'_>, asker: &mut Asker) -> Answer<'_> {
        Answer::unless(match asker.snapshot(asked.age) {
            Ok(snapshot) => health::why_not_alive(&snapshot),
            Err(error) => Some(error.to_string()),
        })
    }

    fn readyz(&self, asked: &Asked<'_>, asker: &mut Asker) -> Answer<'_> {
        let Facts {
            monitor,
            stuck_after,
            ..
        } = &self.facts;
        Answer::unless(match asker.snapshot(asked.age) {
            Ok(snapshot) => health::why_not_ready(&snapshot, &monitor.workers(), *stuck_after),
            Err(error) => Some(error.to_string()),
        })
    }

    fn status(&self, asked: &Asked<'_>, asker: &mut Asker) -> Answer<'_> {
        match asker.snapshot(asked.age) {
            Ok(snapshot) => {
                let workers = self.facts.monitor.workers();
                Answer::json(200, &json::status(&self.facts, &snapshot, &workers))
            }
            Err(error) => hangs(&error),
        }
    }

    fn metrics(&self, asked: &Asked<'_>, asker: &mut Asker) -> Answer<'_> {
        let facts = &self.facts;
        match asker.snapshot(asked.age) {
            Ok(snapshot) => {
                let scrape = Scrape {
                    snapshot,
                    workers: facts.monitor.workers(),
                    config: facts.config.clone(),
                    started: self.started,
                    dropped_log_lines: facts.dropped_log_lines.dropped_lines() as u64,
                    resident_bytes: process::resident_bytes(),
                    worst_case_bytes: facts.worst_case.process(),
                };
                Answer::new(200, metrics::CONTENT_TYPE, scrape.text())
            }
            Err(error) => Answer::line(503, &error.to_string()),
        }
    }

    fn connections(&self, asked: &Asked<'_>, asker: &mut Asker) -> Answer<'_> {
        let mut parameters = asked.query.split('&');
        let count = parameters.find_map(|parameter| parameter.strip_prefix("n="));
        let count = count.map_or(Ok(SHOWN.default), |count| SHOWN.parse(count));
        match (count, asker.connections(asked.age)) {
            (Err(allowed), _) => Answer::line(400, &format!("n: {allowed}")),
            (_, Err(error)) => hangs(&error),
            (Ok(count), Ok(views)) => Answer::json(200, &json::connections(&views, count as usize)),
        }
    }

    fn workers(&self, _: &Asked<'_>, _: &mut Asker) -> Answer<'_> {
        let (monitor, lived) = (&self.facts.monitor, self.facts.started_at.elapsed());
        Answer::json(200, &json::workers(&monitor.workers(), lived))
    }

    fn config(&self, _: &Asked<'_>, _: &mut Asker) -> Answer<'_> {
        Answer::json(200, &json::settings(&self.facts.settings))
    }
}

fn hangs(error: &NotAnswering) -> Answer<'static> {
    Answer::json(503, &json!({"error": error.to_string()}))
}

impl Service for Pages {
    type Worker = Worker;

    fn start(&self, _worker: usize) -> Result<Worker, Box<dyn Error + Send + Sync>> {
        Ok(Worker {
            asker: Asker::new(self.facts.monitor.clone()),
            _log: dispatcher::set_default(&self.log),
        })
    }

    fn handle(&self, worker: &mut Worker, request: &Request<'_>, response: &mut Response<'_>) {
        let parsed = http1::Request::parse(request.bytes()).expect("the codec has found a request");
        let (path, query) = parsed.target.split_once('?').unwrap_or((parsed.target, ""));
        let asked = Asked {
            path,
            query,
            age: request.age(),
        };
        let answer = self.answer(parsed.method, &asked, &mut worker.asker);
        let always = [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ];
        let headers: Vec<_> = always.into_iter().chain(answer.header).collect();
        let (status, content_type) = (answer.status, answer.content_type);
        respond_with(response, status, content_type, &headers, &answer.body);
    }
}
