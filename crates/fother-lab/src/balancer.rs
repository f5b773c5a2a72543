//! The load balancer in front of the lab's web hosts: a real haproxy, or a real nginx, in the gateway namespace. Rendering is pure.

use crate::cgroup;
use crate::error::Result;
use crate::paths::{GATEWAY, Lab, NETNS, write};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Between two starts of a balancer that ended.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// Where haproxy's runtime API answers on the gateway.
pub const RUNTIME_PORT: u16 = 9999;

/// What balances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balancer {
    /// haproxy: asks each host for its health, and is asked over its runtime API.
    #[default]
    Haproxy,
    /// nginx: goes to the next host where one refuses, or answers 503.
    Nginx,
}

/// The configuration. No connection is ever used twice and no answer of a host is asked for again: what fails is counted.
pub(crate) fn render(servers: &[(String, String)], socket: &Path) -> String {
    let mut text = format!(
        "global\n    maxconn 512\n    stats socket {} mode 600 level admin\n    stats socket ipv4@{GATEWAY}:{RUNTIME_PORT} level admin\n\n\
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

/// nginx's configuration: an answer of 503 and a refused connection lead to the next host; everything else is counted.
pub(crate) fn render_nginx(servers: &[(String, String)], state: &Path) -> String {
    let dir = state.display();
    let mut upstream = String::new();
    for (name, address) in servers {
        upstream.push_str(&format!("        server {address}:80 max_fails=1 fail_timeout=1s; # {name}\n"));
    }
    let temporary: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|one| format!("    {one}_temp_path {dir}/nginx-tmp;\n")).concat();
    format!(
        "daemon off;\npid {dir}/nginx.pid;\nerror_log {dir}/nginx.log;\nevents {{ worker_connections 512; }}\nhttp {{\n    access_log off;\n{temporary}\
         \x20   upstream hosts {{\n{upstream}    }}\n    server {{\n        listen {GATEWAY}:80;\n        location / {{\n            proxy_pass http://hosts;\n\
         \x20           proxy_connect_timeout 1s;\n            proxy_read_timeout 10s;\n\
         \x20           proxy_next_upstream error timeout http_503;\n            proxy_next_upstream_tries {};\n        }}\n    }}\n}}\n",
        servers.len()
    )
}

/// Runs the balancer for ever, starting it again should it end.
pub(crate) fn run(lab: &Lab, balancer: Balancer, servers: &[(String, String)]) -> Result<()> {
    let group = cgroup::make(lab, "gateway", false)?;
    let (haproxy, nginx) = (lab.state().join("haproxy.cfg"), lab.state().join("nginx.conf"));
    let socket = lab.state().join("haproxy.sock");
    match balancer {
        Balancer::Haproxy => write(&haproxy, render(servers, &socket).as_bytes(), 0o600)?,
        Balancer::Nginx => write(&nginx, render_nginx(servers, &lab.state()).as_bytes(), 0o600)?,
    }
    loop {
        let _ = std::fs::remove_file(&socket);
        let mut inside = cgroup::joined(&group, "nsenter");
        inside.arg(format!("--net={}", Path::new(NETNS).join(lab.gateway()).display()));
        match balancer {
            Balancer::Haproxy => inside.args(["haproxy", "-db", "-q", "-f"]).arg(&haproxy),
            Balancer::Nginx => inside.args(["nginx", "-c"]).arg(&nginx),
        };
        let outcome = inside.stdout(Stdio::null()).spawn().and_then(|mut child| child.wait());
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

    #[test]
    fn nginx_goes_on_to_the_next_host_and_asks_for_nothing_else_again() {
        let text = render_nginx(&[("web-1".into(), "10.77.0.11".into()), ("web-2".into(), "10.77.0.12".into())], Path::new("/s"));
        assert!(text.contains("server 10.77.0.11:80 max_fails=1 fail_timeout=1s; # web-1\n"), "{text}");
        assert!(text.contains("proxy_next_upstream error timeout http_503;") && text.contains("proxy_next_upstream_tries 2;"), "{text}");
    }
}
