//! The operations table and the errors table of the protocol, row by row and byte for byte, and
//! the rules of framing: line endings, the length limit, a stream that ends inside a line.
//!
//! Knows no timing and no overload: each exchange here has the server for itself.
//!
//! Rule: what is compared is every byte until the end of the stream, so that an answer too many is
//! found as well as one too few.

mod common;
#[path = "protocol/framing.rs"]
mod framing;

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use common::{Client, Server, ms, show};
use sha2::{Digest, Sha256};

/// Asserts each row on a connection of its own, and then all of them pipelined on one.
#[track_caller]
fn assert_rows(server: &Server, rows: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)]) {
    for (request, response) in rows {
        assert_exchange(server, request, response);
    }
    let joined = |parts: Vec<&[u8]>| parts.concat();
    let requests = joined(rows.iter().map(|(request, _)| request.as_ref()).collect());
    let responses = joined(rows.iter().map(|(_, response)| response.as_ref()).collect());
    assert_exchange(server, requests, responses);
}

#[track_caller]
fn assert_exchange(server: &Server, input: impl AsRef<[u8]>, output: impl AsRef<[u8]>) {
    let (input, output) = (input.as_ref(), output.as_ref());
    let got = server.exchange(input);
    assert!(
        got == output,
        "to {:?}\n     got {:?}\nexpected {:?}",
        show(input),
        show(&got),
        show(output)
    );
}

fn sha256_hex(text: &[u8]) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(text) {
        write!(hex, "{byte:02x}").expect("a String takes everything");
    }
    hex
}

/// `prefix` filled up with `x` to `len` bytes.
fn filled(prefix: &str, len: usize) -> String {
    format!("{prefix}{}", "x".repeat(len - prefix.len()))
}

// ---- operations
// ---------------------------------------------------------------------------------

#[test]
fn echo_returns_its_argument_byte_for_byte() {
    let server = Server::start(&[]);
    let rows: &[(&[u8], &[u8])] = &[
        (b"ECHO hello\n", b"OK hello\n"),
        (b"ECHO\n", b"OK \n"),
        (b"ECHO \n", b"OK \n"),
        (b"ECHO  \n", b"OK  \n"),
        (b"ECHO  two  spaces  \n", b"OK  two  spaces  \n"),
        (b"ECHO \ttab\t\n", b"OK \ttab\t\n"),
        (b"ECHO a\0b\0\n", b"OK a\0b\0\n"),
        (b"ECHO \xff\xfe\x80\xc3\n", b"OK \xff\xfe\x80\xc3\n"),
        (b"ECHO ECHO x\n", b"OK ECHO x\n"),
        (b"ECHO OK fake\n", b"OK OK fake\n"),
        (b"ECHO \x1b[31m\n", b"OK \x1b[31m\n"),
        ("ECHO grüße\n".as_bytes(), "OK grüße\n".as_bytes()),
    ];
    assert_rows(&server, rows);

    let every_byte_but_lf: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    let request = [b"ECHO ".as_slice(), &every_byte_but_lf, b"\n"].concat();
    let response = [b"OK ".as_slice(), &every_byte_but_lf, b"\n"].concat();
    assert_exchange(&server, request, response);
}

#[test]
fn one_carriage_return_before_the_line_feed_belongs_to_the_ending_and_any_other_is_data() {
    let server = Server::start(&[]);
    let rows: &[(&[u8], &[u8])] = &[
        (b"ECHO a\r\n", b"OK a\n"),
        (b"ECHO\r\n", b"OK \n"),
        (b"ECHO \r\n", b"OK \n"),
        (b"ECHO a\rb\n", b"OK a\rb\n"),
        (b"ECHO \ra\r\n", b"OK \ra\n"),
        (b"ECHO a\r\r\n", b"OK a\r\n"),
        (b"ECHO \r\r\r\n", b"OK \r\r\n"),
        (b"ECHO\r\r\n", b"ERR unknown op ECHO?\n"),
        (b"SLEEP 0\r\n", b"OK 0\n"),
        (
            b"SLEEP 0\r\r\n",
            b"ERR SLEEP needs an integer from 0 to 10000\n",
        ),
        (b"\r\n", b"ERR empty request\n"),
        (b"\r\r\n", b"ERR unknown op ?\n"),
    ];
    assert_rows(&server, rows);
}

#[test]
fn operations_are_matched_without_regard_to_ascii_case() {
    let server = Server::start(&[]);
    let empty = format!("OK {}\n", sha256_hex(b""));
    let rows = [
        ("echo Ab\n", "OK Ab\n"),
        ("eChO Ab\n", "OK Ab\n"),
        ("Echo\n", "OK \n"),
        ("sleep 1\n", "OK 1\n"),
        ("SlEeP 0\n", "OK 0\n"),
        ("hash\n", empty.as_str()),
        ("hAsH\n", empty.as_str()),
    ];
    assert_rows(&server, &rows);
}

#[test]
fn sleep_takes_digits_with_spaces_and_tabs_around_them_and_answers_in_plain_decimal() {
    let server = Server::start(&[]);
    let zeros = "0".repeat(100);
    let mut rows: Vec<(String, String)> = [
        ("0", "0"),
        ("5", "5"),
        ("007", "7"),
        ("  5  ", "5"),
        ("\t5\t", "5"),
        (" \t 05 \t ", "5"),
        ("5 ", "5"),
        ("000", "0"),
    ]
    .iter()
    .map(|(n, answer)| (format!("SLEEP {n}\n"), format!("OK {answer}\n")))
    .collect();
    rows.push((format!("SLEEP {zeros}\n"), "OK 0\n".to_string()));
    rows.push((format!("SLEEP {zeros}12\n"), "OK 12\n".to_string()));
    assert_rows(&server, &rows);
}

#[test]
fn sleep_refuses_everything_that_is_not_an_integer_in_range() {
    let server = Server::start(&[]);
    let nines = "9".repeat(100);
    let wrong = [
        "",
        " ",
        " \t ",
        "+5",
        "-1",
        "-0",
        "5x",
        "x5",
        "1 2",
        "1\t2",
        "1.5",
        "1e3",
        "0x5",
        "1_000",
        "5,",
        "five",
        "10001",
        "00010001",
        "65536",
        // These wrap round to 0, 5 or 1 in 32, 64 or 128 bits.
        "4294967296",
        "4294967301",
        "18446744073709551616",
        "18446744073709551621",
        "340282366920938463463374607431768211457",
        &nines,
        "5\0",
        "\x0b5",
        "5\x0c",
        "5\r5",
        "\u{a0}5",
        "\u{663}",
    ];
    let mut rows: Vec<(String, &str)> = wrong
        .iter()
        .map(|n| {
            (
                format!("SLEEP {n}\n"),
                "ERR SLEEP needs an integer from 0 to 10000\n",
            )
        })
        .collect();
    rows.push((
        "SLEEP\n".to_string(),
        "ERR SLEEP needs an integer from 0 to 10000\n",
    ));
    assert_rows(&server, &rows);
}

#[test]
fn the_limit_of_sleep_is_the_one_in_force() {
    let server = Server::start(&["--max-sleep", "50"]);
    let rows = [
        ("SLEEP 50\n", "OK 50\n"),
        ("SLEEP 51\n", "ERR SLEEP needs an integer from 0 to 50\n"),
        ("SLEEP x\n", "ERR SLEEP needs an integer from 0 to 50\n"),
    ];
    assert_rows(&server, &rows);
}

#[test]
fn sleep_holds_its_worker_for_as_long_as_it_says() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.connect();
    let start = Instant::now();
    client.send("SLEEP 150\nSLEEP 150\n");
    client.expect_lines(&["OK 150", "OK 150"]);
    let elapsed = start.elapsed();
    assert!(
        elapsed >= ms(300),
        "one worker slept 2 x 150 ms in {elapsed:?}"
    );
}

#[test]
fn hash_answers_known_vectors_of_sha_256() {
    let server = Server::start(&[]);
    // FIPS 180-2, appendix B, and the empty message.
    let empty = "OK e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";
    let rows = [
        ("HASH\n", empty),
        ("HASH \n", empty),
        ("HASH \r\n", empty),
        (
            "HASH abc\n",
            "OK ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
        ),
        (
            "HASH abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq\n",
            "OK 248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1\n",
        ),
    ];
    assert_rows(&server, &rows);
}

#[test]
fn hash_takes_every_byte_of_its_argument() {
    let server = Server::start(&[]);
    let long = vec![b'a'; 60_000];
    let texts: [&[u8]; 6] = [b" abc", b"abc ", b"a\0b", b"\xff\xfe", b"a\rb", &long];
    let rows: Vec<(Vec<u8>, String)> = texts
        .iter()
        .map(|text| {
            let request = [b"HASH ".as_slice(), text, b"\n"].concat();
            (request, format!("OK {}\n", sha256_hex(text)))
        })
        .collect();
    assert_rows(&server, &rows);
}

// ---- errors
// -------------------------------------------------------------------------------------

#[test]
fn an_empty_line_is_an_empty_request() {
    let server = Server::start(&[]);
    let one = "ERR empty request\n";
    assert_rows(&server, &[("\n", one), ("\r\n", one)]);
    assert_exchange(&server, "\n\n\r\n\n", one.repeat(4));
}

#[test]
fn an_unknown_op_is_shown_upper_cased_cut_to_32_bytes_and_printable() {
    let server = Server::start(&[]);
    let rows: &[(&[u8], &[u8])] = &[
        (b"FOO\n", b"ERR unknown op FOO\n"),
        (b"foo bar\n", b"ERR unknown op FOO\n"),
        (b"ECHOO a\n", b"ERR unknown op ECHOO\n"),
        (b"ECH a\n", b"ERR unknown op ECH\n"),
        (b"ECHO\ta\n", b"ERR unknown op ECHO?A\n"),
        (b"ECHO\0\n", b"ERR unknown op ECHO?\n"),
        (b"GET /\n", b"ERR unknown op GET\n"),
        // The edges of printable ASCII, and what lies beyond them.
        (b"!{|}~ x\n", b"ERR unknown op !{|}~\n"),
        (b"a\x00b\x1f\x7f\x80\xff\n", b"ERR unknown op A?B????\n"),
        (b"\x1b[31mred\n", b"ERR unknown op ?[31MRED\n"),
        // Only ASCII letters have another case here, and each byte is shown for itself.
        ("\u{e4}b\n".as_bytes(), b"ERR unknown op ??B\n"),
        // An empty op.
        (b" \n", b"ERR unknown op \n"),
        (b" ECHO a\n", b"ERR unknown op \n"),
        (b"  \n", b"ERR unknown op \n"),
        // Exactly 32 bytes, one more, many more, and a cut inside a character of two bytes.
        (
            b"abcdefghijklmnopqrstuvwxyz012345\n",
            b"ERR unknown op ABCDEFGHIJKLMNOPQRSTUVWXYZ012345\n",
        ),
        (
            b"abcdefghijklmnopqrstuvwxyz0123456 x\n",
            b"ERR unknown op ABCDEFGHIJKLMNOPQRSTUVWXYZ012345\n",
        ),
        (
            "abcdefghijklmnopqrstuvwxyz01234\u{e4}\n".as_bytes(),
            b"ERR unknown op ABCDEFGHIJKLMNOPQRSTUVWXYZ01234?\n",
        ),
    ];
    assert_rows(&server, rows);
    let long = format!("{}\n", "z".repeat(60_000));
    assert_exchange(
        &server,
        long,
        format!("ERR unknown op {}\n", "Z".repeat(32)),
    );
}

#[test]
fn a_connection_stays_usable_after_each_error_of_a_request() {
    let server = Server::start(&["--max-line", "64"]);
    let mut client = server.connect();
    let too_long = "x".repeat(65);
    for (request, error) in [
        ("", "ERR empty request"),
        ("NOPE 1", "ERR unknown op NOPE"),
        ("SLEEP x", "ERR SLEEP needs an integer from 0 to 10000"),
        (too_long.as_str(), "ERR line too long (limit 64 bytes)"),
    ] {
        client.send(format!("{request}\nECHO after\n"));
        client.expect_lines(&[error, "OK after"]);
    }
    client.half_close();
    client.expect_end();
}

// ---- more than one connection
// -------------------------------------------------------------------

#[test]
fn partial_lines_of_two_connections_do_not_mix() {
    let server = Server::start(&[]);
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for part in ["EC", "HO ", "number "] {
        for client in &mut clients {
            client.send(part);
        }
    }
    for (number, client) in clients.iter_mut().enumerate().rev() {
        client.send(format!("{number}\n"));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.expect(format!("OK number {number}"));
    }
}

#[test]
fn an_answer_of_the_longest_line_arrives_whole() {
    let limit = 1 << 20;
    let server = Server::start(&["--max-line", &limit.to_string()]);
    let line = filled("ECHO ", limit);
    let mut client = server.connect();
    let mut writer = client.writer();
    std::thread::scope(|scope| {
        let request = format!("{line}\n");
        scope.spawn(move || {
            writer
                .write_all(request.as_bytes())
                .expect("the server reads")
        });
        client.expect(format!("OK {}", &line[5..]));
    });
}
