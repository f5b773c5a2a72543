//! Other programs that patch this host, told by their files. Runs nothing.

use crate::{apt::conf::Conf, root::Root};
use fother_core::package::Installed;

const UNIT_DIRECTORIES: [&str; 2] = ["/etc/systemd/system", "/run/systemd/system"];
const TIMERS: [&str; 3] = ["apt-daily.timer", "apt-daily-upgrade.timer", "dnf-automatic.timer"];
const PACKAGES: [(&str, &str); 6] = [
    ("cron-apt", "/etc/cron.d/cron-apt"),
    ("landscape-client", "/etc/landscape/client.conf"),
    ("packagekit", "/var/lib/PackageKit/prepared-update"),
    ("puppet-agent", "/etc/puppetlabs/puppet/puppet.conf"),
    ("salt-minion", "/etc/salt/minion"),
    ("snapd", "/var/lib/snapd/state.json"),
];

/// Names with their state, for example `unattended-upgrades (enabled)`, sorted.
#[must_use]
pub fn collect(root: &Root, packages: &[Installed], conf: &Conf) -> Vec<String> {
    let installed = |name: &str| packages.iter().any(|package| package.name == name);
    let mut found = Vec::new();
    if installed("unattended-upgrades") {
        let enabled = conf.is_true("APT::Periodic::Unattended-Upgrade") && conf.get("APT::Periodic::Enable") != Some("0");
        found.push(format!("unattended-upgrades ({})", if enabled { "enabled" } else { "installed, not enabled" }));
    }
    found.extend(TIMERS.iter().filter(|timer| timer_enabled(root, timer)).map(|timer| format!("{timer} (enabled)")));
    for (name, file) in PACKAGES.iter().filter(|(name, _)| installed(name)) {
        found.push(format!("{name} ({})", if root.exists(file) { "configured" } else { "installed" }));
    }
    found.sort();
    found
}

fn timer_enabled(root: &Root, timer: &str) -> bool {
    let masked = UNIT_DIRECTORIES.iter().any(|dir| root.link(&format!("{dir}/{timer}")).as_deref() == Some("/dev/null"));
    let wanted = |dir: &str| root.link(&format!("{dir}/timers.target.wants/{timer}")).is_some();
    !masked && UNIT_DIRECTORIES.iter().any(|dir| wanted(dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpkg::{self, tests::root_with};
    use std::{fs, os::unix::fs::symlink};

    const STATUS: &str = "Package: unattended-upgrades\nStatus: install ok installed\nArchitecture: all\nVersion: 2\n";

    #[test]
    fn unattended_upgrades_and_timers_are_named_with_their_state() {
        let (keep, root) = root_with(STATUS);
        let packages = dpkg::read(&root).unwrap().packages;
        assert_eq!(collect(&root, &packages, &Conf::read(&root)), ["unattended-upgrades (installed, not enabled)"]);

        fs::create_dir_all(keep.path().join("etc/apt/apt.conf.d")).unwrap();
        fs::write(keep.path().join("etc/apt/apt.conf.d/20auto"), "APT::Periodic::Unattended-Upgrade \"1\";\n").unwrap();
        let wants = keep.path().join("etc/systemd/system/timers.target.wants");
        fs::create_dir_all(&wants).unwrap();
        symlink("/lib/systemd/system/apt-daily-upgrade.timer", wants.join("apt-daily-upgrade.timer")).unwrap();
        let found = collect(&root, &packages, &Conf::read(&root));
        assert_eq!(found, ["apt-daily-upgrade.timer (enabled)", "unattended-upgrades (enabled)"]);

        symlink("/dev/null", keep.path().join("etc/systemd/system/apt-daily-upgrade.timer")).unwrap();
        assert_eq!(collect(&root, &packages, &Conf::read(&root)), ["unattended-upgrades (enabled)"]);
    }
}
