//! Numbers as databases store them: signed 64 bits. Pure.

use crate::Error;

pub(crate) fn int(value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::Range(value))
}

pub(crate) fn uint(value: i64) -> Result<u64, Error> {
    u64::try_from(value).map_err(|_| Error::Damaged(format!("{value} stands where no negative number can")))
}
