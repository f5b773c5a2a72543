//! Connections to PostgreSQL: addresses, TLS, pools, what is asked again, and whether the server can be trusted with the log. Touches the network.

use super::Value;
use crate::{Error, runner::Runner, tls};
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use rustls::RootCertStore;
use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_postgres::{
    Config, Row,
    config::{Host, SslMode},
    error::SqlState,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Connections for what must be durable, and for what need not be.
const CONNECTIONS_MAX: (usize, usize) = (8, 2);
/// Longest wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for an answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How long a lost connection is made anew and what may be asked twice is asked again, before the caller is told.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A connection that says nothing is dead after about this long.
const SILENCE: Duration = Duration::from_secs(10);
/// Oldest server that this program was tested with.
const VERSION_MIN: i32 = 150_000;
/// Layout that this program writes; SQLite's has the same numbers.
const LAYOUT: i32 = 2;
/// The schema that holds everything.
const SCHEMA: &str = "fother";
/// Keeps replicas that start at the same time from creating the tables twice.
const CREATE_LOCK: i64 = 0x466f_7468;

/// Where PostgreSQL is, and how it is spoken to. Shown without its password.
#[derive(Clone)]
pub(crate) struct Address {
    config: Config,
    roots: Option<PathBuf>,
    shown: String,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Address {
    /// Reads `postgres://user[:password]@host[:port]/database[?sslmode=…&sslrootcert=FILE…]`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why: String| {
            Error::Place(format!("the address of PostgreSQL cannot be used: {why}; write postgres://user@host:5432/database"))
        };
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut rest, mut mode, mut roots) = (Vec::new(), None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => roots = Some(PathBuf::from(value.replace("%2F", "/"))),
                _ => rest.push(pair),
            }
        }
        let plain = format!("{base}?{}", rest.join("&"));
        // What the crate says may quote the text, and the text may hold a password.
        let mut config: Config = plain.parse().map_err(|_| bad("it is malformed, or has a parameter that is not known".to_owned()))?;
        if config.get_hosts().is_empty() || config.get_dbname().is_none() || config.get_user().is_none() {
            return Err(bad("user, host and database must all be there".to_owned()));
        }
        config.ssl_mode(match mode {
            Some("disable") => SslMode::Disable,
            Some("require" | "verify-ca" | "verify-full" | "prefer") => SslMode::Require,
            Some(other) => return Err(bad(format!("sslmode={other} is not one of disable, require, verify-full"))),
            None if config.get_hosts().iter().all(is_local) => SslMode::Disable,
            None => SslMode::Require,
        });
        let options = format!("{} -c search_path={SCHEMA}", config.get_options().unwrap_or_default());
        config.options(options).application_name("fother").connect_timeout(CONNECT_WAIT).tcp_user_timeout(SILENCE);
        config.keepalives(true).keepalives_idle(SILENCE / 2).keepalives_interval(Duration::from_secs(2)).keepalives_retries(3);
        let shown = shown(&config);
        Ok(Self { config, roots, shown })
    }

    /// Whether it holds a password.
    pub(crate) fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()),
    }
}

fn shown(config: &Config) -> String {
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(place, host)| {
            let port = config.get_ports().get(place).or(config.get_ports().first()).map_or(String::new(), |port| format!(":{port}"));
            match host {
                Host::Tcp(name) => format!("{name}{port}"),
                Host::Unix(path) => format!("{}{port}", path.display()),
            }
        })
        .collect();
    format!("postgres://{}@{}/{}", config.get_user().unwrap_or_default(), hosts.join(","), config.get_dbname().unwrap_or_default())
}

/// Two pools: commits of the one are durable before they are acknowledged, those of the other soon after.
pub(super) struct Connections {
    durable: Pool,
    volatile: Pool,
    runner: Arc<Runner>,
    at: String,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Connections {
    pub(super) fn open(address: &Address, runner: Arc<Runner>, read_only: bool) -> Result<Self, Error> {
        let tls = tls(address)?;
        let durable = pool(address, &tls, CONNECTIONS_MAX.0, read_only, true)?;
        let volatile = pool(address, &tls, CONNECTIONS_MAX.1, read_only, false)?;
        Ok(Self { durable, volatile, runner, at: address.shown.clone() })
    }

    /// Asks for rows on a connection whose commits are durable; `again` where asking twice does no harm.
    pub(super) fn ask(&self, act: &'static str, sql: &'static str, values: Vec<Value>, again: bool) -> Result<Vec<Row>, Error> {
        self.ask_in(&self.durable, act, sql, values, again)
    }

    /// Asks for rows on a connection whose last commits a power cut may lose.
    pub(super) fn ask_volatile(&self, act: &'static str, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.ask_in(&self.volatile, act, sql, values, true)
    }

    fn ask_in(&self, pool: &Pool, act: &'static str, sql: &'static str, values: Vec<Value>, again: bool) -> Result<Vec<Row>, Error> {
        let (pool, at, until) = (pool.clone(), self.at.clone(), Instant::now() + PATIENCE);
        self.runner.wait(async move {
            loop {
                match once(&pool, &at, act, sql, &values).await {
                    Err(Error::Unreachable { why, .. }) if again && Instant::now() < until => {
                        tracing::warn!(%at, %why, "PostgreSQL is asked again");
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                    answer => return answer,
                }
            }
        })?
    }

    /// Asks until the server is reached, or patience ends.
    pub(super) fn patiently<T>(&self, ask: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let until = Instant::now() + PATIENCE;
        loop {
            match ask() {
                Err(Error::Unreachable { .. }) if Instant::now() < until => std::thread::sleep(RETRY_PAUSE),
                answer => return answer,
            }
        }
    }

    /// Looks at how the server is set up; creates the tables, all or none, unless another process has.
    pub(super) fn prepare(&self, read_only: bool) -> Result<(), Error> {
        let (pool, at) = (self.durable.clone(), self.at.clone());
        self.patiently(|| {
            let (pool, at) = (pool.clone(), at.clone());
            self.runner.wait(async move {
                let mut client = pool.get().await.map_err(|error| refused(&at, "connect", error))?;
                let failed = |act| {
                    let at = at.clone();
                    move |error| failure(&at, act, &error)
                };
                check_server(&client).await.map_err(failed("look at its settings"))??;
                let transaction = client.transaction().await.map_err(failed("begin a transaction"))?;
                if !read_only {
                    let begin = format!("SELECT pg_advisory_xact_lock({CREATE_LOCK}); CREATE SCHEMA IF NOT EXISTS {SCHEMA}");
                    transaction.batch_execute(&begin).await.map_err(failed("create its schema"))?;
                }
                let there = format!("SELECT to_regclass('{SCHEMA}.layout') IS NOT NULL");
                let there: bool = transaction.query_one(&there, &[]).await.map_err(failed("look for its tables"))?.get(0);
                if !there && read_only {
                    return Err(Error::Foreign(PathBuf::from(at.clone())));
                }
                if !there {
                    transaction.batch_execute(include_str!("layout2.sql")).await.map_err(failed("create its tables"))?;
                }
                let found: i32 = transaction.query_one("SELECT version FROM layout", &[]).await.map_err(failed("read its layout"))?.get(0);
                if found > LAYOUT {
                    return Err(Error::Newer { path: PathBuf::from(at.clone()), found: found.into(), known: LAYOUT.into() });
                }
                transaction.commit().await.map_err(failed("commit"))
            })?
        })
    }
}

async fn once(pool: &Pool, at: &str, act: &'static str, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, Error> {
    let client = pool.get().await.map_err(|error| refused(at, act, error))?;
    let values: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = values.iter().map(|value| &**value as _).collect();
    let asked = async {
        let statement = client.prepare_cached(sql).await?;
        client.query(&statement, &values).await
    };
    match tokio::time::timeout(ANSWER_WAIT, asked).await {
        Ok(answer) => answer.map_err(|error| failure(at, act, &error)),
        Err(_) => {
            // Nobody must get this connection again: its answer may come yet.
            drop(deadpool_postgres::Object::take(client));
            Err(Error::Unreachable { at: at.to_owned(), why: format!("no answer within {} s", ANSWER_WAIT.as_secs()) })
        }
    }
}

/// Refuses a server that could lose what it has acknowledged, or that is no server to write to.
async fn check_server(client: &deadpool_postgres::Client) -> Result<Result<(), Error>, tokio_postgres::Error> {
    let sql = "SELECT current_setting('server_version_num')::integer, current_setting('fsync'), current_setting('full_page_writes'),
        current_setting('server_encoding'), current_setting('server_version')";
    let row = client.query_one(sql, &[]).await?;
    let setting = |column| row.get::<_, String>(column);
    let why = if row.get::<_, i32>(0) < VERSION_MIN {
        format!("it is version {}, at least 15 is needed", setting(4))
    } else if setting(1) != "on" {
        "its setting fsync is off: it acknowledges commits that a power cut loses; set fsync = on and restart it".to_owned()
    } else if setting(2) != "on" {
        "its setting full_page_writes is off: a power cut may tear pages; set full_page_writes = on and reload it".to_owned()
    } else if setting(3) != "UTF8" {
        format!("its encoding is {}; create the database with ENCODING 'UTF8'", setting(3))
    } else {
        return Ok(Ok(()));
    };
    Ok(Err(Error::Unsafe(why)))
}

/// What every new connection is told.
fn greeting(read_only: bool, durable: bool) -> String {
    // A stricter setting of the server, such as remote_apply, stays.
    let commits = if durable {
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    } else {
        "SET synchronous_commit = off"
    };
    let writes = if read_only { "on" } else { "off" };
    format!(
        "SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = {writes};
         SET statement_timeout = '{}s'; SET idle_in_transaction_session_timeout = '{}s'; SET client_min_messages = warning; {commits}",
        ANSWER_WAIT.as_secs(),
        SILENCE.as_secs()
    )
}

fn pool(address: &Address, tls: &MakeRustlsConnect, size: usize, read_only: bool, durable: bool) -> Result<Pool, Error> {
    let manager = Manager::from_config(address.config.clone(), tls.clone(), ManagerConfig { recycling_method: RecyclingMethod::Fast });
    let greeting = Arc::new(greeting(read_only, durable));
    let greet = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
        let greeting = Arc::clone(&greeting);
        Box::pin(async move { client.batch_execute(&greeting).await.map_err(HookError::Backend) })
    });
    let waits = Timeouts { wait: Some(ANSWER_WAIT), create: Some(CONNECT_WAIT), recycle: Some(CONNECT_WAIT) };
    let built = Pool::builder(manager).max_size(size).timeouts(waits).runtime(Runtime::Tokio1).post_create(greet).build();
    built.map_err(|error| Error::Place(format!("no connections can be made: {error}")))
}

fn tls(address: &Address) -> Result<MakeRustlsConnect, Error> {
    let roots = match &address.roots {
        Some(path) => tls::roots_of(path)?,
        None if address.config.get_ssl_mode() == SslMode::Disable => RootCertStore::empty(),
        None => tls::system_roots(),
    };
    Ok(MakeRustlsConnect::new(tls::config(roots)?))
}

fn refused(at: &str, act: &'static str, error: PoolError) -> Error {
    let why = match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => return failure(at, act, &error),
        PoolError::Timeout(_) => "no connection within the time allowed".to_owned(),
        other => other.to_string(),
    };
    Error::Unreachable { at: at.to_owned(), why }
}

/// Tells a server that is not there, or no longer, from one that says no.
fn failure(at: &str, act: &'static str, error: &tokio_postgres::Error) -> Error {
    if let Some(said) = error.as_db_error() {
        let gone = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ];
        if gone.contains(said.code()) || said.code().code().starts_with("08") {
            return Error::Unreachable { at: at.to_owned(), why: said.message().to_owned() };
        }
        return Error::Postgres { act, why: format!("{} ({})", said.message(), said.code().code()) };
    }
    let source = std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    let io = std::error::Error::source(error).is_some_and(|source| source.downcast_ref::<std::io::Error>().is_some());
    if io || error.is_closed() || source.contains("connect") {
        return Error::Unreachable { at: at.to_owned(), why: source };
    }
    Error::Postgres { act, why: source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password_and_faults_do_not_quote_it() {
        let address = Address::parse("postgres://fother:s3cret@db.example:5433/patch").unwrap();
        assert_eq!((address.to_string().as_str(), address.has_password()), ("postgres://fother@db.example:5433/patch", true));
        assert!(!format!("{address:?}").contains("s3cret"));
        for bad in
            ["postgres://fother:s3cret@/patch", "postgres://u:s3cret@h/d?sslmode=maybe", "postgres://u:s3cret@h:port/d", "postgres://h"]
        {
            let error = Address::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("s3cret") && error.contains("postgres://user@host"), "{error}");
        }
    }

    #[test]
    fn tls_is_required_unless_the_server_is_on_this_machine_or_somebody_says_no() {
        let mode = |text: &str| Address::parse(text).unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgres://u@db.example/d"), SslMode::Require);
        assert_eq!(mode("postgres://u@10.0.0.1/d?sslmode=prefer"), SslMode::Require);
        assert_eq!(mode("postgres://u@db.example/d?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://u@127.0.0.1/d"), SslMode::Disable);
        assert_eq!(mode("postgres://u@127.0.0.1/d?sslmode=verify-full"), SslMode::Require);
        assert_eq!(mode("postgres://u@/d?host=/run/postgresql"), SslMode::Disable);
    }
}
