//! Questions that a sandboxed reader has about the running machine, which it cannot look at itself: a closed list, answered by the process
//! that started it. Touches the socket between the two.

use crate::{processes, services};
use serde::de::DeserializeOwned;
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    sync::{Mutex, OnceLock},
};

/// Largest answer, in bytes.
pub const ANSWER_BYTES_MAX: u64 = 64 << 20;
const LENGTH_BYTES: usize = 8;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Every process: what it maps, where it listens.
    Processes,
    /// Units that run or failed, with their state.
    Units,
}

impl Question {
    const ALL: [Self; 2] = [Self::Processes, Self::Units];

    fn number(self) -> u8 {
        match self {
            Self::Processes => 1,
            Self::Units => 2,
        }
    }
}

static SOCKET: OnceLock<Mutex<File>> = OnceLock::new();

/// From here on, this process asks there. Only the first call counts.
pub fn ask_at(socket: File) {
    let _ = SOCKET.set(Mutex::new(socket));
}

/// Asks; `None` where this process can look by itself.
pub fn ask<T: DeserializeOwned>(question: Question) -> Option<Result<T, String>> {
    let socket = SOCKET.get()?;
    let answer = socket.lock().map_err(|_| io::Error::other("another thread failed")).and_then(|mut socket| {
        socket.write_all(&[question.number()])?;
        let mut length = [0; LENGTH_BYTES];
        socket.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length).min(ANSWER_BYTES_MAX);
        let mut bytes = Vec::new();
        (&mut *socket).take(length).read_to_end(&mut bytes)?;
        serde_json::from_slice(&bytes).map_err(io::Error::other)
    });
    Some(answer.map_err(|error| format!("the process outside of the sandbox gives no answer: {error}")))
}

/// Answers until the other side is gone.
///
/// # Errors
/// Where something is asked that is not in the list, or the socket breaks.
pub fn answer(mut socket: impl io::Read + io::Write) -> io::Result<()> {
    let mut asked = [0];
    while socket.read(&mut asked)? == 1 {
        let question = Question::ALL.into_iter().find(|question| question.number() == asked[0]);
        let bytes = match question.ok_or_else(|| io::Error::other("a question that is not in the list"))? {
            Question::Processes => serde_json::to_vec(&processes::look_here())?,
            Question::Units => serde_json::to_vec(&services::unit_states())?,
        };
        socket.write_all(&(bytes.len() as u64).to_le_bytes())?;
        socket.write_all(&bytes)?;
    }
    Ok(())
}
