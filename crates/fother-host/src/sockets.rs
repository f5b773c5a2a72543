//! Listening sockets of this network namespace, from the kernel's tables `/proc/net/{tcp,tcp6,udp,udp6}`. Parsing only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// One socket that waits for others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listening {
    /// `tcp` or `udp`, then the address, for example `tcp 0.0.0.0:80`.
    pub address: String,
    /// Inode that the owner's descriptor names.
    pub inode: u64,
}

/// Reads one table. UDP sockets on `ephemeral` ports belong to clients and are left out, for they change at every look.
#[must_use]
pub fn listening(table: &str, udp: bool, ephemeral: (u16, u16)) -> Vec<Listening> {
    let wanted = if udp { UDP_UNCONNECTED } else { TCP_LISTEN };
    let word = if udp { "udp" } else { "tcp" };
    let row = |line: &str| {
        let mut fields = line.split_whitespace();
        let local = address(fields.nth(1)?)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        let client = udp && (ephemeral.0..=ephemeral.1).contains(&local.port());
        (state == wanted && !client).then(|| Listening { address: format!("{word} {local}"), inode })
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// `0100007F:1F90`: the address as 32-bit words in the machine's byte order, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> =
        (0..ip.len()).step_by(8).map(|at| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes())).collect();
    let bytes = words?.concat();
    let ip = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000 100 0 0 10 0\n   \
        1: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0000 100 0 0 10 0\n";
    const UDP6: &str = "head\n 9: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0:0 0:0 0 0 0 77 2 0 0\n \
        10: 00000000000000000000000000000000:C000 00000000000000000000000000000000:0000 07 0:0 0:0 0 0 0 78 2 0 0\n";

    #[test]
    fn only_waiting_sockets_count() {
        let found = listening(TCP, false, (32_768, 60_999));
        assert_eq!(found, [Listening { address: "tcp 127.0.0.1:8080".into(), inode: 4242 }]);
    }

    #[test]
    fn client_ports_of_udp_are_left_out() {
        let found = listening(UDP6, true, (32_768, 60_999));
        assert_eq!(found, [Listening { address: "udp [::1]:53".into(), inode: 77 }]);
    }

    #[test]
    fn malformed_rows_are_passed_over() {
        assert!(listening("head\nx\n 0: zz:1 a:0 0A\n", false, (1, 2)).is_empty());
    }
}
