//! The size of the process's pages of memory.

/// Asks for no huge pages. With them the kernel clears two megabytes where a thread touches one value, and all of it counts as
/// resident: a third more memory for nothing gained in speed, sorts and joins of millions of rows included.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a call of the system's that no library in the tree offers safely")]
pub(crate) fn keep_small() {
    // SAFETY: this command reads no memory and only changes how this process gets its own. That it may fail is no harm.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Elsewhere there is nothing to ask for.
#[cfg(not(target_os = "linux"))]
pub(crate) fn keep_small() {}
