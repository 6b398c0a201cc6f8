//! A client of the admin interface: requests as they stand on the wire, and responses taken apart.
//!
//! Knows as much of HTTP as these tests need.
//!
//! Rule: what is not one whole response is a failure.

use crate::common::{Client, Launch, Server};
use serde_json::Value;
use std::net::SocketAddr;

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In small letters, up to the empty line.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header, whose name is given in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut headers = lines.filter_map(|line| line.split_once(": "));
        headers
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The value of a metric, with its labels if it has some.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let name = format!("reactor_pool_{name} ");
        let mut values = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix(&name));
        let value = values
            .next()
            .unwrap_or_else(|| panic!("no {name} in {}", self.body));
        value.parse().expect("a number")
    }
}

/// A server with these flags and an admin interface at a free port, and where that is.
pub(crate) fn start(flags: &[&str]) -> (Server, SocketAddr) {
    let server = Launch::new(&[&["--admin", "127.0.0.1:0"], flags].concat()).start();
    let address = admin_of(&server);
    (server, address)
}

/// Where the log says that the admin interface listens.
pub(crate) fn admin_of(server: &Server) -> SocketAddr {
    let line = server
        .log()
        .wait_for("names the admin interface", |line| line.contains("admin="));
    let (_, address) = line.split_once("admin=").expect("as awaited");
    let address = address.split_whitespace().next().expect("not empty");
    address.parse().expect("an address")
}

/// The response to a request of that method, on a connection of its own.
#[track_caller]
pub(crate) fn ask(address: SocketAddr, method: &str, target: &str) -> Answer {
    let mut client = Client::connect(address);
    client.send(format!(
        "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    ));
    let mut all = answers(client.rest());
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[track_caller]
pub(crate) fn get(address: SocketAddr, target: &str) -> Answer {
    ask(address, "GET", target)
}

/// The responses to requests that all have a body in their response, one behind the other.
#[track_caller]
pub(crate) fn answers(bytes: Vec<u8>) -> Vec<Answer> {
    let text = String::from_utf8(bytes).expect("all of it is text");
    let (mut rest, mut answers) = (text.as_str(), Vec::new());
    while !rest.is_empty() {
        let (head, behind) = rest.split_once("\r\n\r\n").expect("a whole head");
        let code = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let mut answer = Answer {
            status: code
                .and_then(|code| code.parse().ok())
                .unwrap_or_else(|| panic!("{head}")),
            head: head.to_lowercase(),
            body: String::new(),
        };
        let length = answer.header("content-length").expect("all have one");
        // Of HEAD there is nothing behind the head.
        let length = length.parse::<usize>().expect("a number").min(behind.len());
        let (body, behind) = behind.split_at(length);
        answer.body = body.to_owned();
        answers.push(answer);
        rest = behind;
    }
    answers
}
