//! Opens the file: its directory, file modes, pragmas and layout, and leads older layouts to today's. Touches the data directory.

use super::Sqlite;
use crate::Error;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Mutex,
    time::Duration,
};

/// Name of the database below the data directory.
pub const DATABASE: &str = "store.sqlite";
/// Marks the file as ours in SQLite's header: "Foth".
const APPLICATION_ID: i64 = 0x466f_7468;
/// What leads from each layout to the next, from nothing to layout 1 first. A released one never changes.
const STEPS: [&str; 2] = [include_str!("layout1.sql"), include_str!("layout2.sql")];
/// Layout that this program writes.
const LAYOUT: i64 = STEPS.len() as i64;
/// How long a writer waits for another.
const BUSY_WAIT: Duration = Duration::from_secs(10);

impl Sqlite {
    /// Opens the file below `dir`, and creates it where missing, with mode 0600.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
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
        upgrade(&mut durable)?;
        sync_dir(dir)?;
        let volatile = connect(&path, flags)?;
        volatile.pragma_update(None, "synchronous", "NORMAL").map_err(Error::sql("switch to quick commits"))?;
        Ok(Self { durable: Mutex::new(durable), volatile: Mutex::new(volatile) })
    }

    /// Opens an existing store to look at it, also beside a running server; every write fails.
    pub(crate) fn open_read_only(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(DATABASE);
        fs::metadata(&path).map_err(Error::io("open", &path))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let durable = connect(&path, flags)?;
        check_owner(&durable, &path)?;
        if pragma(&durable, "user_version")? == 0 {
            return Err(Error::Foreign(path));
        }
        Ok(Self { durable: Mutex::new(durable), volatile: Mutex::new(connect(&path, flags)?) })
    }
}

/// Makes the directory with mode 0700; one that holds somebody else's things is left as it is.
pub(crate) fn make_private(dir: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::io("create", dir))?;
    let mode = fs::metadata(dir).map_err(Error::io("read", dir))?.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let empty = fs::read_dir(dir).map_err(Error::io("read", dir))?.next().is_none();
    if !empty && !dir.join(DATABASE).exists() && !dir.join("keys").exists() {
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
    // One view: another process may be creating the tables right now.
    let connection = &connection.unchecked_transaction().map_err(Error::sql("begin to read"))?;
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

/// Leads the file to today's layout, all the way or not at all, unless another process has.
fn upgrade(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::sql("begin a transaction"))?;
    let found = pragma(&transaction, "user_version")?;
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or_default()) {
        transaction.execute_batch(step).map_err(Error::sql("create its tables"))?;
    }
    if found < LAYOUT {
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(Error::sql("mark its header"))?;
        transaction.pragma_update(None, "user_version", LAYOUT).map_err(Error::sql("mark its header"))?;
    }
    transaction.commit().map_err(Error::sql("commit"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use std::path::PathBuf;

    /// The file below `dir` as the first released program wrote it, with a log and all that stands beside it.
    fn layout_1(dir: &Path) -> PathBuf {
        let path = dir.join(DATABASE);
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch(STEPS[0]).unwrap();
        connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        let (a, b) = (fother_core::merkle::leaf_hash(b"{}"), fother_core::merkle::leaf_hash(b"[]"));
        let rows = format!(
            "INSERT INTO event VALUES (0, x'7b7d'), (1, x'5b5d');
             INSERT INTO node VALUES (0, 0, x'{}'), (0, 1, x'{}'), (1, 0, x'{}');
             INSERT INTO checkpoint VALUES (2, 'note');
             INSERT INTO lease VALUES ('log', 'server', 7, 9);
             INSERT INTO last_seen VALUES ('host', 5);
             INSERT INTO small VALUES ('key', x'01');
             INSERT INTO counter VALUES ('counter', 3);",
            a.hex(),
            b.hex(),
            fother_core::merkle::node_hash(&a, &b).hex()
        );
        connection.execute_batch(&rows).unwrap();
        path
    }

    #[test]
    fn a_file_of_layout_1_is_led_to_todays_and_holds_all_that_it_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = layout_1(dir.path());
        let before = Store::open_read_only(dir.path()).unwrap();
        assert_eq!((before.size().unwrap(), before.standing().unwrap()), (2, crate::Standing::InUse), "it can be looked at as it is");
        drop(before);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(pragma(&Connection::open(&path).unwrap(), "user_version").unwrap(), LAYOUT);
        assert_eq!(store.read(0, 9).unwrap(), [(0, b"{}".to_vec()), (1, b"[]".to_vec())]);
        assert_eq!(store.root(2).unwrap(), fother_core::merkle::root(&store.leaf_hashes(0, 2).unwrap()));
        assert_eq!(store.latest_checkpoint().unwrap(), Some((2, "note".to_owned())));
        assert_eq!((store.get("key").unwrap(), store.counter("counter").unwrap()), (Some(vec![1]), 3));
        assert_eq!(store.last_seen().unwrap(), [("host".to_owned(), fother_core::Timestamp(5))]);
        assert_eq!(store.append(&[b"{ }".to_vec()], 2, 7).unwrap(), 3);
        drop(store);
        assert_eq!(Store::open(dir.path()).unwrap().size().unwrap(), 3, "a second start upgrades nothing");
    }

    /// What was released must stay as it was: other programs wrote files by it.
    #[test]
    fn the_text_of_a_released_layout_never_changes() {
        let digest = fother_core::Digest::of_file(STEPS[0].as_bytes());
        assert_eq!(digest.hex(), "9590c755a7fbb3e0f6d887fd3e8203ec81a96bb36582faa66879fb4e255a1b41");
    }

    #[test]
    fn commits_are_durable_and_files_private() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("deep/server");
        let store = Store::open(&dir).unwrap();
        drop(store);
        let opened = Sqlite::open(&dir).unwrap();
        let connection = opened.durable();
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
        assert!(matches!(Store::open(dir.path()), Err(Error::Newer { found: 9, known: LAYOUT, .. })));
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
