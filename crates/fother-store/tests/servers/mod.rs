//! Real servers for tests: PostgreSQL 15 from Debian in a cluster of its own, and an S3 server in a process of its own. Each ends with the
//! test, however that ends. Touches temporary directories, loopback ports, its own processes.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
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

/// Where the child finds its directory.
const S3_DIR: &str = "FOTHER_TEST_S3_DIR";
/// Keys of the S3 server.
pub const S3_KEYS: (&str, &str) = ("fother-test", "fother-test-secret");

/// A running S3 server, with one bucket.
pub struct S3 {
    child: Child,
    pub endpoint: String,
    pub root: tempfile::TempDir,
}

impl S3 {
    /// The one that all tests of this process share. It runs the test `s3_server` of this very program, in a process of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<S3> = OnceLock::new();
        SHARED.get_or_init(|| {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("bucket")).unwrap();
            let mut child = Command::new(env::current_exe().unwrap())
                .args(["--ignored", "--exact", "s3_server", "--nocapture"])
                .env(S3_DIR, root.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let port =
                lines.find_map(|line| line.unwrap().strip_prefix("s3 port ").map(str::to_owned)).expect("the S3 server says its port");
            S3 { child, endpoint: format!("http://127.0.0.1:{port}"), root }
        })
    }

    /// A place of its own in the bucket.
    pub fn place(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("s3://bucket/prefix/{}?endpoint={}&region=eu-test-1", NUMBER.fetch_add(1, Ordering::Relaxed), self.endpoint)
    }
}

/// The S3 server itself: serves a directory until its input ends, which it does with the process that started it.
pub fn serve_s3() {
    let Some(root) = env::var_os(S3_DIR) else { return };
    let mut service = s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
    service.set_auth(s3s::auth::SimpleAuth::from_single(S3_KEYS.0, S3_KEYS.1));
    let service = service.build();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("\ns3 port {}", listener.local_addr().unwrap().port());
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let service = service.clone();
            tokio::spawn(async move {
                let stream = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
            });
        }
    });
    let mut end = String::new();
    let _ = std::io::stdin().read_line(&mut end);
}
