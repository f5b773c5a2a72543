//! The load balancer in front of the lab's web hosts: a real haproxy in the gateway namespace. Rendering is pure.

use crate::cgroup;
use crate::error::Result;
use crate::paths::{GATEWAY, Lab, NETNS, write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Between two starts of a balancer that ended.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// The configuration. No connection is ever used twice and no answer of a host is asked for again: what fails is counted.
pub(crate) fn render(servers: &[(String, String)], socket: &Path) -> String {
    let mut text = format!(
        "global\n    maxconn 512\n    stats socket {} mode 600 level admin\n\n\
         defaults\n    mode http\n    timeout connect 1s\n    timeout client 10s\n    timeout server 10s\n    timeout check 1s\n    \
         timeout queue 2s\n    option httpclose\n    http-reuse never\n    option redispatch 1\n    retries 3\n    retry-on conn-failure\n    \
         option forwardfor\n\n\
         frontend site\n    bind {GATEWAY}:80\n    default_backend hosts\n\n\
         backend hosts\n    balance roundrobin\n    option httpchk GET /healthz\n    http-check expect status 200\n    \
         default-server check inter 200ms fall 2 rise 2\n",
        socket.display()
    );
    for (name, address) in servers {
        text.push_str(&format!("    server {name} {address}:80\n"));
    }
    text
}

/// Runs the balancer for ever, starting it again should it end.
pub(crate) fn run(lab: &Lab, servers: &[(String, String)]) -> Result<()> {
    let (config, socket) = (lab.state().join("haproxy.cfg"), lab.state().join("haproxy.sock"));
    write(&config, render(servers, &socket).as_bytes(), 0o600)?;
    let group = cgroup::make(lab, "gateway", false)?;
    loop {
        let _ = std::fs::remove_file(&socket);
        let mut haproxy = cgroup::joined(&group, "nsenter");
        haproxy.arg(format!("--net={}", Path::new(NETNS).join(lab.gateway()).display())).args(["haproxy", "-db", "-q", "-f"]).arg(&config);
        let outcome = haproxy.stdout(Stdio::null()).spawn().and_then(|mut child| child.wait());
        tracing::warn!(?outcome, "the load balancer ended and is started again");
        std::thread::sleep(RESTART_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_web_host_is_checked_and_no_answer_is_retried() {
        let text = render(&[("web-1".into(), "10.77.0.11".into()), ("web-2".into(), "10.77.0.12".into())], Path::new("/s"));
        assert!(text.contains("    server web-1 10.77.0.11:80\n    server web-2 10.77.0.12:80\n"));
        assert!(text.contains("default-server check inter 200ms fall 2 rise 2"));
        assert!(text.contains("retry-on conn-failure\n"));
        assert!(text.contains("http-reuse never") && text.contains("bind 10.77.0.1:80"));
    }
}
