//! Leases with fences: who may write, and how an older writer is kept out. Touches the database; the clock is the caller's.

use crate::{
    Error, LeaseError, Store,
    log::{int, uint},
};
use fother_core::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;

/// The lease whose fence every append must carry.
pub const LOG_LEASE: &str = "log";

/// A lease that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Larger than that of every earlier holder.
    pub fence: u64,
    /// When it ends unless renewed.
    pub until: Timestamp,
}

impl Store {
    /// Takes the lease `name` for `ttl` where it is free, over, or already the holder's (a restarted server under the same name).
    /// The fence grows by each acquisition, so that whoever held it before is refused from here on.
    ///
    /// # Errors
    /// Where somebody else holds it, or the database fails.
    pub fn acquire_lease(&self, name: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<Lease, LeaseError> {
        self.write(|connection| {
            let known = find(connection, name)?;
            if let Some((other, _, until)) = &known
                && other != holder
                && *until > now
            {
                return Err(LeaseError::Held { name: name.to_owned(), holder: other.clone(), until: *until });
            }
            let lease = Lease { fence: known.map_or(0, |(_, fence, _)| fence) + 1, until: now + ttl };
            put(connection, name, holder, lease)?;
            Ok(lease)
        })
    }

    /// Makes the lease `name` last until `ttl` from now; its fence stays. It may have run out, as long as nobody else took it.
    ///
    /// # Errors
    /// Where `fence` is not its current fence, or the database fails.
    pub fn renew_lease(&self, name: &str, fence: u64, now: Timestamp, ttl: Duration) -> Result<Lease, LeaseError> {
        self.write(|connection| {
            let (holder, current, until) = find(connection, name)?.unwrap_or_default();
            if current != fence || fence == 0 {
                return Err(LeaseError::Lost { name: name.to_owned(), given: fence, current });
            }
            let lease = Lease { fence, until: until.max(now + ttl) };
            put(connection, name, &holder, lease)?;
            Ok(lease)
        })
    }

    /// Gives the lease `name` back: the next holder need not wait. Nothing happens where `fence` is not its current fence.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn release_lease(&self, name: &str, fence: u64) -> Result<(), Error> {
        self.write(|connection| {
            let done = connection.execute("UPDATE lease SET until = 0 WHERE name = ? AND fence = ?", params![name, int(fence)?]);
            done.map(drop).map_err(Error::sql("release a lease"))
        })
    }
}

fn find(connection: &Connection, name: &str) -> Result<Option<(String, u64, Timestamp)>, Error> {
    let row = connection.query_row("SELECT holder, fence, until FROM lease WHERE name = ?", [name], |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    });
    let row = row.optional().map_err(Error::sql("read a lease"))?;
    row.map(|(holder, fence, until)| Ok((holder, uint(fence)?, Timestamp(uint(until)?)))).transpose()
}

fn put(connection: &Connection, name: &str, holder: &str, lease: Lease) -> Result<(), Error> {
    let done = connection.execute(
        "INSERT OR REPLACE INTO lease (name, holder, fence, until) VALUES (?, ?, ?, ?)",
        params![name, holder, int(lease.fence)?, int(lease.until.ms())?],
    );
    done.map(drop).map_err(Error::sql("write a lease"))
}

/// The current fence of a lease: 0 while nobody ever took it.
pub(crate) fn fence_of(connection: &Connection, name: &str) -> Result<u64, Error> {
    Ok(find(connection, name)?.map_or(0, |(_, fence, _)| fence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AppendError;

    const TTL: Duration = Duration::from_secs(10);

    #[test]
    fn an_older_holder_can_append_nothing_once_another_took_over() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let first = store.acquire_lease(LOG_LEASE, "a", Timestamp(1_000), TTL).unwrap();
        store.append(&[vec![1]], 0, first.fence).unwrap();
        let error = store.acquire_lease(LOG_LEASE, "b", Timestamp(10_999), TTL).unwrap_err();
        assert!(matches!(error, LeaseError::Held { .. }), "{error}");
        let second = store.acquire_lease(LOG_LEASE, "b", Timestamp(11_000), TTL).unwrap();
        assert!(second.fence > first.fence);
        let error = store.append(&[vec![2]], 1, first.fence).unwrap_err();
        assert!(matches!(error, AppendError::Fenced { given: 1, current: 2 }), "{error}");
        for never_given in [0, 3, u64::MAX] {
            assert!(matches!(store.append(&[vec![2]], 1, never_given), Err(AppendError::Fenced { .. })));
        }
        assert!(matches!(store.renew_lease(LOG_LEASE, first.fence, Timestamp(11_000), TTL), Err(LeaseError::Lost { .. })));
        assert_eq!(store.append(&[vec![2]], 1, second.fence).unwrap(), 2);
    }

    #[test]
    fn a_restart_under_the_same_name_need_not_wait_and_fences_out_its_former_self() {
        let dir = tempfile::tempdir().unwrap();
        let fence = Store::open(dir.path()).unwrap().acquire_lease(LOG_LEASE, "a", Timestamp(1), TTL).unwrap().fence;
        let store = Store::open(dir.path()).unwrap();
        let again = store.acquire_lease(LOG_LEASE, "a", Timestamp(2), TTL).unwrap();
        assert_eq!(again.fence, fence + 1);
        assert!(matches!(store.append(&[vec![1]], 0, fence), Err(AppendError::Fenced { .. })));
    }

    #[test]
    fn renewing_keeps_the_fence_and_never_shortens_and_releasing_frees_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let lease = store.acquire_lease("x", "a", Timestamp(5_000), TTL).unwrap();
        assert_eq!(store.renew_lease("x", lease.fence, Timestamp(6_000), TTL).unwrap(), Lease { fence: 1, until: Timestamp(16_000) });
        assert_eq!(store.renew_lease("x", lease.fence, Timestamp(0), TTL).unwrap().until, Timestamp(16_000), "a clock that jumped back");
        store.release_lease("x", 99).unwrap();
        assert!(store.acquire_lease("x", "b", Timestamp(7_000), TTL).is_err());
        store.release_lease("x", lease.fence).unwrap();
        assert_eq!(store.acquire_lease("x", "b", Timestamp(7_000), TTL).unwrap().fence, 2);
        assert!(matches!(store.renew_lease("never taken", 0, Timestamp(0), TTL), Err(LeaseError::Lost { .. })));
    }
}
