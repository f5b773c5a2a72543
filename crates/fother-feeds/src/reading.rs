//! Which foreign file is being read right now, told to whoever watches over this process, and which ones are left out because reading
//! them ended an earlier process. Touches the descriptor that the watcher gave.

use std::{fs::File, os::unix::fs::FileExt as _, sync::OnceLock};

/// Longest path that is told, in bytes.
pub const PATH_BYTES_MAX: usize = 4 << 10;
const LENGTH_BYTES: usize = 4;

#[derive(Debug)]
struct Watched {
    place: File,
    left_out: Vec<String>,
}

static WATCHED: OnceLock<Watched> = OnceLock::new();

/// From here on, every file is told in `place`; those in `left_out` are not read. Only the first call counts.
pub fn watch(place: File, left_out: Vec<String>) {
    let _ = WATCHED.set(Watched { place, left_out });
}

/// Tells that a file is about to be read.
///
/// # Errors
/// The reason, for people, where it must not be: an earlier process did not survive it.
pub fn begin(path: &str) -> Result<(), String> {
    let Some(watched) = WATCHED.get() else { return Ok(()) };
    let path = path.trim_start_matches('/');
    if watched.left_out.iter().any(|one| one == path) {
        return Err("could not be read: the process that reads it was ended by it".into());
    }
    let told = &path.as_bytes()[..path.len().min(PATH_BYTES_MAX)];
    let length = u32::try_from(told.len()).unwrap_or(0).to_le_bytes();
    // Where it cannot be told, only the name of what broke is lost.
    let _ = watched.place.write_all_at(&[&length, told].concat(), 0);
    Ok(())
}

/// The file that was begun last, as the watcher sees it.
#[must_use]
pub fn last(place: &File) -> Option<String> {
    let mut length = [0; LENGTH_BYTES];
    place.read_exact_at(&mut length, 0).ok()?;
    let length = usize::try_from(u32::from_le_bytes(length)).ok().filter(|length| (1..=PATH_BYTES_MAX).contains(length))?;
    let mut path = vec![0; length];
    place.read_exact_at(&mut path, LENGTH_BYTES as u64).ok()?;
    Some(String::from_utf8_lossy(&path).into_owned())
}
