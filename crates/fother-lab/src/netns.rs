//! The lab's network: a namespace with a bridge as gateway and one namespace a host. Adds nothing to the machine's own namespace.

use crate::error::{Error, Result, io};
use crate::paths::{GATEWAY, Lab, NETNS};
use crate::process;
use crate::run::sh;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Makes the gateway namespace with its bridge.
pub(crate) fn make_gateway(lab: &Lab) -> Result<()> {
    let gw = lab.gateway();
    sh("ip", &["netns", "add", &gw])?;
    sh("ip", &["-n", &gw, "link", "set", "lo", "up"])?;
    sh("ip", &["-n", &gw, "link", "add", "br0", "type", "bridge"])?;
    sh("ip", &["-n", &gw, "addr", "add", &format!("{GATEWAY}/24"), "dev", "br0"])?;
    sh("ip", &["-n", &gw, "link", "set", "br0", "up"])?;
    Ok(())
}

/// Makes a host's namespace and its cable into the bridge.
pub(crate) fn make_host(lab: &Lab, host: &str, address: &str) -> Result<()> {
    let (gw, ns) = (lab.gateway(), lab.netns(host));
    sh("ip", &["netns", "add", &ns])?;
    let port = format!("v{}", address.rsplit('.').next().unwrap_or_default());
    sh("ip", &["-n", &ns, "link", "set", "lo", "up"])?;
    sh("ip", &["-n", &gw, "link", "add", &port, "type", "veth", "peer", "name", "host0", "netns", &ns])?;
    sh("ip", &["-n", &gw, "link", "set", &port, "master", "br0", "up"])?;
    sh("ip", &["-n", &ns, "addr", "add", &format!("{address}/24"), "dev", "host0"])?;
    sh("ip", &["-n", &ns, "link", "set", "host0", "up"])?;
    Ok(())
}

/// All network namespaces of this lab that exist now.
pub(crate) fn existing(lab: &Lab) -> Vec<String> {
    let prefix = lab.netns("");
    let names = std::fs::read_dir(NETNS).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
    names.filter(|n| n.starts_with(&prefix)).collect()
}

/// Processes whose network is the namespace of this name.
pub(crate) fn processes(netns: &str) -> Vec<u32> {
    let Ok(wanted) = std::fs::metadata(Path::new(NETNS).join(netns)) else { return Vec::new() };
    let same =
        |pid: &u32| std::fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| (m.dev(), m.ino()) == (wanted.dev(), wanted.ino()));
    process::all().into_iter().filter(same).collect()
}

/// Removes a namespace by name.
pub(crate) fn remove(netns: &str) -> Result<()> {
    sh("ip", &["netns", "del", netns]).map(drop)
}

/// Runs `work` on a fresh thread inside the gateway namespace of lab `name`. Sockets that it opens stay there for ever,
/// also after they are handed to other threads, and so do threads that it starts.
///
/// # Errors
/// Where the lab does not exist, or the caller may not enter its namespace.
pub fn in_gateway<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    let lab = Lab::new(name)?;
    let path = Path::new(NETNS).join(lab.gateway());
    if !path.exists() {
        return Err(Error::NoLab(name.into()));
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = std::fs::File::open(&path).map_err(io("open", &path))?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|e| io("enter", &path)(e.into()))?;
            Ok(work())
        });
        thread.join().unwrap_or_else(|_| Err(Error::Other("the work inside the lab's gateway panicked".into())))
    })
}
