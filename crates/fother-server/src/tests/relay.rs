//! A TCP relay that can stop forwarding without closing anything, as a network does that is cut. Touches loopback.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How soon a relayed connection notices that it is cut, or no more.
const TICK: Duration = Duration::from_millis(20);

/// The relay; its threads end with it.
pub(super) struct Relay {
    pub(super) port: u16,
    until: Arc<Mutex<Option<Instant>>>,
    over: Arc<AtomicBool>,
}

impl Relay {
    /// Relays to a loopback port.
    pub(super) fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let relay = Self { port: listener.local_addr().unwrap().port(), until: Arc::default(), over: Arc::default() };
        let (until, over) = (Arc::clone(&relay.until), Arc::clone(&relay.over));
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let Ok((near, _)) = listener.accept() else {
                    std::thread::sleep(TICK);
                    continue;
                };
                let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (until, over) = (Arc::clone(&until), Arc::clone(&over));
                    std::thread::spawn(move || pump(from, to, &until, &over));
                }
            }
        });
        relay
    }

    /// Forwards nothing for a while; what is under way arrives late.
    pub(super) fn cut(&self, time: Duration) {
        *self.until.lock().unwrap() = Some(Instant::now() + time);
    }

    /// Forwards again.
    pub(super) fn heal(&self) {
        *self.until.lock().unwrap() = None;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, until: &Mutex<Option<Instant>>, over: &AtomicBool) {
    from.set_nonblocking(false).unwrap();
    from.set_read_timeout(Some(TICK)).unwrap();
    let mut bytes = [0; 16 << 10];
    while !over.load(Ordering::Relaxed) {
        if until.lock().unwrap().is_some_and(|until| Instant::now() < until) {
            std::thread::sleep(TICK);
            continue;
        }
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) if to.write_all(&bytes[..length]).is_ok() => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Ok(_) | Err(_) => break,
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}
