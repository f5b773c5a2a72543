//! Room on a file system and in memory. Reads `statvfs` and `/proc/meminfo`.

use super::{failed, no_data};
use fother_core::policy::{CheckAnswer, checks::Amount};
use std::fs;

pub(super) fn disk(path: &str, least: Amount) -> CheckAnswer {
    match rustix::fs::statvfs(path) {
        Err(error) => no_data(format!("{path} cannot be looked at: {error}")),
        Ok(stat) => {
            let (total, free) = (stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize));
            enough(&format!("free on {path}"), total, free, least)
        }
    }
}

pub(super) fn memory(least: Amount) -> CheckAnswer {
    let text = match fs::read_to_string("/proc/meminfo") {
        Ok(text) => text,
        Err(error) => return no_data(format!("/proc/meminfo cannot be read: {error}")),
    };
    match (kibibytes(&text, "MemTotal:"), kibibytes(&text, "MemAvailable:")) {
        (Some(total), Some(available)) => enough("of memory available", total, available, least),
        _ => no_data("/proc/meminfo does not say what is available"),
    }
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
}

fn enough(what: &str, total: u64, have: u64, least: Amount) -> CheckAnswer {
    if total == 0 {
        return no_data(format!("how much is {what} cannot be told"));
    }
    if have >= least.of(total) {
        return CheckAnswer::Fine;
    }
    failed(format!("{} MiB ({} %) {what}, less than {least}", have >> 20, u128::from(have) * 100 / u128::from(total)))
}
