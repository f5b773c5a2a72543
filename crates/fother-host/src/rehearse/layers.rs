//! Overlays over every local file system that a transaction may write; mounts and unmounts below one work directory.

use super::{Error, io_at};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::{
    ffi::CString,
    fs,
    path::{Path, PathBuf},
};

/// File systems that live on this machine and can be a lower layer.
const LOCAL: &[&str] = &["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "overlay", "vfat", "zfs"];
/// Trees that packages write to; a separate mount on or below one of them gets an overlay of its own.
pub(super) const WRITTEN: &[&str] =
    &["/usr", "/etc", "/boot", "/opt", "/var", "/srv", "/home", "/root", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];
/// Trees below them that belong to other systems running here, not to this host's packages.
pub(super) const FOREIGN: &[&str] = &[
    "/var/lib/docker",
    "/var/lib/containers",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/machines",
    "/var/lib/lxc",
    "/var/lib/fother",
    "/var/cache/fother",
    "/var/tmp",
    "/var/snap",
];
/// `statfs` type of an overlay (linux/magic.h).
const OVERLAYFS_MAGIC: i64 = 0x794c_7630;

/// One overlaid file system.
pub(super) struct Layer {
    /// Mount point on the host, `/` for the root.
    pub at: String,
    /// What the clone writes.
    pub upper: PathBuf,
    /// A copy of `upper` from before the transaction.
    pub before: PathBuf,
}

/// All overlays of one rehearsal. Dropping it unmounts them.
pub(super) struct Layers {
    work: PathBuf,
    /// Root of the clone.
    pub merged: PathBuf,
    /// Read-only view of the clone as it was before the transaction, once made.
    pub earlier: PathBuf,
    /// In the order of mounting.
    pub all: Vec<Layer>,
    /// What is not in the clone, by name with the reason.
    pub left_out: Vec<String>,
}

/// Whether a directory can hold the upper layer of an overlay.
pub(super) fn can_hold_upper(work: &Path) -> Result<(), String> {
    let stat = rustix::fs::statfs(work).map_err(|error| format!("{} cannot be looked at: {error}", work.display()))?;
    #[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
    if stat.f_type as i64 == OVERLAYFS_MAGIC {
        return Err(format!(
            "{} lies on an overlay, which cannot hold another one's upper layer; give a directory on a real disk",
            work.display()
        ));
    }
    Ok(())
}

struct Mount {
    at: String,
    kind: String,
}

/// The mounts of this process (proc_pid_mountinfo(5)), the last one of every place.
fn mounts() -> Result<Vec<Mount>, Error> {
    let text = fs::read_to_string("/proc/self/mountinfo").map_err(io_at("/proc/self/mountinfo"))?;
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        Some(Mount { at: unescape(left.split(' ').nth(4)?), kind: right.split(' ').next()?.to_owned() })
    };
    let mut out: Vec<Mount> = Vec::new();
    for mount in text.lines().filter_map(parse) {
        out.retain(|known| known.at != mount.at);
        out.push(mount);
    }
    Ok(out)
}

fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn within(path: &str, dir: &str) -> bool {
    path == dir || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

impl Layers {
    /// Mounts the clone below `work`.
    ///
    /// # Errors
    /// Where an overlay cannot be made: the answer is then unknown.
    pub(super) fn mount(work: &Path) -> Result<Self, Error> {
        let mut layers = Self {
            work: work.to_owned(),
            merged: work.join("merged"),
            earlier: work.join("earlier"),
            all: Vec::new(),
            left_out: Vec::new(),
        };
        layers.add("/")?;
        let text = work.to_string_lossy().into_owned();
        let mut found = mounts()?;
        found.sort_by(|a, b| a.at.cmp(&b.at));
        for mount in found {
            let ours = WRITTEN.iter().any(|dir| within(&mount.at, dir)) && !FOREIGN.iter().any(|dir| within(&mount.at, dir));
            if !ours || within(&text, &mount.at) || within(&mount.at, &text) || !Path::new(&mount.at).is_dir() {
                continue;
            }
            if LOCAL.contains(&mount.kind.as_str()) {
                layers.add(&mount.at)?;
            } else {
                layers.left_out.push(format!("{} ({}: not a local file system)", mount.at, mount.kind));
            }
        }
        Ok(layers)
    }

    fn add(&mut self, at: &str) -> Result<(), Error> {
        let base = self.work.join(format!("layer{}", self.all.len()));
        let (upper, before) = (base.join("upper"), base.join("before"));
        for dir in [&upper, &base.join("work"), &before, &base.join("before-work")] {
            fs::create_dir_all(dir).map_err(io_at(dir.display().to_string()))?;
        }
        copy_owner(Path::new(at), &upper)?;
        overlay(at, &upper, &base.join("work"), &below(&self.merged, at), MountFlags::NODEV)?;
        self.all.push(Layer { at: at.to_owned(), upper, before });
        Ok(())
    }

    /// Keeps what the clone has written so far and mounts a read-only view of it at `earlier`.
    pub(super) fn remember(&self) -> Result<(), Error> {
        for layer in &self.all {
            let mut copy = crate::transact::tool("cp");
            copy.args(["-a", "--reflink=auto", "-T"]).arg(&layer.upper).arg(&layer.before);
            // Files that a running service removes meanwhile make cp complain; they are in neither picture.
            crate::transact::lenient(&mut copy, 600)?;
            let work = layer.before.with_file_name("before-work");
            overlay(&layer.at, &layer.before, &work, &below(&self.earlier, &layer.at), MountFlags::NODEV | MountFlags::RDONLY)?;
        }
        Ok(())
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        clean(&self.work);
    }
}

fn below(root: &Path, at: &str) -> PathBuf {
    root.join(at.trim_start_matches('/'))
}

/// The root of an overlay shows the upper directory's own mode, owner and times.
fn copy_owner(from: &Path, to: &Path) -> Result<(), Error> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let fail = || io_at(to.display().to_string());
    let meta = fs::metadata(from).map_err(io_at(from.display().to_string()))?;
    chown(to, Some(meta.uid()), Some(meta.gid())).map_err(fail())?;
    fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o7777)).map_err(fail())?;
    let file = fs::File::open(to).map_err(fail())?;
    file.set_modified(meta.modified().map_err(fail())?).map_err(fail())
}

fn overlay(lower: &str, upper: &Path, work: &Path, at: &Path, flags: MountFlags) -> Result<(), Error> {
    if lower == "/" {
        fs::create_dir_all(at).map_err(io_at(at.display().to_string()))?;
    }
    let escaped = |path: &str| path.replace('\\', "\\\\").replace(',', "\\,").replace(':', "\\:");
    let options = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=off,index=off,metacopy=off",
        escaped(lower),
        escaped(&upper.to_string_lossy()),
        escaped(&work.to_string_lossy())
    );
    let options = CString::new(options).map_err(|error| Error::Clone(format!("has a path with a zero byte: {error}")))?;
    mount("overlay", at, "overlay", flags, options.as_c_str())
        .map_err(|error| io_at(format!("an overlay over {lower} cannot be mounted"))(error.into()))
}

/// Unmounts everything below `work`, deepest first, and removes the layers: also those of a killed predecessor.
pub(super) fn clean(work: &Path) {
    let text = work.to_string_lossy().into_owned();
    for mount in mounts().unwrap_or_default().iter().rev().filter(|mount| within(&mount.at, &text) && mount.at != text) {
        let _ = unmount(&*mount.at, UnmountFlags::DETACH);
    }
    let still = mounts().unwrap_or_default().iter().any(|mount| within(&mount.at, &text) && mount.at != text);
    if still {
        return;
    }
    for entry in fs::read_dir(work).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("layer") || ["merged", "earlier", "exchange", "driver.service"].contains(&name.as_str()) {
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
}
