//! A program as a process group of its own, so that it ends with all that it started, and never outlives the host.

use tokio::process::Command;

/// Makes the program the leader of a group of its own: a Ctrl-C in the terminal reaches the host alone, which ends the group. When
/// the host is killed, so is the program; what that has started sees its pipes closed.
#[cfg(unix)]
pub(crate) fn of_its_own(command: &mut Command) {
    command.process_group(0);
    #[cfg(target_os = "linux")]
    dies_with_us(command);
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "what runs between fork and exec can't be said safely")]
fn dies_with_us(command: &mut Command) {
    let host = std::process::id();
    let ask = move || {
        // SAFETY: both are plain system calls without pointers, allowed between fork and exec.
        let (asked, parent) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        match asked {
            // The signal comes when the thread ends that started the program: those of our runtimes stay to the end.
            0 if u32::try_from(parent) == Ok(host) => Ok(()),
            0 => Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe)),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure calls nothing but the system, allocates nothing and takes no lock.
    unsafe { command.pre_exec(ask) };
}

/// Ends a group at once. Its leader must not have been waited for yet, so that its number is no other's.
#[cfg(unix)]
#[expect(unsafe_code, reason = "a call of the system's that no library in the tree offers safely")]
pub(crate) fn kill(leader: u32) {
    if let Ok(leader) = libc::pid_t::try_from(leader) {
        // SAFETY: no memory is read or written.
        unsafe { libc::kill(-leader, libc::SIGKILL) };
    }
}

/// Elsewhere the program is ended alone.
#[cfg(not(unix))]
pub(crate) fn of_its_own(_command: &mut Command) {}

/// Elsewhere the program is ended alone.
#[cfg(not(unix))]
pub(crate) fn kill(_leader: u32) {}
