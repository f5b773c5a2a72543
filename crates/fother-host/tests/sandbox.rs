//! A proof that the sandbox for readers of foreign bytes holds: inside of it nothing is sent, started or written, and nothing else is read.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_host::sandbox::{self, Allowed};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use std::{fs, net, os::unix::net::UnixStream, process::Command};

/// One test alone in its program: limits are the whole process's, the rest is its thread's.
#[test]
fn a_reader_reads_what_it_may_and_does_nothing_else() {
    let keep = tempfile::tempdir().unwrap();
    let (input, work, other) = (keep.path().join("input"), keep.path().join("work"), keep.path().join("other"));
    for dir in [&input, &work, &other] {
        fs::create_dir(dir).unwrap();
        fs::write(dir.join("file"), "text").unwrap();
    }
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reader = Allowed { read: vec![input.clone()], write: Vec::new() };
    let writer = Allowed { read: vec![input.clone()], write: vec![work.clone()] };
    for allowed in [reader, writer] {
        let writes = !allowed.write.is_empty();
        let (input, work, other) = (input.clone(), work.clone(), other.clone());
        let inside = move || {
            let missing = sandbox::enter(&allowed).unwrap();
            assert_eq!(missing, Vec::<String>::new(), "this machine has all of it");
            assert_eq!(fs::read_to_string(input.join("file")).unwrap(), "text");
            assert_eq!(fs::read_dir(&input).unwrap().count(), 1);
            assert_eq!(std::thread::scope(|scope| scope.spawn(|| 7).join().unwrap()), 7, "threads are fine");

            assert!(fs::read(other.join("file")).is_err(), "elsewhere nothing is read");
            assert!(fs::read("/etc/passwd").is_err());
            assert!(net::TcpStream::connect(address).is_err(), "nothing is sent");
            assert!(net::UdpSocket::bind("127.0.0.1:0").is_err());
            assert!(net::TcpListener::bind("127.0.0.1:0").is_err());
            assert!(UnixStream::connect("/run/systemd/private").is_err() && UnixStream::pair().is_err());
            assert!(Command::new("/bin/true").status().is_err(), "nothing is started");
            for dir in [&input, &other] {
                assert!(fs::write(dir.join("new"), "x").is_err(), "nothing is written");
                assert!(fs::OpenOptions::new().append(true).open(dir.join("file")).is_err());
                assert!(fs::remove_file(dir.join("file")).is_err() && fs::create_dir(dir.join("d")).is_err());
                assert!(fs::rename(dir.join("file"), dir.join("moved")).is_err());
                assert!(std::os::unix::fs::symlink("/", dir.join("link")).is_err());
                assert!(rustix::fs::chmod(dir.join("file"), Mode::RWXU).is_err() || writes);
                // The one call whose flags the filter of calls cannot see.
                let new = openat2(CWD, dir.join("new"), OFlags::CREATE | OFlags::WRONLY, Mode::RWXU, ResolveFlags::empty());
                assert!(new.is_err());
                assert!(openat2(CWD, dir.join("file"), OFlags::WRONLY, Mode::empty(), ResolveFlags::empty()).is_err());
            }
            assert!(
                rustix::process::setrlimit(rustix::process::Resource::As, rustix::process::Rlimit { current: None, maximum: None })
                    .is_err()
            );
            assert_eq!(fs::write(work.join("new"), "x").is_ok(), writes, "only a writer writes, and only there");
            assert_eq!(fs::remove_file(work.join("file")).is_ok(), writes);
        };
        std::thread::spawn(inside).join().unwrap();
    }
    for dir in [&input, &other] {
        let names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "nothing came of it");
        assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "text");
    }
}
