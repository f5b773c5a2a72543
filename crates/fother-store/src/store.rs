//! A store as its callers see it: one database, one place for blobs, whatever these are. Touches what they touch.

use crate::{
    Error, Place,
    database::Database,
    directory::Directory,
    files::Files,
    objects::Objects,
    place::{BlobPlace, DatabasePlace},
    postgres::Postgres,
    runner::Runner,
    sqlite::{Sqlite, make_private},
};
use fother_core::merkle;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// An open store. Calls from several threads take turns, or run beside each other where the database can.
#[derive(Debug)]
pub struct Store {
    pub(crate) database: Box<dyn Database>,
    pub(crate) files: Box<dyn Files>,
    /// The right edge of the tree as it was after the last append of this store.
    pub(crate) tree: Mutex<merkle::Tree>,
    dir: PathBuf,
    shared: bool,
}

impl Store {
    /// Opens the store below `dir`, and creates both where missing: directory 0700, files 0600.
    ///
    /// # Errors
    /// Where the directory or database cannot be made or read, is exposed to others, is another program's, of a newer layout, or has moved.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::open_at(dir, &Place::default())
    }

    /// Opens the store of the data directory `dir` whose database or blobs may lie elsewhere.
    ///
    /// # Errors
    /// As [`Store::open`], and where what lies elsewhere cannot be reached or cannot be trusted with the log.
    pub fn open_at(dir: &Path, place: &Place) -> Result<Self, Error> {
        make_private(dir)?;
        let store = Self::assemble(dir, place, false)?;
        store.in_use()?;
        Ok(store)
    }

    /// Opens an existing store to look at it, also beside a running server; every write fails.
    ///
    /// # Errors
    /// Where there is no readable store of a layout that this program knows.
    pub fn open_read_only(dir: &Path) -> Result<Self, Error> {
        Self::open_read_only_at(dir, &Place::default())
    }

    /// As [`Store::open_read_only`], where database or blobs may lie elsewhere.
    ///
    /// # Errors
    /// As [`Store::open_read_only`].
    pub fn open_read_only_at(dir: &Path, place: &Place) -> Result<Self, Error> {
        Self::assemble(dir, place, true)
    }

    pub(crate) fn assemble(dir: &Path, place: &Place, read_only: bool) -> Result<Self, Error> {
        let runner = match (&place.database, &place.blobs) {
            (DatabasePlace::Sqlite, BlobPlace::Below | BlobPlace::Directory(_)) => None,
            (DatabasePlace::Postgres(_), _) | (_, BlobPlace::Bucket(..)) => Some(Arc::new(Runner::start()?)),
        };
        let runner = || runner.clone().map_or_else(|| Runner::start().map(Arc::new), Ok);
        let database: Box<dyn Database> = match &place.database {
            DatabasePlace::Sqlite if read_only => Box::new(Sqlite::open_read_only(dir)?),
            DatabasePlace::Sqlite => Box::new(Sqlite::open(dir)?),
            DatabasePlace::Postgres(address) => Box::new(Postgres::connect(address, runner()?, read_only)?),
        };
        let files: Box<dyn Files> = match &place.blobs {
            BlobPlace::Below => Box::new(Directory::new(&dir.join("blobs"))),
            BlobPlace::Directory(path) => Box::new(Directory::new(path)),
            BlobPlace::Bucket(bucket, settings) => Box::new(Objects::open(bucket, settings, runner()?)?),
        };
        Ok(Self { database, files, tree: Mutex::default(), dir: dir.to_owned(), shared: place.is_shared() })
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether several servers may work on it at once.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared
    }
}
