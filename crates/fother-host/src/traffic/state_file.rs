//! A file that says that this host is out of service, for balancers that ask the host itself: nginx, cloud balancers, anything with a health check.

use super::{Direction, until};
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    thread,
    time::Duration,
};

/// TCP states that end by themselves and carry no request (include/net/tcp_states.h): LISTEN, TIME_WAIT, CLOSE.
const NO_CONNECTION: [&str; 3] = ["0A", "06", "07"];
/// Longest time that a balancer may take to notice, in milliseconds.
const SETTLE_MS_MAX: u32 = 60_000;

/// What is wrong with this declaration.
pub(super) fn fault(path: &str, ports: &[u16]) -> Option<String> {
    let plain =
        path.starts_with('/') && path.len() <= 512 && !path.split('/').any(|part| part == "..") && !path.chars().any(char::is_control);
    if !plain {
        return Some("the path of a state file is absolute, without `..`".to_owned());
    }
    (ports.is_empty() || ports.contains(&0)).then(|| "name the ports that requests come in at".to_owned())
}

pub(super) fn direct(path: &str, ports: &[u16], settle_ms: u32, wait_s: u32, direction: Direction) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{path}: {error}");
    let settle = Duration::from_millis(settle_ms.min(SETTLE_MS_MAX).into());
    match direction {
        Direction::Out => {
            fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path).map_err(told)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(told)?;
            thread::sleep(settle);
            let mut left = 0;
            let gone = until(wait_s, || {
                left = connections(ports)?;
                Ok(left == 0)
            })?;
            if gone { Ok(()) } else { Err(format!("{path} says that this host is out, but {left} connections are left after {wait_s} s")) }
        }
        Direction::In => {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(told(error)),
                _ => {}
            }
            thread::sleep(settle);
            Ok(())
        }
    }
}

/// Connections of others to these ports, over IPv4 and IPv6.
fn connections(ports: &[u16]) -> Result<usize, String> {
    let mut count = 0;
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match fs::read_to_string(table) {
            Ok(text) => count += count_in(&text, ports),
            Err(error) if error.kind() == ErrorKind::NotFound && table.ends_with('6') => {}
            Err(error) => return Err(format!("{table} cannot be read: {error}")),
        }
    }
    Ok(count)
}

fn count_in(text: &str, ports: &[u16]) -> usize {
    let open = |line: &&str| {
        let mut words = line.split_whitespace();
        let port = words.nth(1).and_then(|local| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok());
        let state = words.nth(1).unwrap_or_default();
        port.is_some_and(|port| ports.contains(&port)) && !NO_CONNECTION.contains(&state)
    };
    text.lines().skip(1).filter(open).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_host_is_out_once_the_file_is_there_and_the_last_connection_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out").display().to_string();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let client = TcpStream::connect(at).unwrap();
        let (served, _) = listener.accept().unwrap();
        let error = direct(&path, &[at.port()], 0, 1, Direction::Out).unwrap_err();
        assert!(error.contains("1 connections are left after 1 s"), "{error}");
        assert!(fs::exists(&path).unwrap(), "new requests go elsewhere already");
        // The client closes first, so that nothing but TIME_WAIT is left, and that on its side.
        drop(client);
        drop(served);
        direct(&path, &[at.port()], 0, 5, Direction::Out).unwrap();
        direct(&path, &[at.port()], 0, 5, Direction::Out).unwrap();
        direct(&path, &[at.port()], 0, 5, Direction::In).unwrap();
        direct(&path, &[at.port()], 0, 5, Direction::In).unwrap();
        assert!(!fs::exists(&path).unwrap());
    }

    #[test]
    fn a_declaration_names_an_absolute_path_and_ports() {
        assert_eq!(fault("/run/fother/out", &[80]), None);
        for (path, ports) in [("out", &[80][..]), ("/run/../x", &[80]), ("/run/out", &[]), ("/run/out", &[0])] {
            assert!(fault(path, ports).is_some(), "{path}");
        }
    }
}
