//! What a process that reads foreign bytes may still do: read below named paths, write below others, print, compute. Changes the calling
//! thread and those that it starts; meant to be entered by a process that has one thread.
//!
//! Three layers, each from the system: landlock for paths, TCP and signals; seccomp for everything that is no reading; rlimits for memory,
//! processor time, file size and descriptors. What is not in the list of calls gives ENOSYS, so that a newer libc falls back.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
    path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};
use std::{collections::BTreeMap, path::PathBuf};

/// Most address space, in bytes.
pub const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// Most processor time, in seconds.
pub const PROCESSOR_S_MAX: u64 = 600;
/// Largest file that is written, in bytes: also the output, where it is a file.
pub const FILE_BYTES_MAX: u64 = 8 << 30;
/// Most open descriptors.
pub const DESCRIPTORS_MAX: u64 = 512;
/// The newest form of landlock that is asked for; older kernels give what they have.
const LANDLOCK: ABI = ABI::V6;

/// What stays allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Files and directories to read, with everything below them.
    pub read: Vec<PathBuf>,
    /// Directories in which files are written, replaced and removed as well.
    pub write: Vec<PathBuf>,
}

/// The sandbox could not be entered at all.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox for foreign data cannot be entered: {what}: {why}; nothing was read")]
pub struct Error {
    what: &'static str,
    why: String,
}

fn failed(what: &'static str) -> impl Fn(rustix::io::Errno) -> Error {
    move |why| Error { what, why: why.to_string() }
}

/// Enters the sandbox; there is no way back. The result names the protections that this system does not offer.
///
/// # Errors
/// Where limits or `no_new_privs` cannot be set: every system has those.
pub fn enter(allowed: &Allowed) -> Result<Vec<String>, Error> {
    // Nobody would see this process's answer.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("death signal"))?;
    limit(Resource::As, MEMORY_BYTES_MAX)?;
    limit(Resource::Cpu, PROCESSOR_S_MAX)?;
    limit(Resource::Fsize, FILE_BYTES_MAX)?;
    limit(Resource::Nofile, DESCRIPTORS_MAX)?;
    limit(Resource::Core, 0)?;
    rustix::thread::set_no_new_privs(true).map_err(failed("no_new_privs"))?;
    let mut missing = Vec::new();
    match paths(allowed) {
        Ok(status) => match status.ruleset {
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => {}
            RulesetStatus::NotEnforced => missing.push("landlock: this kernel does not offer it".to_owned()),
        },
        Err(why) => missing.push(format!("landlock: {why}")),
    }
    if let Err(why) = calls(!allowed.write.is_empty()) {
        missing.push(format!("seccomp: {why}"));
    }
    Ok(missing)
}

/// Lowers a limit; a lower one that is there already stays.
fn limit(resource: Resource, most: u64) -> Result<(), Error> {
    let now = rustix::process::getrlimit(resource);
    let most = now.maximum.map_or(most, |hard| hard.min(most));
    let soft = now.current.map_or(most, |soft| soft.min(most));
    setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(most) }).map_err(failed("limits"))
}

fn paths(allowed: &Allowed) -> Result<RestrictionStatus, landlock::RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules(&allowed.read, read))?
        .add_rules(path_beneath_rules(&allowed.write, write))?
        .restrict_self()
}

/// Calls that a reader needs, whatever their arguments.
const READER_CALLS: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    // Its flags are behind a pointer: landlock answers for it.
    libc::SYS_openat2,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_fadvise64,
    libc::SYS_getcwd,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_ppoll,
    libc::SYS_membarrier,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Calls that one who writes below a directory needs as well; landlock says below which.
const WRITER_CALLS: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_umask,
    libc::SYS_flock,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
];

/// One condition on a call's argument, counted from 0.
fn only(argument: u8, op: SeccompCmpOp, value: u64) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, op, value)?;
    Ok(vec![SeccompRule::new(vec![condition])?])
}

fn calls(writes: bool) -> Result<(), seccompiler::Error> {
    let bits = |number: i32| u64::from(number.unsigned_abs());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = READER_CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let changing = bits(libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND);
    rules.insert(libc::SYS_openat, only(2, SeccompCmpOp::MaskedEq(changing), 0)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, only(1, SeccompCmpOp::MaskedEq(changing), 0)?);
    // Threads, no processes. The newer call hides its flags; libc falls back from it.
    rules.insert(libc::SYS_clone, only(0, SeccompCmpOp::MaskedEq(bits(libc::CLONE_THREAD)), bits(libc::CLONE_THREAD))?);
    // Data, no code.
    rules.insert(libc::SYS_mmap, only(2, SeccompCmpOp::MaskedEq(bits(libc::PROT_EXEC)), 0)?);
    rules.insert(libc::SYS_mprotect, only(2, SeccompCmpOp::MaskedEq(bits(libc::PROT_EXEC)), 0)?);
    // Limits are looked at, not set.
    rules.insert(libc::SYS_prlimit64, only(2, SeccompCmpOp::Eq, 0)?);
    rules.insert(libc::SYS_prctl, only(0, SeccompCmpOp::Eq, bits(libc::PR_SET_NAME))?);
    // Ending itself only.
    let own = u64::from(rustix::process::getpid().as_raw_nonzero().get().unsigned_abs());
    rules.insert(libc::SYS_tgkill, only(0, SeccompCmpOp::Eq, own)?);
    let asked = [libc::TCGETS, libc::TIOCGWINSZ];
    rules.insert(libc::SYS_ioctl, asked.iter().map(|ask| only(1, SeccompCmpOp::Eq, *ask)).collect::<Result<Vec<_>, _>>()?.concat());
    if writes {
        rules.extend(WRITER_CALLS.iter().map(|call| (*call, Vec::new())));
    }
    let no = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(rules, no, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)
}
