//! What a dependency gets that asks for randomness: one fixed stream, the same in every instance.
//!
//! A guest is pure. The host gives seeds to operators that want chance; hash maps need only bytes of some kind.

#![expect(unsafe_code, reason = "getrandom finds its custom backend by a symbol's name")]

use std::sync::atomic::{AtomicU64, Ordering};

/// Fills `bytes` from the stream (SplitMix64).
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(bytes: *mut u8, length: usize) -> Result<(), getrandom::Error> {
    static STATE: AtomicU64 = AtomicU64::new(0x6466_6c6f_7720_3031);
    // SAFETY: getrandom hands over a pointer to that many writable bytes, possibly uninitialised: they are written first.
    let bytes = unsafe {
        bytes.write_bytes(0, length);
        std::slice::from_raw_parts_mut(bytes, length)
    };
    for chunk in bytes.chunks_mut(8) {
        let mut word = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..chunk.len()]);
    }
    Ok(())
}
