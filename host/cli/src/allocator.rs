//! The allocator, and how soon it gives memory back to the system.
//!
//! Large batches come and go all the time, and the system's own allocator would hand their pages back to the kernel each time.
//! This one would keep them for a second, which is more than it takes to read most inputs once: 48,625 pages had 335 MB resident, and
//! have 239 when pages are kept for a fortieth of it, in a thirtieth more processor time. Where memory is short that is too long as
//! well: a sort of 650 MB with 96 MB of memory had 396 MB resident, and 78 MB when pages are given back at once, in a third more time.

use std::ffi::{c_int, c_long};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc's `mi_option_t`, in milliseconds; the same in versions 2 and 3.
const PURGE_DELAY: c_int = 15;

#[expect(unsafe_code, reason = "mimalloc's options can be set only through its C interface")]
// SAFETY: this is mimalloc's declaration of it, in `mimalloc.h`; it is linked as it is the allocator's.
unsafe extern "C" {
    safe fn mi_option_set(option: c_int, value: c_long);
}

/// How long pages are kept that are free, in milliseconds, unless `MIMALLOC_PURGE_DELAY` says it.
const KEPT: c_long = 25;

/// From now on, memory that is free is given back soon.
pub(crate) fn give_back_soon() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        mi_option_set(PURGE_DELAY, KEPT);
    }
}

/// From now on, memory that is free is given back at once.
pub(crate) fn give_back_at_once() {
    mi_option_set(PURGE_DELAY, 0);
}
