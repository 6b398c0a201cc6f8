//! The operations table and the errors table of the protocol, row by row and byte for byte, and the
//! rules of framing: line endings, the length limit, a stream that ends inside a line.
//!
//! Knows no timing and no overload: each exchange here has the server for itself.
//!
//! Rule: what is compared is every byte until the end of the stream, so that an answer too many is
//! found as well as one too few.

mod common;

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use common::{Client, DEADLINE, Random, Server, ms, show};
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

// ---- operations ---------------------------------------------------------------------------------

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

// ---- errors -------------------------------------------------------------------------------------

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
        (b"GET / HTTP/1.1\n", b"ERR unknown op GET\n"),
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

// ---- the length limit ---------------------------------------------------------------------------

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

// ---- where the stream ends ----------------------------------------------------------------------

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

// ---- splits -------------------------------------------------------------------------------------

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

// ---- more than one connection -------------------------------------------------------------------

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
        let start = Instant::now();
        client.expect(format!("OK {}", &line[5..]));
        assert!(
            start.elapsed() < DEADLINE,
            "one line of a MiB took {:?}",
            start.elapsed()
        );
    });
}
