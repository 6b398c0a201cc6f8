//! Where a line ends, when it is too long, and what a stream leaves behind that ends inside one.
//!
//! Knows no operation but ECHO and SLEEP, which show what was framed.
//!
//! Rule: how the bytes were split on their way changes no answer.

use crate::common::{Random, Server, ms, show};
use crate::{assert_exchange, assert_rows, filled, sha256_hex};

// ---- the length limit
// ---------------------------------------------------------------------------

#[test]
fn a_line_of_exactly_the_limit_is_served_with_either_ending() {
    for limit in [8, 64, 65536] {
        let server = Server::start(&["--max-line", &limit.to_string()]);
        let line = filled("ECHO ", limit);
        let answer = format!("OK {}\n", &line[5..]);
        assert_rows(
            &server,
            &[
                (format!("{line}\n"), &answer),
                (format!("{line}\r\n"), &answer),
            ],
        );
    }
}

#[test]
fn the_default_limit_is_65536_bytes() {
    let server = Server::start(&[]);
    let line = filled("ECHO ", 65536);
    let answer = format!("OK {}\n", &line[5..]);
    let error = "ERR line too long (limit 65536 bytes)\n";
    assert_rows(
        &server,
        &[
            (format!("{line}\r\n"), answer.as_str()),
            (format!("{line}x\n"), error),
            (format!("{line}x\r\n"), error),
        ],
    );
}

#[test]
fn a_limit_of_one_byte_works() {
    let server = Server::start(&["--max-line", "1"]);
    let rows = [
        ("a\n", "ERR unknown op A\n"),
        ("a\r\n", "ERR unknown op A\n"),
        ("\n", "ERR empty request\n"),
        ("\r\n", "ERR empty request\n"),
        ("\r\r\n", "ERR unknown op ?\n"),
        ("ab\n", "ERR line too long (limit 1 bytes)\n"),
        ("abc\r\n", "ERR line too long (limit 1 bytes)\n"),
    ];
    assert_rows(&server, &rows);
}

#[test]
fn a_line_too_long_is_answered_before_it_ends() {
    for limit in [64, 65536] {
        let server = Server::start(&["--max-line", &limit.to_string()]);
        let mut client = server.connect();
        client.send(filled("ECHO ", limit + 1));
        client.expect(format!("ERR line too long (limit {limit} bytes)"));
        // The rest is discarded without a further word, however long it is.
        client.send("y".repeat(3 * limit));
        client.send("\r\nECHO next\n");
        client.expect("OK next");
        client.half_close();
        client.expect_end();
    }
}

#[test]
fn each_line_too_long_is_answered_once_and_the_line_after_it_is_served() {
    let server = Server::start(&["--max-line", "64"]);
    let long = "x".repeat(1000);
    let error = "ERR line too long (limit 64 bytes)\n";
    assert_exchange(
        &server,
        format!("ECHO a\n{long}\nECHO b\r\n{long}\r\n{long}\n\nECHO c\n"),
        format!("OK a\n{error}OK b\n{error}{error}ERR empty request\nOK c\n"),
    );
    // Endings inside the discarded part that are none.
    assert_exchange(
        &server,
        format!("{long}\r{long}\r\r\nECHO b\n"),
        format!("{error}OK b\n"),
    );
}

#[test]
fn a_stream_that_ends_inside_a_line_too_long_gets_the_one_error_only() {
    let server = Server::start(&["--max-line", "64"]);
    let error = "ERR line too long (limit 64 bytes)\n";
    for end in ["", "\r", " and more", " and more\r"] {
        assert_exchange(&server, format!("{}{end}", "x".repeat(65)), error);
        assert_exchange(
            &server,
            format!("ECHO a\n{}{end}", "x".repeat(900)),
            format!("OK a\n{error}"),
        );
    }
}

#[test]
fn a_line_too_long_is_answered_in_its_turn() {
    let server = Server::start(&["--max-line", "64"]);
    let mut client = server.connect();
    client.send(format!("SLEEP 200\n{}\nECHO after\n", "x".repeat(65)));
    client.expect_lines(&["OK 200", "ERR line too long (limit 64 bytes)", "OK after"]);
}

#[test]
fn after_exactly_the_limit_and_a_carriage_return_the_server_waits_for_the_line_feed() {
    for limit in [64, 65536] {
        let server = Server::start(&["--max-line", &limit.to_string()]);
        let mut client = server.connect();
        let line = filled("ECHO ", limit);
        client.send(format!("{line}\r"));
        server.barrier();
        assert_eq!(client.try_line(ms(20)), None, "the line may still end well");
        client.send("\nECHO next\n");
        client.expect(format!("OK {}", &line[5..]));
        client.expect("OK next");
    }
}

#[test]
fn a_carriage_return_after_the_limit_that_ends_nothing_makes_the_line_too_long() {
    let limit = 64;
    let server = Server::start(&["--max-line", &limit.to_string()]);
    let line = filled("ECHO ", limit);
    let error = "ERR line too long (limit 64 bytes)";
    for beyond in ["\rx", "\r\r", "\r "] {
        // In one piece, and with a pause between the carriage return and what follows it.
        let mut client = server.connect();
        client.send(format!("{line}{beyond}"));
        client.expect(error);
        client.send("\nECHO next\n");
        client.expect("OK next");

        let mut client = server.connect();
        client.send(format!("{line}\r"));
        server.barrier();
        client.send(&beyond[1..]);
        client.expect(error);
        client.send("\nECHO next\n");
        client.expect("OK next");
    }
    // One byte less, and the carriage returns are a byte of the line and a part of its ending.
    let shorter = filled("ECHO ", limit - 1);
    assert_exchange(
        &server,
        format!("{shorter}\r\r\n"),
        format!("OK {}\r\n", &shorter[5..]),
    );
}

// ---- where the stream ends
// ----------------------------------------------------------------------

#[test]
fn a_stream_that_ends_inside_a_line_is_told_so() {
    let server = Server::start(&["--max-line", "64"]);
    let error = "ERR incomplete line\n";
    let at_the_limit = filled("ECHO ", 64);
    for cut in [
        "E",
        "ECHO",
        "ECHO a",
        "ECHO a\r",
        "\r",
        "\r\r",
        " ",
        "\0",
        &at_the_limit,
    ] {
        assert_exchange(&server, cut, error);
        assert_exchange(
            &server,
            format!("ECHO whole\n{cut}"),
            format!("OK whole\n{error}"),
        );
    }
    assert_exchange(&server, format!("{at_the_limit}\r"), error);
    assert_exchange(
        &server,
        "SLEEP 100\r\nECHO a\r\nECHO",
        format!("OK 100\nOK a\n{error}"),
    );
}

#[test]
fn a_stream_that_ends_between_lines_is_told_nothing() {
    let server = Server::start(&[]);
    assert_exchange(&server, "", "");
    assert_exchange(&server, "ECHO a\n", "OK a\n");
    assert_exchange(&server, "ECHO a\r\n", "OK a\n");
}

// ---- splits
// -------------------------------------------------------------------------------------

/// A stream with every kind of line, and what it is answered under `--max-line 64`.
fn medley() -> (Vec<u8>, Vec<u8>) {
    let at_the_limit = filled("ECHO ", 64);
    let too_long = "x".repeat(70);
    let input = format!(
        "ECHO a\nECHO b\r\n\r\n\nECHO c\rd\r\r\nsleep 3\r\nNOPE\r\n{at_the_limit}\r\n{at_the_limit}\n\
         {too_long}\r\nECHO e\n{too_long}\nHASH abc\r\nECHO f\r"
    );
    let limit = &at_the_limit[5..];
    let output = format!(
        "OK a\nOK b\nERR empty request\nERR empty request\nOK c\rd\r\nOK 3\nERR unknown op NOPE\n\
         OK {limit}\nOK {limit}\nERR line too long (limit 64 bytes)\nOK e\n\
         ERR line too long (limit 64 bytes)\nOK {}\nERR incomplete line\n",
        sha256_hex(b"abc")
    );
    (input.into_bytes(), output.into_bytes())
}

#[test]
fn bytes_that_come_one_by_one_give_the_same_answers() {
    let server = Server::start(&["--max-line", "64"]);
    let (input, output) = medley();
    assert_exchange(&server, &input, &output);
    let mut client = server.connect();
    for byte in &input {
        client.send([*byte]);
    }
    client.half_close();
    assert_eq!(show(&client.rest()), show(&output));
}

#[test]
fn any_split_of_the_bytes_gives_the_same_answers() {
    let server = Server::start(&["--max-line", "64"]);
    let (input, output) = medley();
    for seed in 1..=20 {
        let mut random = Random::new(seed);
        let mut client = server.connect();
        let mut rest = input.as_slice();
        while !rest.is_empty() {
            let (part, after) = rest.split_at((1 + random.below(40)).min(rest.len()));
            client.send(part);
            // Long enough for the server to read the part by itself, mostly.
            std::thread::sleep(std::time::Duration::from_micros(random.next() % 500));
            rest = after;
        }
        client.half_close();
        let got = client.rest();
        assert!(got == output, "seed {seed}: got {:?}", show(&got));
    }
}

#[test]
fn a_line_ending_split_across_two_writes_is_one_ending() {
    let server = Server::start(&["--max-line", "64"]);
    let mut client = server.connect();
    client.send("ECHO a\r");
    server.barrier();
    assert_eq!(client.try_line(ms(20)), None, "the line has not ended");
    client.send("\nECHO b\r");
    client.expect("OK a");
    server.barrier();
    // The carriage return was data after all.
    client.send("c\r\n");
    client.expect("OK b\rc");
    client.half_close();
    client.expect_end();
}
