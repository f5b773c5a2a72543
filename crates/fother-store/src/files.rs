//! Where the bytes of blobs lie, whatever that is. No behaviour.

use crate::Error;
use fother_core::Digest;
use std::fmt::Debug;

/// Bytes by name. What lies here is unchecked: [`crate::Store::get_blob`] hashes it.
pub(crate) trait Files: Debug + Send + Sync {
    /// Keeps `bytes` under `digest`, whatever was there; durable when it returns.
    fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error>;
    /// The bytes, at most [`crate::BLOB_BYTES_MAX`] of them; nothing where there are none.
    fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error>;
    /// Removes what killed writers left behind, and says how many files that were.
    fn remove_leftovers(&self) -> Result<u64, Error>;
}
