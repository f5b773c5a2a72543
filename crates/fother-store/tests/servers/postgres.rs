//! PostgreSQL 15 from Debian, in a cluster of its own that ends with the test, however that ends. Touches temporary directories, a loopback
//! port, its own processes.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Where Debian puts the programs of PostgreSQL 15.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// Password of the cluster's owner.
pub const PASSWORD: &str = "not-in-any-log-7f3a";
/// What the watching shell does once its input ends, which it does with the process that holds the other end.
const WATCH: &str = r#"cat > /dev/null; $1 "$2/pg_ctl" -D "$3/data" stop -m immediate > /dev/null 2>&1; rm -rf "$3""#;

/// A running cluster.
pub struct Cluster {
    dir: PathBuf,
    pub port: u16,
    watch: Child,
}

impl Cluster {
    /// The one that all tests of this process share, or why there is none.
    pub fn shared() -> Result<&'static Self, String> {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[])).as_ref().map_err(Clone::clone)
    }

    /// A cluster of its own with these settings.
    pub fn start(settings: &[&str]) -> Result<Self, String> {
        if !Path::new(PROGRAMS).join("initdb").exists() {
            return Err(format!("{PROGRAMS}/initdb is not there: install postgresql-15 (scripts/setup.sh)"));
        }
        let dir = tempfile::Builder::new().prefix("fother-postgres-").tempdir().unwrap().keep();
        let port = free_port();
        let watch = Command::new("setsid")
            .args(["sh", "-c", WATCH, "watch", &prefix().join(" "), PROGRAMS])
            .arg(&dir)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| format!("setsid cannot be run: {error}"))?;
        let cluster = Self { dir, port, watch };
        fs::write(cluster.dir.join("password"), PASSWORD).unwrap();
        authority(&cluster.dir);
        if !prefix().is_empty() {
            run(Command::new("chown").args(["-R", "postgres:"]).arg(&cluster.dir))?;
        }
        let data = cluster.dir.join("data");
        let password = format!("--pwfile={}", cluster.dir.join("password").display());
        run(program("initdb").arg("-D").arg(&data).args(["-U", "fother", "--auth=scram-sha-256", "-E", "UTF8", "--locale=C", &password]))?;
        let mut text = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{0}'\nmax_connections = 200\nlog_statement = all\n\
             ssl = on\nssl_cert_file = '{0}/server.crt'\nssl_key_file = '{0}/server.key'\n",
            cluster.dir.display()
        );
        settings.iter().for_each(|setting| text.push_str(&format!("{setting}\n")));
        let file = data.join("postgresql.conf");
        let old = fs::read_to_string(&file).map_err(|error| error.to_string())?;
        fs::write(&file, old + &text).map_err(|error| error.to_string())?;
        cluster.up()?;
        Ok(cluster)
    }

    fn up(&self) -> Result<(), String> {
        run(program("pg_ctl").arg("-D").arg(self.dir.join("data")).arg("-l").arg(self.log()).args(["-w", "-t", "60", "start"]))
    }

    /// Stops it as a crash would, and starts it again.
    pub fn crash_and_restart(&self) {
        run(program("pg_ctl").arg("-D").arg(self.dir.join("data")).args(["-w", "stop", "-m", "immediate"])).unwrap();
        self.up().unwrap();
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// All that the server has written about itself.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    /// The authority that its certificate for `localhost` comes from.
    pub fn authority(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// A new database, as the address of it; at `port` instead of its own, if one is given.
    pub fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        format!("postgres://fother:{PASSWORD}@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs statements as the owner, by psql; says what it printed.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "fother", "-d", database, "-c", sql]);
        psql.arg("-p").arg(self.port.to_string()).env("PGPASSWORD", PASSWORD).env("PGOPTIONS", "-c search_path=fother");
        let output = psql.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        let _ = self.watch.wait();
    }
}

/// Root may not run PostgreSQL.
fn prefix() -> Vec<&'static str> {
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if root { vec!["runuser", "-u", "postgres", "--"] } else { Vec::new() }
}

fn program(name: &str) -> Command {
    let path = format!("{PROGRAMS}/{name}");
    let mut words = prefix();
    words.push(&path);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir("/");
    command
}

fn run(command: &mut Command) -> Result<(), String> {
    // A daemon that inherits a pipe would keep it open: its output goes to a file of its own, pg_ctl's to nowhere.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

/// A port that nobody uses now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An authority, and a certificate of it for `localhost`, that the server shows.
fn authority(dir: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = ca.self_signed(&ca_key).unwrap();
    fs::write(dir.join("ca.crt"), certificate.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    fs::write(dir.join("server.crt"), server.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem()).unwrap();
    fs::write(dir.join("server.key"), key.serialize_pem()).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(dir.join("server.key"), private).unwrap();
}
