//! Callers that hold a role and do not come back, on a socket without a server.

use std::{io::Write, os::unix::net::UnixStream, thread};

use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::*;
use crate::tier::redis::{
    reply::Limits,
    request::{Gate, Work},
    wire::Socket,
};

const LONG: Duration = Duration::from_secs(20);

struct World {
    exchange: Arc<Exchange>,
    gate: Arc<Gate>,
    /// The server's end.
    server: UnixStream,
    keeper: UnboundedReceiver<Message>,
}

impl World {
    /// An exchange with a connection.
    fn up() -> Self {
        let counters = Arc::new(Counters::default());
        let (inbox, keeper) = mpsc::unbounded_channel();
        let exchange = Exchange::new(Arc::clone(&counters), inbox);
        let (ours, server) = UnixStream::pair().unwrap();
        let limits = Limits { string: 1 << 10, reply: 1 << 11 };
        let wire = Wire::new(Socket::Unix(ours), None, limits, LONG, counters).unwrap();
        exchange.state.lock().phase = Phase::Waiting;
        exchange.connected(&Arc::new(wire), None).unwrap();
        Self { exchange, gate: Gate::new(100), server, keeper }
    }

    fn request(&self, timeout: Duration) -> (Request, Arc<Slot>, Instant) {
        let deadline = Instant::now() + timeout;
        let place = self.gate.enter().unwrap();
        let (request, slot) = Request::new(Work::One(redis::cmd("PING")), deadline, timeout, place);
        (request, slot, deadline)
    }

    fn call(&self, timeout: Duration) -> Result<Replies> {
        let (request, slot, deadline) = self.request(timeout);
        self.exchange.carry_out(request, &slot, deadline, timeout)
    }

    fn unanswered(&self) -> usize {
        let mut state = self.exchange.state.lock();
        let unsent = state.unsent.len();
        let serial = state.serial;
        unsent + state.up(serial).map_or(0, |(up, _)| up.sent.len())
    }

    fn wait_for(&self, unanswered: usize) {
        let until = Instant::now() + LONG;
        while self.unanswered() != unanswered {
            assert!(Instant::now() < until, "{} unanswered", self.unanswered());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn deadlines_hold_though_who_reads_does_not_come_back() {
    let mut world = World::up();
    let (request, slot, deadline) = world.request(LONG);
    world.exchange.enqueue(request).unwrap();
    let Duty::Write(batch) = world.exchange.duty(&slot, false, Instant::now(), deadline) else {
        panic!("write")
    };
    world.exchange.write(batch, deadline);
    let Duty::Read(wire, serial) = world.exchange.duty(&slot, false, Instant::now(), deadline)
    else {
        panic!("read")
    };
    // As if this thread had been stopped now, with the lock of the stream.
    let inbound = wire.inbound();
    let start = Instant::now();
    thread::scope(|scope| {
        let patient = scope.spawn(|| (world.call(LONG).unwrap_err(), start.elapsed()));
        world.wait_for(2);
        let short = Duration::from_millis(100);
        let begun = Instant::now();
        assert_eq!(world.call(short).unwrap_err().kind(), ErrorKind::Timeout);
        assert!(begun.elapsed() >= short && begun.elapsed() < LONG / 4);
        let (error, took) = patient.join().unwrap();
        assert_eq!(error.kind(), ErrorKind::Network, "told that the connection was given up");
        assert!(took < LONG / 2, "at once: {took:?}");
    });
    drop(inbound);
    // It comes back: the connection is another's by now, and its own caller was told.
    world.exchange.read(&wire, serial, &slot, Instant::now(), deadline);
    assert_eq!(slot.take().unwrap().unwrap_err().kind(), ErrorKind::Network);
    assert!(matches!(world.keeper.try_recv(), Ok(Message::Lost { .. })));
    assert!(world.keeper.try_recv().is_err(), "lost once");
}

#[test]
fn deadlines_hold_though_who_writes_does_not_come_back() {
    let world = World::up();
    let (request, slot, deadline) = world.request(LONG);
    world.exchange.enqueue(request).unwrap();
    let Duty::Write(_batch) = world.exchange.duty(&slot, false, Instant::now(), deadline) else {
        panic!("write")
    };
    let short = Duration::from_millis(100);
    let begun = Instant::now();
    assert_eq!(world.call(short).unwrap_err().kind(), ErrorKind::Timeout);
    assert!(begun.elapsed() < LONG / 4);
    assert!(slot.take().unwrap().is_err(), "the writer's own caller is told too");
    assert!(world.exchange.down().is_some(), "nobody waits for a server that hangs");
}

#[test]
fn a_caller_that_finds_no_time_to_send_leaves_the_others_their_connection() {
    let world = World::up();
    {
        // Not long ago another was connected, and somebody writes.
        let mut state = world.exchange.state.lock();
        let (up, _) = state.up(1).unwrap();
        up.has_writer = true;
        up.since = Instant::now() + LONG;
    }
    assert_eq!(world.call(Duration::from_millis(20)).unwrap_err().kind(), ErrorKind::Timeout);
    assert!(world.exchange.activity(1).is_some_and(|activity| activity.is_idle));
}

#[test]
fn replies_go_to_their_callers_in_order_and_the_role_is_handed_on() {
    let mut world = World::up();
    let callers = 20;
    let mut server = world.server.try_clone().unwrap();
    thread::scope(|scope| {
        let world = &world;
        let calls: Vec<_> = (0..callers)
            .map(|number| {
                let call = scope.spawn(move || world.call(LONG).unwrap());
                // One after the other, so that their order is known.
                world.wait_for(number + 1);
                call
            })
            .collect();
        for number in 0..callers {
            // In pieces: each reply ends the reader's turn, and leaves a part of the next.
            write!(server, ":{number}\r").unwrap();
            thread::sleep(Duration::from_millis(2));
            writeln!(server).unwrap();
        }
        for (number, call) in calls.into_iter().enumerate() {
            let replies = call.join().unwrap();
            assert_eq!(replies.one(), Some(format!(":{number}\r\n").as_bytes()));
        }
    });
    let mut state = world.exchange.state.lock();
    let (up, _) = state.up(1).unwrap();
    assert!(!up.has_reader && !up.has_writer && up.sent.is_empty());
    drop(state);
    assert!(world.keeper.try_recv().is_err());
}

#[test]
fn closing_lets_readers_writers_and_those_who_wait_go() {
    let world = World::up();
    let start = Instant::now();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..5).map(|_| scope.spawn(|| world.call(LONG))).collect();
        world.wait_for(5);
        world.exchange.close();
        for call in calls {
            assert_eq!(call.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
        }
    });
    assert!(start.elapsed() < LONG / 2);
    assert_eq!(world.call(LONG).unwrap_err().kind(), ErrorKind::Closed);
}
