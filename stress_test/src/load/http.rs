//! HTTP requests as `--http` spells them, and the bodies that answer them.
//!
//! Knows templates and how a request is written; no head of an answer and no socket.
//!
//! Rule: nothing goes into a request line that would end it or be no path.

use std::sync::{Arc, OnceLock};

use crate::load::frame::Frame;
use crate::load::template::Template;

/// What is asked for by GET, and the body that has to come back.
#[derive(Debug, Clone)]
pub(crate) struct HttpExchange {
    path: Template,
    /// What stands behind the path.
    rest: String,
    body: Option<Template>,
    /// Where there is no `body`: that of the first answer, whichever loop or round had it.
    first: Arc<OnceLock<Box<[u8]>>>,
}

impl HttpExchange {
    /// GET of `path` from the server that is called `host` and `port`, which is to be answered
    /// with `body`, or always alike. An error is one line that says what is wrong and what is
    /// allowed.
    pub(crate) fn parse(
        path: &str,
        body: Option<&str>,
        (host, port): (&str, u32),
    ) -> Result<Self, String> {
        const FLAG: &str = "http <PATH>";
        let is_path = path.starts_with('/');
        let path = Template::of_flag(FLAG, path)?;
        if !is_path || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "invalid value for '--{FLAG}': a path is needed that begins with / and has no \
                 spaces and only visible ASCII characters; others are written as %HH"
            ));
        }
        let body = body.map(|text| Template::of_flag("expect-body <TEMPLATE>", text));
        // An address of IPv6.
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        Ok(Self {
            path,
            rest: format!(" HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"),
            body: body.transpose()?,
            first: Arc::default(),
        })
    }

    /// The path that is asked for.
    pub(crate) fn path(&self) -> &Template {
        &self.path
    }

    /// The body of each answer, unless it is that of the first one.
    pub(crate) fn body(&self) -> Option<&Template> {
        self.body.as_ref()
    }

    /// Appends the request of `frame`.
    pub(crate) fn append_request(&self, frame: Frame, out: &mut Vec<u8>) {
        out.extend_from_slice(b"GET ");
        self.path.append(frame, out);
        out.extend_from_slice(self.rest.as_bytes());
    }

    /// Appends the body that answers `frame`. Returns whether it is known.
    pub(crate) fn append_body(&self, frame: Frame, out: &mut Vec<u8>) -> bool {
        match (&self.body, self.first.get()) {
            (Some(body), _) => body.append(frame, out),
            (None, Some(first)) => out.extend_from_slice(first),
            (None, None) => return false,
        }
        true
    }

    /// An answer had this body.
    pub(crate) fn learn(&self, body: &[u8]) {
        if self.body.is_none() {
            self.first.get_or_init(|| body.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame {
        client: 3,
        sequence: 14,
    };

    fn parse(path: &str, host: &str) -> Result<HttpExchange, String> {
        HttpExchange::parse(path, None, (host, 9000))
    }

    #[test]
    fn a_request_names_its_path_and_its_host() {
        for (host, named) in [("example.org", "example.org"), ("::1", "[::1]")] {
            let http = parse("/{c}/{n:4}?a=%20{{", host).expect("a path");
            let mut request = Vec::new();
            http.append_request(FRAME, &mut request);
            let expected = format!("GET /3/0014?a=%20{{ HTTP/1.1\r\nHost: {named}:9000\r\n\r\n");
            assert_eq!(
                request.escape_ascii().to_string(),
                expected.escape_default().to_string()
            );
        }
    }

    #[test]
    fn what_would_break_a_request_line_is_refused() {
        for path in ["x", "/a b", r"/\r\n", r"/\0", "/\u{e4}", "{c}/", r"\x2f"] {
            let error = parse(path, "host").expect_err(path);
            assert!(
                error.contains("'--http <PATH>': a path is needed"),
                "{error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
        for path in ["", "/{id}"] {
            let error = parse(path, "host").expect_err(path);
            assert!(error.contains("'--http <PATH>': "), "{error}");
        }
        let error = HttpExchange::parse("/", Some("}"), ("host", 1)).expect_err("a bad template");
        assert!(error.contains("'--expect-body <TEMPLATE>': "), "{error}");
    }

    #[test]
    fn the_first_body_is_that_of_all_unless_one_is_given() {
        let known = |http: &HttpExchange| {
            let mut body = Vec::new();
            http.append_body(FRAME, &mut body).then_some(body)
        };
        let http = parse("/", "host").expect("a path");
        assert_eq!(known(&http), None);
        http.clone().learn(b"first");
        http.learn(b"second");
        assert_eq!(known(&http).as_deref(), Some(&b"first"[..]));
        let http = HttpExchange::parse("/", Some("{n}"), ("host", 1)).expect("templates");
        http.learn(b"first");
        assert_eq!(known(&http).as_deref(), Some(&b"14"[..]));
    }
}
