//! Where the memory of guests comes from.

use std::fmt::Debug;

/// The memory of which guests take theirs, shared with all else that runs in the process. Bytes.
pub trait MemoryAccount: Debug + Send + Sync {
    /// Takes some more; false when there isn't so much left.
    fn try_take(&self, bytes: u64) -> bool;

    /// Gives back some of what was taken.
    fn give_back(&self, bytes: u64);
}
