//! What the network half may say to the executor: one framed JSON request per connection, bounded.

use fother_core::{Digest, directive::SignedDirective, epoch::SignedEpoch, id::HostId, protocol::Report};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// Largest request that the executor reads, in bytes.
pub const REQUEST_BYTES_MAX: u32 = 2 << 20;
/// Largest answer that the network half reads, in bytes: one blob.
pub const ANSWER_BYTES_MAX: u32 = 40 << 20;
/// How long either side waits for the other.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A request; anything else is refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// State for the next check-in.
    Status,
    /// A directive from the server.
    Directive {
        /// As it came.
        signed: SignedDirective,
    },
    /// The log goes on as another epoch.
    Epoch {
        /// As it came.
        signed: SignedEpoch,
    },
    /// What accepted directives still need.
    Needs,
    /// The spool holds `<sha256 hex>`.
    Delivered {
        /// The need's digest.
        digest: Digest,
    },
    /// The newest checkpoint, with the proof that it continues the one of the last status.
    Checkpoint {
        /// As it came.
        note: String,
        /// As it came.
        proof: Vec<Digest>,
    },
    /// The server stored reports up to this number.
    Acknowledge {
        /// The number.
        number: u64,
    },
    /// Whether the server says that nothing new may begin.
    Halt {
        /// It does.
        halted: bool,
    },
    /// Blobs that wait to be sent.
    Blobs,
    /// The text of one of them, or of the inventory.
    Take {
        /// Which.
        digest: Digest,
    },
    /// The server has it.
    Sent {
        /// Which.
        digest: Digest,
    },
}

/// One thing that the executor wants fetched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "need", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Need {
    /// A typed blob.
    Blob {
        /// `plan`, `cohort`, `rehearsal` or `statement`.
        kind: String,
        /// Its digest.
        digest: Digest,
    },
    /// An archive file.
    File {
        /// Plain SHA-256.
        digest: Digest,
        /// Largest size in bytes.
        bytes_max: u64,
    },
}

impl Need {
    /// The digest that names it in the spool.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Blob { digest, .. } | Self::File { digest, .. } => *digest,
        }
    }

    /// Largest size in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        match self {
            Self::Blob { .. } => fother_core::protocol::BLOB_BYTES_MAX as u64,
            Self::File { bytes_max, .. } => *bytes_max,
        }
    }
}

/// What the next check-in says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// This host.
    pub host: HostId,
    /// Digest of the present inventory.
    pub inventory: Digest,
    /// Its base.
    pub base: Digest,
    /// Highest accepted sequence.
    pub seen: u64,
    /// The epoch that it is in.
    pub epoch: u64,
    /// The lowest report that is kept.
    pub oldest: u64,
    /// Pending reports, lowest first, at most [`fother_core::protocol::OUTCOMES_MAX`].
    pub reports: Vec<Report>,
    /// Whether the host only observes.
    pub observe: bool,
    /// The newest checkpoint that this host cosigned.
    pub checkpoint: Option<String>,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Needs`].
    Needs {
        /// What to fetch.
        needs: Vec<Need>,
    },
    /// To [`Request::Blobs`].
    Blobs {
        /// Kind and digest.
        blobs: Vec<(String, Digest)>,
    },
    /// To [`Request::Take`].
    Blob {
        /// Kind.
        kind: String,
        /// Canonical JSON.
        text: String,
    },
    /// Done.
    Done,
    /// Not done.
    Refused {
        /// Why.
        why: String,
    },
}

/// Writes one frame.
///
/// # Errors
/// Where the other side is gone.
pub fn send<T: Serialize>(stream: &mut impl Write, value: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("the frame is too large"))?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat())?;
    stream.flush()
}

/// Reads one frame of at most `bytes_max`.
///
/// # Errors
/// Where it is larger, torn or malformed.
pub fn receive<T: DeserializeOwned>(stream: &mut impl Read, bytes_max: u32) -> io::Result<T> {
    let mut length = [0_u8; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > bytes_max {
        return Err(io::Error::other(format!("a frame of {length} bytes is larger than {bytes_max}")));
    }
    let mut bytes = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut bytes)?;
    if bytes.len() != length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

/// Asks the executor.
///
/// # Errors
/// Where it is not there.
pub fn ask(socket: &Path, request: &Request) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    send(&mut stream, request)?;
    receive(&mut stream, ANSWER_BYTES_MAX)
}
