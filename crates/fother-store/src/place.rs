//! Where a store is: a data directory alone, or with its database or blobs elsewhere. Reads named files and the environment.

use crate::{Error, objects::Bucket, postgres::Address};
use std::{collections::BTreeMap, env, fmt, fs, path::PathBuf};

/// Settings of an object store that are taken from the environment, or from a credential, one `NAME=value` a line.
const OBJECT_SETTINGS: [&str; 5] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"];
/// Names of credentials that systemd passes on (`LoadCredential=`, `LoadCredentialEncrypted=`).
const STORE_CREDENTIAL: &str = "fother-store";
const BLOBS_CREDENTIAL: &str = "fother-s3";
/// The environment's name for what `--store` says.
const STORE_VARIABLE: &str = "FOTHER_STORE";
const BLOBS_VARIABLE: &str = "FOTHER_BLOBS";

/// Where events and small state lie.
#[derive(Clone, Debug, Default)]
pub(crate) enum DatabasePlace {
    /// In SQLite, below the data directory.
    #[default]
    Sqlite,
    /// In PostgreSQL.
    Postgres(Box<Address>),
}

/// Where the bytes of blobs lie.
#[derive(Clone, Debug, Default)]
pub(crate) enum BlobPlace {
    /// In `blobs/` below the data directory.
    #[default]
    Below,
    /// In another directory.
    Directory(PathBuf),
    /// In an S3-compatible store.
    Bucket(Bucket, BTreeMap<String, String>),
}

/// Where a store is. The default is the data directory, for everything.
#[derive(Clone, Default)]
pub struct Place {
    pub(crate) database: DatabasePlace,
    pub(crate) blobs: BlobPlace,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Place {
    /// Without passwords and keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.database {
            DatabasePlace::Sqlite => f.write_str("the data directory")?,
            DatabasePlace::Postgres(address) => write!(f, "{address}")?,
        }
        match &self.blobs {
            BlobPlace::Below => Ok(()),
            BlobPlace::Directory(path) => write!(f, ", blobs in {}", path.display()),
            BlobPlace::Bucket(bucket, _) => write!(f, ", blobs in {bucket}"),
        }
    }
}

impl Place {
    /// Where the command line says, else the environment (`FOTHER_STORE`, `FOTHER_BLOBS`), else the credentials `fother-store` and `fother-s3`
    /// of systemd. `@FILE` stands for the first line of a file. A password on the command line is refused: everybody on the machine sees it there.
    ///
    /// # Errors
    /// Where one of them cannot be read or understood.
    pub fn find(store: Option<&str>, blobs: Option<&str>) -> Result<Self, Error> {
        if store
            .is_some_and(|store| !store.starts_with('@') && matches!(database(store), Ok(DatabasePlace::Postgres(at)) if at.has_password()))
        {
            let what = "a password on the command line is seen by everybody on this machine";
            let hint =
                "put the address into a file of mode 0600 and say --store @FILE, or set FOTHER_STORE, or pass the credential fother-store";
            return Err(Error::Place(format!("{what}; {hint}")));
        }
        let store = match store {
            Some(text) => Some(text.to_owned()),
            None => env::var(STORE_VARIABLE).ok().map_or_else(|| credential(STORE_CREDENTIAL), |text| Ok(Some(text)))?,
        };
        let blobs = blobs.map(str::to_owned).or_else(|| env::var(BLOBS_VARIABLE).ok());
        let mut settings: BTreeMap<String, String> =
            OBJECT_SETTINGS.iter().filter_map(|name| Some(((*name).to_owned(), env::var(name).ok()?))).collect();
        for line in credential(BLOBS_CREDENTIAL)?.unwrap_or_default().lines() {
            if let Some((name, value)) = line.split_once('=').filter(|(name, _)| OBJECT_SETTINGS.contains(name)) {
                settings.insert(name.to_owned(), value.trim().to_owned());
            }
        }
        Self::new(store.as_deref(), blobs.as_deref(), settings)
    }

    /// As said: `store` is `postgres://…`, `sqlite` or `@FILE`; `blobs` is `s3://…`, `below` (the data directory) or an absolute directory; `settings` are the object store's
    /// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, …).
    ///
    /// # Errors
    /// Where one of them cannot be read or understood.
    pub fn new(store: Option<&str>, blobs: Option<&str>, settings: BTreeMap<String, String>) -> Result<Self, Error> {
        let database = store.map_or(Ok(DatabasePlace::Sqlite), database)?;
        let blobs = match blobs {
            None | Some("below") => BlobPlace::Below,
            Some(text) if text.starts_with("s3://") => BlobPlace::Bucket(Bucket::parse(text)?, settings),
            Some(text) if text.starts_with('/') => BlobPlace::Directory(PathBuf::from(text)),
            Some(text) => {
                return Err(Error::Place(format!("{text:?} is no place for blobs: write s3://bucket/prefix or an absolute directory")));
            }
        };
        Ok(Self { database, blobs })
    }

    /// Whether several servers may work on it at once.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.database, DatabasePlace::Postgres(_))
    }
}

fn database(text: &str) -> Result<DatabasePlace, Error> {
    if let Some(path) = text.strip_prefix('@') {
        let read = fs::read_to_string(path).map_err(Error::io("read", path.as_ref()))?;
        let line = read.lines().next().unwrap_or_default().trim().to_owned();
        if line.starts_with('@') {
            return Err(Error::Place(format!("{path} names another file; write the address into it")));
        }
        return database(&line);
    }
    match text {
        "sqlite" => Ok(DatabasePlace::Sqlite),
        _ if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
            Ok(DatabasePlace::Postgres(Box::new(Address::parse(text)?)))
        }
        // Not quoted: what is malformed may hold a password.
        _ => Err(Error::Place("--store is neither `sqlite` nor postgres://user@host:5432/database nor @FILE".to_owned())),
    }
}

fn credential(name: &str) -> Result<Option<String>, Error> {
    let Some(dir) = env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(None) };
    let path = PathBuf::from(dir).join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_on_the_command_line_is_refused_and_one_in_a_file_is_not_shown() {
        let error = Place::find(Some("postgres://u:s3cret@h/d"), None).unwrap_err().to_string();
        assert!(error.contains("--store @FILE") && !error.contains("s3cret"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("store");
        fs::write(&file, "postgres://u:s3cret@h/d\n").unwrap();
        let place = Place::find(Some(&format!("@{}", file.display())), Some("s3://bucket/patch/?region=x")).unwrap();
        assert_eq!(place.to_string(), "postgres://u@h:5432/d, blobs in s3://bucket/patch");
        assert_eq!(format!("{place:?}"), place.to_string());
        assert!(place.is_shared());
    }

    #[test]
    fn other_places_are_refused_in_words() {
        for (store, blobs) in [
            (Some("mysql://h/d"), None),
            (None, Some("gs://bucket")),
            (None, Some("s3://")),
            (None, Some("s3://key:secret@bucket")),
            (None, Some("s3://bucket?what=ever")),
            (None, Some("relative/directory")),
        ] {
            assert!(matches!(Place::new(store, blobs, BTreeMap::new()), Err(Error::Place(_))), "{store:?} {blobs:?}");
        }
        assert!(!Place::new(Some("sqlite"), Some("/var/blobs"), BTreeMap::new()).unwrap().is_shared());
    }
}
