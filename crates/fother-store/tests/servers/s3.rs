//! An S3 server in a process of its own that ends with the test. Touches a temporary directory and a loopback port.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

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
