//! One client whose connection ends before its time.

use super::*;

#[test]
fn a_connection_that_is_cut_between_two_requests_loses_nothing() {
    let mut bench = Bench::reconnecting(1, 2);
    assert_eq!(bench.send(), [0]);
    bench.answer(0);
    assert_eq!(bench.say(b"ERR idle timeout"), Next::Continue);
    bench.cut(b"");
    assert_eq!(bench.send(), [1], "on the next connection");
    bench.answer(1);
    assert!(bench.client.is_done());
    assert_eq!(bench.desk.ledger.clients.lost, 0);
    assert!(bench.failures().is_empty());
}

#[test]
fn what_was_in_flight_when_the_connection_was_cut_is_lost_and_not_sent_again() {
    let mut bench = Bench::reconnecting(2, 4);
    assert_eq!(bench.send(), [0, 1]);
    bench.answer(0);
    assert_eq!(bench.send(), [2]);
    bench.wait(7);
    bench.cut(b"OK c1");
    assert_eq!(bench.send(), [3]);
    bench.answer(3);
    assert!(bench.client.is_done());
    let clients = &bench.desk.ledger.clients;
    assert_eq!((clients.sent, clients.lost, clients.missing), (4, 2, 0));
    assert_eq!(clients.latencies.unanswered(), 2);
    let text = "client 1 frame 1: lost: cut with 2 in flight, after 1 answers and half an answer, \
                \"OK c1\"";
    assert_eq!(bench.failures(), [text]);
}

#[test]
fn a_frame_of_which_the_kernel_got_nothing_is_sent_again() {
    let mut bench = Bench::reconnecting(4, 4);
    let (what, count) = bench.client.next_tries(bench.now).expect("there is room");
    assert_eq!(count, 4);
    for offset in 1..=4 {
        bench.client.placed(offset * 100 - 100..offset * 100);
    }
    let ledger = &mut bench.desk.ledger;
    bench.client.queued(what, false, bench.now, ledger);
    // All of the first frame, and perhaps the beginning of the second one.
    let ledger = &mut bench.desk.ledger;
    bench.client.written_up_to(100, bench.now, ledger);
    bench.cut(b"");
    let clients = &bench.desk.ledger.clients;
    assert_eq!((clients.sent, clients.lost), (2, 2));
    let mut again = bench.send();
    again.sort_unstable();
    assert_eq!(again, [2, 3]);
    assert_eq!(bench.desk.ledger.clients.sent, 4);
}

#[test]
fn a_frame_on_a_connection_that_was_turned_away_is_sent_again() {
    let mut bench = Bench::reconnecting(1, 1);
    assert_eq!(bench.send(), [0]);
    assert_eq!(bench.say(TOO_MANY_CONNECTIONS), Next::Abandon);
    assert_eq!(bench.desk.ledger.clients.connects_refused, 1);
    assert_eq!(bench.send(), [0]);
    bench.answer(0);
    assert!(bench.client.is_done());
    assert!(bench.failures().is_empty());
}
