//! Whether this machine must be rebooted: what runs is not what is installed. Reads `/proc`, `/run` and uname(2).

use crate::transact::units::lasts_until_boot;
use fother_core::{
    inventory::{Reboot, Service},
    package::Installed,
    text::printable,
    version::Version,
};
use std::path::Path;

/// What the running system says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// `uname -r`.
    pub kernel: String,
    /// `uname -v`: Debian's kernels name their package version here.
    pub build: String,
    /// A container has no kernel of its own.
    pub container: bool,
    /// `/run/reboot-required` is there.
    pub asked_for: bool,
}

impl Running {
    /// Asks this machine.
    #[must_use]
    pub fn here() -> Self {
        let uname = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let there = |path: &str| Path::new(path).exists();
        Self {
            kernel: text(uname.release()),
            build: text(uname.version()),
            container: there("/run/systemd/container") || there("/.dockerenv") || there("/run/.containerenv"),
            asked_for: there("/run/reboot-required") || there("/var/run/reboot-required"),
        }
    }
}

/// Release of a kernel: its ordered part and its flavour (`6.1.0-18` and `cloud-amd64`).
fn release(text: &str) -> Option<(Version, &str)> {
    let mut end = text.find('-').unwrap_or(text.len());
    while let Some(rest) = text.get(end + 1..) {
        let part = rest.split('-').next().unwrap_or_default();
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            break;
        }
        end += 1 + part.len();
    }
    let version = text.get(..end)?.parse().ok()?;
    Some((version, text.get(end + 1..).unwrap_or_default()))
}

/// Compares the running kernel with the installed ones.
#[must_use]
pub fn answer(packages: &[Installed], running: &Running) -> Reboot {
    let mut reasons = Vec::new();
    if running.asked_for {
        reasons.push("a package asked for a reboot (/run/reboot-required)".to_owned());
    }
    let images: Vec<(&Installed, &str)> = packages.iter().filter_map(|p| Some((p, image(&p.name)?))).collect();
    if !running.container && !images.is_empty() {
        match release(&running.kernel) {
            Some((version, flavour)) => reasons.extend(older(&images, running, &version, flavour)),
            None if reasons.is_empty() => {
                let reason = format!("the running kernel's release `{}` cannot be read", printable(&running.kernel, 80));
                return Reboot::Unknown { reasons: vec![reason] };
            }
            None => {}
        }
    }
    if reasons.is_empty() { Reboot::No } else { Reboot::Needed { reasons } }
}

/// Adds what services still map: replaced files under a unit that is never restarted are a reason to reboot.
#[must_use]
pub fn with_services(answer: Reboot, services: &[Service]) -> Reboot {
    let stale = services.iter().filter(|service| !service.stale_files.is_empty() && lasts_until_boot(&service.unit));
    let mut more: Vec<String> =
        stale.map(|service| format!("{} still runs replaced files and is not restarted under a running machine", service.unit)).collect();
    match answer {
        answer if more.is_empty() => answer,
        Reboot::Needed { mut reasons } => {
            reasons.append(&mut more);
            Reboot::Needed { reasons }
        }
        Reboot::No | Reboot::Unknown { .. } => Reboot::Needed { reasons: more },
    }
}

/// The kernel release of a `linux-image-*` package; `None` for others and for the empty ones that only depend.
fn image(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("linux-image-")?;
    let rest = rest.strip_prefix("unsigned-").unwrap_or(rest);
    (rest.starts_with(|c: char| c.is_ascii_digit()) && !rest.ends_with("-dbg")).then_some(rest)
}

fn older(images: &[(&Installed, &str)], running: &Running, version: &Version, flavour: &str) -> Vec<String> {
    let same = images.iter().filter_map(|(package, text)| Some((package, text, release(text)?))).filter(|(.., (_, f))| *f == flavour);
    let newest = same.clone().max_by(|a, b| a.2.0.compare(&b.2.0));
    let shown = printable(&running.kernel, 80);
    match newest {
        Some((_, text, (newest, _))) if newest.compare(version).is_gt() => {
            vec![format!("kernel {shown} runs, {text} is installed")]
        }
        Some((package, text, _)) if **text == running.kernel => {
            let build = running.build.split_once("Debian ").and_then(|(_, rest)| rest.split_whitespace().next());
            match build {
                Some(build) if build != package.version.as_str() => {
                    vec![format!("kernel {shown} of version {} runs, {} is installed", printable(build, 80), package.version.as_str())]
                }
                _ => Vec::new(),
            }
        }
        _ => vec![format!("kernel {shown} runs but is not among the installed kernels")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_restarted_and_still_maps_replaced_files_needs_a_reboot() {
        let service = |unit: &str, stale: &[&str]| Service {
            unit: unit.to_owned(),
            state: "active".to_owned(),
            listens: Vec::new(),
            stale_files: stale.iter().map(|file| (*file).to_owned()).collect(),
        };
        let services = [service("dbus.service", &["/lib/x.so"]), service("nginx.service", &["/lib/x.so"]), service("init.scope", &[])];
        let Reboot::Needed { reasons } = with_services(Reboot::No, &services) else { panic!() };
        assert!(reasons.len() == 1 && reasons[0].starts_with("dbus.service"), "{reasons:?}");
        assert_eq!(with_services(Reboot::No, &services[1..]), Reboot::No);
    }

    fn image_package(name: &str, version: &str) -> Installed {
        let version: Version = version.parse().unwrap();
        let (name, source, arch) = (name.to_owned(), "linux-signed-amd64".to_owned(), "amd64".to_owned());
        Installed { name, arch, source_version: version.clone(), version, source, broken: None, held: false }
    }

    fn runs(kernel: &str, build: &str) -> Running {
        Running { kernel: kernel.into(), build: build.into(), container: false, asked_for: false }
    }

    #[test]
    fn a_newer_installed_kernel_of_the_same_flavour_needs_a_reboot() {
        let packages = [image_package("linux-image-6.1.0-9-amd64", "6.1.27-1"), image_package("linux-image-6.1.0-18-amd64", "6.1.76-1")];
        assert!(matches!(answer(&packages, &runs("6.1.0-9-amd64", "")), Reboot::Needed { .. }));
        assert_eq!(answer(&packages, &runs("6.1.0-18-amd64", "#1 SMP Debian 6.1.76-1 (2024-02-01)")), Reboot::No);
        let other = [image_package("linux-image-6.1.0-9-amd64", "1"), image_package("linux-image-6.1.0-18-cloud-amd64", "1")];
        assert_eq!(answer(&other, &runs("6.1.0-9-amd64", "")), Reboot::No);
    }

    #[test]
    fn the_same_release_rebuilt_needs_a_reboot() {
        let packages = [image_package("linux-image-6.1.0-18-amd64", "6.1.76-1")];
        let answer = answer(&packages, &runs("6.1.0-18-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.75-1 (2024-01-01)"));
        assert_eq!(
            answer,
            Reboot::Needed { reasons: vec!["kernel 6.1.0-18-amd64 of version 6.1.75-1 runs, 6.1.76-1 is installed".into()] }
        );
    }

    #[test]
    fn a_removed_running_kernel_needs_a_reboot() {
        let packages = [image_package("linux-image-6.1.0-8-amd64", "6.1.1-1")];
        assert!(matches!(answer(&packages, &runs("6.1.0-9-amd64", "")), Reboot::Needed { .. }));
    }

    #[test]
    fn containers_and_hosts_without_a_packaged_kernel_need_none_unless_asked() {
        let packages = [image_package("linux-image-6.1.0-18-amd64", "6.1.76-1")];
        let container = Running { container: true, ..runs("6.9", "") };
        assert_eq!(answer(&packages, &container), Reboot::No);
        assert_eq!(answer(&[image_package("linux-image-amd64", "1")], &runs("6.18.44-x", "")), Reboot::No);
        assert!(matches!(answer(&[], &Running { asked_for: true, ..container }), Reboot::Needed { .. }));
    }
}
