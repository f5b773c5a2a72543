//! A made-up fleet as a log: hosts, inventories, and cycles of patching, appended as a server would.

use crate::{Failure, HOSTS};
use ed25519_dalek::SigningKey;
use fother_core::{
    Digest, Timestamp, canonical,
    event::{Data, Event, VERSION},
    id::{HostId, TokenId},
    inventory::{Distribution, Inventory, Labels, Reboot},
    package::Installed,
};
use fother_store::{BATCH_EVENTS_MAX, LOG_LEASE, Store};
use std::{os::unix::fs::DirBuilderExt as _, path::Path, time::Duration};

/// Distinct inventories, and packages in each.
pub(crate) const SETS: usize = 500;
const PACKAGES: usize = 400;

/// Makes a directory as a server wants it.
pub(crate) fn private(dir: &Path) -> Result<(), Failure> {
    Ok(std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?)
}

/// The key that all these hosts cosign with.
pub(crate) fn cosigner() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(crate) fn host(n: usize) -> HostId {
    HostId::new(n as u64, [7; 10])
}

pub(crate) fn labels(n: usize) -> Labels {
    let of = |name: &str, value: String| (name.to_owned(), value);
    Labels::from([of("role", "web".to_owned()), of("env", "prod".to_owned()), of("zone", format!("zone-{}", n % 3))])
}

/// Writes events in batches, as the server that holds the log's lease.
pub(crate) struct Writer {
    pub(crate) store: Store,
    fence: u64,
    pub(crate) size: u64,
    at: Timestamp,
    waiting: Vec<Vec<u8>>,
}

impl Writer {
    pub(crate) fn open(dir: &Path, at: Timestamp) -> Result<Self, Failure> {
        let store = Store::open(dir)?;
        let fence = store.acquire_lease(LOG_LEASE, "server", at, Duration::from_secs(1))?.fence;
        Ok(Self { store, fence, size: 0, at, waiting: Vec::new() })
    }

    pub(crate) fn add(&mut self, data: Data) -> Result<(), Failure> {
        let event = Event { v: VERSION, seq: self.size, at: self.at, actor: "server".to_owned(), data };
        self.waiting.push(event.bytes()?);
        self.size += 1;
        if self.waiting.len() == BATCH_EVENTS_MAX { self.flush() } else { Ok(()) }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.store.append(&self.waiting, self.size - self.waiting.len() as u64, self.fence)?;
        self.waiting.clear();
        Ok(())
    }
}

/// Enrols every host; `certificate` says which certificate each has. The inventories and their bases; host n has number n modulo [`SETS`].
pub(crate) fn enrol(
    writer: &mut Writer,
    mut certificate: impl FnMut(HostId) -> Result<Digest, Failure>,
) -> Result<Vec<(Digest, Digest)>, Failure> {
    let sets = (0..SETS).map(|set| inventory(writer, set)).collect::<Result<Vec<_>, Failure>>()?;
    for n in 0..HOSTS {
        let host = host(n);
        let enrolled = Data::HostEnrolled {
            host,
            token: TokenId::new(1, [1; 10]),
            hostname: format!("web-{n}"),
            labels: labels(n),
            certificate: certificate(host)?,
            cosigner: Digest(cosigner().verifying_key().to_bytes()).hex(),
            observe: false,
        };
        writer.add(enrolled)?;
        let (inventory, base) = sets[n % SETS];
        writer.add(Data::InventoryChanged { host, inventory, base, packages: PACKAGES as u32 })?;
    }
    writer.flush()?;
    Ok(sets)
}

/// An inventory of plausible size, with versions of its own.
fn inventory(writer: &Writer, set: usize) -> Result<(Digest, Digest), Failure> {
    let package = |n: usize| -> Result<Installed, Failure> {
        let version = format!("2.{}.{n}-1+deb12u{}", set % 9, set / 9).parse()?;
        let name = format!("package-{n}-with-a-name");
        Ok(Installed {
            source: name.clone(),
            name,
            arch: "amd64".to_owned(),
            source_version: version,
            version: "1".parse()?,
            broken: None,
            held: false,
        })
    };
    let inventory = Inventory {
        hostname: "web".to_owned(),
        distribution: Distribution { id: "debian".to_owned(), version: "12".to_owned(), codename: "bookworm".to_owned() },
        architecture: "amd64".to_owned(),
        kernel: "6.1.0-1-amd64".to_owned(),
        boot_id: "b".to_owned(),
        packages: (0..PACKAGES).map(package).collect::<Result<_, _>>()?,
        sources: Vec::new(),
        services: Vec::new(),
        reboot: Reboot::No,
        other_patchers: Vec::new(),
        unknown: Vec::new(),
    };
    Ok((writer.store.put_blob("inventory", &canonical::to_vec(&inventory)?)?, inventory.base()?))
}
