//! Checks as a team writes them: every kind is read, and every mistake is told with its place. Touches nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::policy::{Check, CheckAnswer, Mark, Policy, PolicyError};

const POLICY: &str = r#"[group.web]
select = 'role == "web"'
window = "always"
budget = { unavailable = 1 }
rollout = { canary = 1, waves = ["100%"], soak = "2m" }
checks = ["page", "db", "cert", "nginx", "port", "disk", "memory", "errors", "access", "rate", "hook", "unit"]
approvals = 1
[check.page]
kind = "http"
name = "page"
url = "http://127.0.0.1/health"
status = 200
body = { contains = "ok", matches = "version [0-9]+" }
latency = { percent = 200, floor_ms = 50 }
[check.db]
kind = "tcp"
name = "db"
address = "[::1]:5432"
[check.cert]
kind = "tls"
name = "cert"
address = "127.0.0.1:443"
server_name = "www.example"
days = 14
ca = "/etc/ssl/own.pem"
[check.nginx]
kind = "process"
name = "nginx"
executable = "/usr/sbin/nginx"
unit = "nginx.service"
count = 2
[check.port]
kind = "listening"
name = "port"
protocol = "tcp"
port = 443
address = "0.0.0.0"
executable = "/usr/sbin/nginx"
[check.disk]
kind = "disk"
name = "disk"
path = "/var"
min_free = "10%"
[check.memory]
kind = "memory"
name = "memory"
min_available = "512MiB"
[check.errors]
kind = "log"
name = "errors"
unit = "nginx.service"
pattern = "(?i)segfault|out of memory"
[check.access]
kind = "log"
name = "access"
file = "/var/log/nginx/error.log"
pattern = "\\[crit\\]"
max = 3
[check.rate]
kind = "prometheus"
name = "rate"
server = "main"
query = 'rate(errors_total{instance="$instance"}[1m])'
series = 'errors_total{instance="$instance"}'
op = "<"
value = "0.05"
max_age = "1m"
[check.hook]
kind = "hook"
name = "hook"
hook = "smoke-test"
[check.unit]
kind = "unit"
name = "unit"
unit = "nginx.service"
"#;

fn faults(from: &str, to: &str) -> Vec<String> {
    assert!(POLICY.contains(from), "`{from}` stands nowhere");
    match Policy::parse(&POLICY.replacen(from, to, 1)) {
        Ok(_) => Vec::new(),
        Err(PolicyError(faults)) => faults.iter().map(|fault| fault.to_string().lines().next().unwrap().to_owned()).collect(),
    }
}

#[test]
fn every_kind_is_read_and_keeps_its_canonical_form() {
    let policy = Policy::parse(POLICY).unwrap_or_else(|error| panic!("{error}"));
    let text = fother_core::canonical::to_vec(&policy).unwrap();
    assert_eq!(serde_json::from_slice::<Policy>(&text).unwrap(), policy);
    let Check::Prometheus { max_age_s, .. } = &policy.check["rate"] else { panic!() };
    assert_eq!(*max_age_s, 60);
}

#[test]
fn a_check_of_before_keeps_its_bytes() {
    let old = r#"{"kind":"http","name":"a","status":200,"url":"http://127.0.0.1/"}"#;
    let check: Check = serde_json::from_str(old).unwrap();
    assert_eq!(String::from_utf8(fother_core::canonical::to_vec(&check).unwrap()).unwrap(), old);
    let noted = CheckAnswer::Noted { mark: Mark::File { inode: 1, bytes: 2 } };
    let text = serde_json::to_string(&noted).unwrap();
    assert_eq!(serde_json::from_str::<CheckAnswer>(&text).unwrap(), noted);
}

#[test]
fn each_mistake_has_its_place_and_its_words() {
    for (from, to, place, words) in [
        ("url = \"http://127.0.0.1/health\"", "url = \"http://192.0.2.1/\"", "fother.toml:11:7:", "only loopback"),
        ("url = \"http://127", "url = \"https://127", "fother.toml:11:7:", "only http:// to a loopback"),
        ("status = 200", "status = 2000", "fother.toml:12:10:", "100 to 599"),
        ("matches = \"version [0-9]+\"", "matches = \"version [0-9+\"", "fother.toml:13:8:", "regular expression"),
        ("contains = \"ok\"", "contians = \"ok\"", "fother.toml:13:", "there is no key `contians`"),
        ("{ contains = \"ok\", matches = \"version [0-9]+\" }", "{}", "fother.toml:13:8:", "say `contains` or `matches`"),
        ("percent = 200", "percent = 100", "fother.toml:14:11:", "more than 100"),
        ("\"[::1]:5432\"", "\"[::1]\"", "fother.toml:18:11:", "write 127.0.0.1:PORT"),
        ("\"[::1]:5432\"", "\"10.0.0.1:5432\"", "fother.toml:18:11:", "only loopback"),
        ("server_name = \"www.example\"", "server_name = \"www example\"", "fother.toml:23:15:", "no name of a server"),
        ("ca = \"/etc/ssl/own.pem\"", "ca = \"own.pem\"", "fother.toml:25:6:", "no absolute path"),
        ("executable = \"/usr/sbin/nginx\"", "executable = \"nginx\"", "fother.toml:29:14:", "no absolute path"),
        ("count = 2", "count = 0", "fother.toml:31:9:", "zero processes"),
        ("protocol = \"tcp\"", "protocol = \"sctp\"", "fother.toml:35:12:", "`sctp` is none of tcp, udp"),
        ("port = 443", "port = 0", "fother.toml:36:8:", "1 to 65535"),
        ("port = 443", "port = 70000", "fother.toml:36:8:", "70000"),
        ("address = \"0.0.0.0\"", "address = \"any\"", "fother.toml:37:11:", "no IP address"),
        ("path = \"/var\"", "path = \"/var/../etc\"", "fother.toml:42:8:", "without `..`"),
        ("min_free = \"10%\"", "min_free = \"10\"", "fother.toml:43:12:", "no amount"),
        ("min_free = \"10%\"", "min_free = \"0%\"", "fother.toml:43:12:", "no amount"),
        ("min_available = \"512MiB\"", "min_available = \"512MB\"", "fother.toml:47:17:", "no amount"),
        (
            "unit = \"nginx.service\"\npattern",
            "unit = \"a.service\"\nfile = \"/a\"\npattern",
            "fother.toml:51:8:",
            "either a `unit` or a `file`",
        ),
        ("pattern = \"(?i)segfault|out of memory\"", "pattern = \"\"", "fother.toml:52:11:", "matches everything"),
        ("pattern = \"(?i)segfault|out of memory\"", "pattern = \"(a{1000}){1000}\"", "fother.toml:52:11:", "regular expression"),
        ("server = \"main\"", "server = \"http://x\"", "fother.toml:62:10:", "letters, digits"),
        ("series = 'errors_total{instance=\"$instance\"}'\n", "", "fother.toml:63:9:", "name the `series`"),
        ("series = 'errors_total", "series = 'rate(errors_total", "fother.toml:64:10:", "no plain selector"),
        ("op = \"<\"", "op = \"=\"", "fother.toml:65:6:", "`=` is none of"),
        ("value = \"0.05\"", "value = \"NaN\"", "fother.toml:66:9:", "no decimal number"),
        ("value = \"0.05\"", "value = 0.05", "fother.toml:66:9:", "a number with a fraction is not what belongs here"),
        ("max_age = \"1m\"", "max_age = \"3m\"", "fother.toml:5:", "shorter than the max_age of rate (180 s)"),
        ("max_age = \"1m\"\n", "", "fother.toml:", "`max_age` is missing"),
        ("hook = \"smoke-test\"", "hook = \"../smoke\"", "fother.toml:71:8:", "malformed"),
    ] {
        let told = faults(from, to);
        assert!(told.iter().any(|line| line.starts_with(place) && line.contains(words)), "`{to}`: wanted {place} {words}, got {told:#?}");
    }
}

#[test]
fn what_a_clone_cannot_answer_is_named_and_the_rest_is_asked() {
    let policy = Policy::parse(POLICY).unwrap();
    let of = |name: &str| policy.check[name].in_clone();
    for name in ["db", "cert", "nginx", "port", "errors", "access", "hook", "unit"] {
        assert!(of(name).asked.is_some() && of(name).not.is_none(), "{name}");
    }
    for name in ["disk", "memory", "rate"] {
        assert!(of(name).asked.is_none() && of(name).not.is_some(), "{name}");
    }
    let page = of("page");
    assert!(matches!(page.asked, Some(Check::Http { latency: None, body: Some(_), .. })) && page.not.is_some());
}
