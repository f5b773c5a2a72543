//! Opens a store: its directory, file modes, pragmas and layout. Touches the data directory.

use crate::Error;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Name of the database below the data directory.
pub const DATABASE: &str = "store.sqlite";
/// Marks the file as ours in SQLite's header: "Foth".
const APPLICATION_ID: i64 = 0x466f_7468;
/// Layout that this program writes.
const LAYOUT: i64 = 1;
/// How long a writer waits for another.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// An open store. Calls from several threads take turns.
#[derive(Debug)]
pub struct Store {
    /// Every commit is on disk before it is acknowledged.
    pub(crate) durable: Mutex<Connection>,
    /// For what may be lost in a power cut: last-seen times.
    pub(crate) volatile: Mutex<Connection>,
    pub(crate) dir: PathBuf,
}

impl Store {
    /// Opens the store below `dir`, and creates both where missing: directory 0700, files 0600.
    ///
    /// # Errors
    /// Where the directory or database cannot be made or read, is exposed to others, is another program's, or of a newer layout.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        make_private(dir)?;
        let path = dir.join(DATABASE);
        // SQLite gives its companion files the mode of the database.
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(Error::io("create", &path))?;
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(Error::io("protect", &path))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut durable = connect(&path, flags)?;
        check_owner(&durable, &path)?;
        durable.pragma_update(None, "journal_mode", "WAL").map_err(Error::sql("switch to write-ahead logging"))?;
        durable.pragma_update(None, "synchronous", "FULL").map_err(Error::sql("switch to durable commits"))?;
        create(&mut durable)?;
        sync_dir(dir)?;
        let volatile = connect(&path, flags)?;
        volatile.pragma_update(None, "synchronous", "NORMAL").map_err(Error::sql("switch to quick commits"))?;
        Ok(Self { durable: Mutex::new(durable), volatile: Mutex::new(volatile), dir: dir.to_owned() })
    }

    /// Opens an existing store to look at it, also beside a running server; every write fails.
    ///
    /// # Errors
    /// Where there is no readable store of a layout that this program knows.
    pub fn open_read_only(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(DATABASE);
        fs::metadata(&path).map_err(Error::io("open", &path))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let durable = connect(&path, flags)?;
        check_owner(&durable, &path)?;
        if pragma(&durable, "user_version")? == 0 {
            return Err(Error::Foreign(path));
        }
        Ok(Self { durable: Mutex::new(durable), volatile: Mutex::new(connect(&path, flags)?), dir: dir.to_owned() })
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn durable(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere leaves no half transaction behind: dropping one rolls it back.
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn volatile(&self) -> MutexGuard<'_, Connection> {
        self.volatile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one write transaction that is on disk before this returns.
    pub(crate) fn write<T, E: From<Error>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let mut connection = self.durable();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::sql("begin a transaction"))?;
        let value = work(&transaction)?;
        transaction.commit().map_err(Error::sql("commit"))?;
        Ok(value)
    }

    /// Runs `work` over one unchanging view.
    pub(crate) fn read_in<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let mut connection = self.durable();
        let transaction = connection.transaction().map_err(Error::sql("begin to read"))?;
        work(&transaction)
    }
}

fn make_private(dir: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::io("create", dir))?;
    let mode = fs::metadata(dir).map_err(Error::io("read", dir))?.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let empty = fs::read_dir(dir).map_err(Error::io("read", dir))?.next().is_none();
    if !empty && !dir.join(DATABASE).exists() {
        return Err(Error::Exposed(dir.to_owned()));
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(Error::io("protect", dir))
}

/// Makes the names in `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    fs::File::open(dir).and_then(|file| file.sync_all()).map_err(Error::io("sync", dir))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(path, flags).map_err(Error::sql("open"))?;
    connection.busy_timeout(BUSY_WAIT).map_err(Error::sql("set the time to wait"))?;
    connection.pragma_update(None, "foreign_keys", true).map_err(Error::sql("switch on foreign keys"))?;
    connection.pragma_update(None, "trusted_schema", false).map_err(Error::sql("distrust the schema"))?;
    Ok(connection)
}

fn pragma(connection: &Connection, name: &str) -> Result<i64, Error> {
    connection.pragma_query_value(None, name, |row| row.get(0)).map_err(Error::sql("read its header"))
}

fn check_owner(connection: &Connection, path: &Path) -> Result<(), Error> {
    let application = match pragma(connection, "application_id") {
        Err(Error::Sqlite { source, .. }) if source.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
            return Err(Error::Foreign(path.to_owned()));
        }
        other => other?,
    };
    let layout = pragma(connection, "user_version")?;
    let fresh = application == 0 && layout == 0 && pragma(connection, "schema_version")? == 0;
    if !fresh && application != APPLICATION_ID {
        return Err(Error::Foreign(path.to_owned()));
    }
    if layout > LAYOUT {
        return Err(Error::Newer { path: path.to_owned(), found: layout, known: LAYOUT });
    }
    Ok(())
}

/// Creates the tables, all or none, unless another process has.
fn create(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::sql("begin a transaction"))?;
    if pragma(&transaction, "user_version")? == 0 {
        transaction.execute_batch(include_str!("schema.sql")).map_err(Error::sql("create its tables"))?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(Error::sql("mark its header"))?;
        transaction.pragma_update(None, "user_version", LAYOUT).map_err(Error::sql("mark its header"))?;
    }
    transaction.commit().map_err(Error::sql("commit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_durable_and_files_private() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("deep/server");
        let store = Store::open(&dir).unwrap();
        let connection = store.durable();
        let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!((journal.as_str(), pragma(&connection, "synchronous").unwrap()), ("wal", 2));
        assert_eq!(pragma(&connection, "foreign_keys").unwrap(), 1);
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap()).collect();
        assert!(files.len() >= 2, "the database and its write-ahead log");
        for file in files {
            assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", file.file_name());
        }
    }

    #[test]
    fn other_files_and_newer_layouts_are_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DATABASE);
        fs::write(&path, "not a database, but long enough to have a header of one hundred bytes".repeat(3)).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(Error::Foreign(_))));
        fs::remove_file(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(matches!(Store::open(dir.path()), Err(Error::Foreign(_))));
        assert!(matches!(Store::open_read_only(dir.path()), Err(Error::Foreign(_))));
        fs::remove_file(&path).unwrap();
        drop(Store::open(dir.path()).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(Error::Newer { found: 9, known: 1, .. })));
    }

    #[test]
    fn an_exposed_directory_of_somebody_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("other"), "x").unwrap();
        assert!(matches!(Store::open(dir.path()), Err(Error::Exposed(_))));
        fs::remove_file(dir.path().join("other")).unwrap();
        Store::open(dir.path()).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_read_only_store_sees_what_is_written_beside_it_and_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Store::open_read_only(dir.path()), Err(Error::Io { .. })));
        let writer = Store::open(dir.path()).unwrap();
        let reader = Store::open_read_only(dir.path()).unwrap();
        writer.append(&[b"{}".to_vec()], 0, 0).unwrap();
        assert_eq!(reader.size().unwrap(), 1);
        assert!(reader.append(&[b"{}".to_vec()], 1, 0).is_err());
        drop(writer);
        drop(reader);
        assert_eq!(Store::open_read_only(dir.path()).unwrap().size().unwrap(), 1);
    }
}
