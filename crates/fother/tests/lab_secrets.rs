//! Secrets planted on a host are found in no blob, log or output of its server, through rehearsals and rollouts that print and diff them. Root only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod fleet;

use fleet::{Fleet, GROUP, QUICK_WAIT, Setup};
use fother_lab::SiteVersion;
use serde_json::Value;
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

/// A secret and where it was planted.
struct Secret {
    place: &'static str,
    value: String,
}

const PLACES: [&str; 10] = [
    "/etc/secret.conf",
    "a snippet of nginx",
    "Environment= of a unit",
    "the environment of a process",
    "the journal",
    "the shell's history",
    "/root/.ssh",
    "a configuration file of a package",
    "the output of a check",
    "apt's sources",
];

fn secrets() -> Vec<Secret> {
    let one = |place| {
        let mut random = [0_u8; 12];
        getrandom::fill(&mut random).unwrap();
        Secret { place, value: random.iter().map(|byte| format!("{byte:02x}")).collect() }
    };
    PLACES.into_iter().map(one).collect()
}

fn plant(fleet: &Fleet, host: &str, secrets: &[Secret]) {
    let [conf, nginx, unit, process, journal, history, ssh, conffile, check, apt] = secrets else { panic!() };
    let put = |path: &str, text: String| fleet.copy_in(host, path, text.as_bytes());
    fleet.run_on(host, &["mkdir", "-p", "/etc/systemd/system/nginx.service.d", "/root/.ssh", "/etc/fother/checks.d"]);
    put("/etc/secret.conf", format!("password = {}\n", conf.value));
    // dpkg prints it after every run, as a hook of an administrator may.
    put("/etc/dpkg/dpkg.cfg.d/loud", "post-invoke=cat /etc/secret.conf >&2\n".to_owned());
    put("/etc/nginx/conf.d/secret.conf", format!("# {}\nmap $http_x_key $key {{ default \"{0}\"; }}\n", nginx.value));
    put("/etc/systemd/system/nginx.service.d/secret.conf", format!("[Service]\nEnvironment=API_KEY={}\n", unit.value));
    put("/root/.bash_history", format!("mysql -p{}\n", history.value));
    put("/root/.ssh/id_ed25519", format!("{}\n", ssh.value));
    put("/etc/lab-site/site.conf", format!("# What the site says.\ngreeting = hello from\n# admin: {0}\n# {0}\n", conffile.value));
    put("/etc/apt/sources.list.d/odd.list", format!("# {}\ndeb http://user:{0}@203.0.113.1/debian bookworm main\n", apt.value));
    // Fine in a rehearsal; once the slow failure is installed it fails and prints.
    let hook = format!(
        "#!/bin/sh\n[ -d /run/fother-rehearsal ] && exit 0\n[ \"$(dpkg-query -W -f '${{Version}}' lab-site)\" = {} ] || exit 0\necho token={} >&2\nexit 7\n",
        SiteVersion::SlowFailure.version(),
        check.value
    );
    put("/etc/fother/checks.d/leaky", hook);
    let commands = format!(
        "chmod 700 /etc/fother/checks.d/leaky; chmod 644 /etc/lab-site/site.conf; logger {}; systemctl daemon-reload; systemctl restart nginx.service; \
         TOKEN={} setsid sleep 3600 >/dev/null 2>&1 </dev/null &",
        journal.value, process.value
    );
    // Its sources are other ones now: the server is to know before anything is planned.
    let inventory = |fleet: &Fleet| {
        let state = fleet.state();
        state["hosts"][fleet.id(&state, host)]["inventory"].clone()
    };
    let before = inventory(fleet);
    fleet.run_on(host, &["sh", "-c", &commands]);
    fleet.run_on(host, &["systemctl", "restart", "fother-executor.service"]);
    fleet.wait("a new inventory", QUICK_WAIT, || inventory(fleet) != before);
}

/// The policy, with the check that prints.
fn with_the_loud_check(fleet: &mut Fleet) {
    let path = fleet.path("fother.toml");
    let policy = fs::read_to_string(&path).unwrap().replace("checks = [\"site\", \"nginx\"]", "checks = [\"site\", \"nginx\", \"leaky\"]");
    fs::write(&path, format!("{policy}[check.leaky]\nkind = \"hook\"\nname = \"leaky\"\nhook = \"leaky\"\n")).unwrap();
    fleet.kill_server();
    fleet.start_server();
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), found);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}

/// Secrets in these bytes, also unpacked, and also as hexadecimal or base64.
fn found(bytes: &[u8], secrets: &[Secret]) -> Vec<&'static str> {
    let mut forms = vec![bytes.to_vec()];
    let mut unpacked = Vec::new();
    if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        && zstd::Decoder::new(bytes).and_then(|mut zstd| zstd.read_to_end(&mut unpacked)).is_ok()
    {
        forms.push(unpacked);
    }
    let holds = |secret: &&Secret| {
        use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
        let hex: String = secret.value.bytes().map(|byte| format!("{byte:02x}")).collect();
        let needles = [secret.value.clone(), hex, STANDARD_NO_PAD.encode(&secret.value)];
        needles.iter().any(|needle| forms.iter().any(|form| form.windows(needle.len()).any(|window| window == needle.as_bytes())))
    };
    secrets.iter().filter(holds).map(|secret| secret.place).collect()
}

fn nothing_left_the_host(fleet: &Fleet, outputs: &str, secrets: &[Secret]) {
    let mut all = Vec::new();
    files(&fleet.path("server"), &mut all);
    files(&fleet.path("cache"), &mut all);
    all.push(fleet.path("server.log"));
    assert!(all.len() > 20, "the server's files are where they are looked for: {all:?}");
    for path in &all {
        assert_eq!(found(&fs::read(path).unwrap(), secrets), [""; 0], "{}", path.display());
    }
    assert_eq!(found(outputs.as_bytes(), secrets), [""; 0], "an output of the command line");
    eprintln!("{} files of the server and {} bytes of output searched for {} secrets", all.len(), outputs.len(), secrets.len());
}

/// What people see of a plan, its change and everything else.
fn show_all(fleet: &Fleet, host: &str, more: &[&[&str]]) -> String {
    let all: [&[&str]; 5] =
        [&["status"], &["host", "ls"], &["host", "show", host], &["log", "show", "--from", "0"], &["--format", "json", "status"]];
    let shown = |arguments: &&[&str]| {
        let output = fleet.try_cli(arguments);
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    all.iter().chain(more).map(shown).collect()
}

fn new_plan(fleet: &Fleet, version: SiteVersion) -> (String, Value, String) {
    fleet.publish(version);
    let planned = fleet.try_cli(&["--format", "json", "plan", "new", GROUP]);
    if !planned.status.success() {
        let journal = fleet.run_on(&fleet.web[0].name, &["journalctl", "--no-pager", "-o", "cat", "-n", "15", "-u", "fother-executor"]);
        panic!("no plan: {}\n{journal}", String::from_utf8_lossy(&planned.stderr));
    }
    let planned: Value = serde_json::from_slice(&planned.stdout).unwrap();
    let plan = planned["data"]["digest"].as_str().unwrap().to_owned();
    let output = fleet.try_cli(&["plan", "rehearse", &plan, "--no-bisect"]);
    let rehearsal = fleet.rehearsals(&plan).remove(0);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let shown = show_all(fleet, &fleet.web[0].name, &[&["plan", "show", &plan]]);
    (plan, rehearsal, said + &shown)
}

#[test]
fn no_secret_of_a_host_reaches_its_server() {
    let secrets = secrets();
    let packed = zstd::encode_all(format!("x{}x", secrets[3].value).as_bytes(), 3).unwrap();
    assert_eq!(found(&packed, &secrets), [PLACES[3]], "the search finds what is there");

    let mut fleet = Fleet::up(&Setup { hosts: 1, ..Setup::quick("hostilesecret") });
    let host = fleet.web[0].name.clone();
    plant(&fleet, &host, &secrets);
    with_the_loud_check(&mut fleet);
    let mut outputs = String::new();

    // A script that fails: the package's own words are shown, what dpkg's hook printed is not.
    let (_, rehearsal, shown) = new_plan(&fleet, SiteVersion::BrokenScript);
    outputs += &shown;
    let why = rehearsal["breakages"][0]["why"].as_str().unwrap();
    assert_eq!(rehearsal["verdict"], "breaks");
    assert!(
        why.contains("│ lab-site: cannot migrate the settings") && why.contains("stay on the host") | why.contains("stays on the host"),
        "{why}"
    );
    let all = fleet.run_on(&host, &["fother", "agent", "log"]);
    let kept = fleet.run_on(&host, &["fother", "agent", "log", all.lines().next().unwrap()]);
    assert!(kept.contains(&secrets[0].value), "root of the host sees all of it: {kept}");

    // A configuration file that the host changed: the vendor's lines are shown, the host's are counted.
    let (plan, rehearsal, shown) = new_plan(&fleet, SiteVersion::Conffile);
    outputs += &shown;
    let diff = rehearsal["conflicts"][0]["diff"].as_str().unwrap();
    assert_eq!(rehearsal["conflicts"][0]["path"], "/etc/lab-site/site.conf");
    assert!(diff.contains("+greeting = good day from") && diff.contains("lines of the host's file stay on the host"), "{diff}");
    assert_eq!(rehearsal["verdict"], "passes", "{}", rehearsal["reasons"]);
    let change = fleet.approved(&plan);
    outputs += &show_all(&fleet, &host, &[&["change", "show", &change]]);
    let rollout = fleet.start(&change);
    outputs += &fleet.cli(&["rollout", "watch", &rollout]);
    let kept = fs::read_to_string(fleet.root(&host).join("etc/lab-site/site.conf")).unwrap();
    assert!(kept.contains(&secrets[7].value), "the host's file was kept");

    // A rollout that fails on the host, with output of a check.
    let (plan, rehearsal, shown) = new_plan(&fleet, SiteVersion::SlowFailure);
    outputs += &shown;
    assert_eq!(rehearsal["verdict"], "passes", "{}", rehearsal["reasons"]);
    let change = fleet.approved(&plan);
    let rollout = fleet.start(&change);
    let watched = fleet.try_cli(&["rollout", "watch", &rollout]);
    outputs += &String::from_utf8_lossy(&watched.stdout);
    let phase = fleet.state()["rollouts"][&rollout]["hosts"].to_string();
    assert!(phase.contains("leaky: it exited 7") && phase.contains("stays on the host"), "{phase}");
    let txn = fleet.run_on(&host, &["fother", "agent", "log"]);
    assert!(txn.contains(&secrets[8].value), "root of the host sees why: {txn}");

    outputs += &show_all(&fleet, &host, &[&["change", "show", &change], &["plan", "show", &plan]]);
    let report = fleet.verify_log();
    outputs += &report.to_string();
    fleet.kill_server();
    nothing_left_the_host(&fleet, &outputs, &secrets);
}
