//! An allocator that begins each larger allocation at a multiple of 64 bytes, as Arrow advises.
//!
//! The host places the buffers that it lends where `realloc` says, asking for no alignment at all; what was asked for is
//! raised here. The rule depends on the size alone, so that whoever gives the memory back with the same layout finds the
//! same alignment.

#![expect(unsafe_code, reason = "an allocator can't be made without")]

use std::alloc::{GlobalAlloc, Layout};

use talc::wasm::{WasmDynamicTalc, new_wasm_dynamic_allocator};

/// To how many bytes larger allocations are aligned, ...
const ALIGNMENT: usize = 64;
/// ... from this size on (in bytes). For the many small ones it would cost more than the rest of the allocator.
const LARGER: usize = 1024;

/// Where memory comes from: several times as fast as the standard library's allocator for wasm.
static TALC: WasmDynamicTalc = new_wasm_dynamic_allocator();

struct Aligned;

#[global_allocator]
static ALLOCATOR: Aligned = Aligned;

fn raised(layout: Layout) -> Layout {
    if layout.size() < LARGER || layout.align() >= ALIGNMENT {
        return layout;
    }
    // SAFETY: 64 is a power of two, and the size rounded up to it is within `isize::MAX` or the allocator refuses it.
    unsafe { Layout::from_size_align_unchecked(layout.size(), ALIGNMENT) }
}

// SAFETY: memory comes from and goes back to the system's allocator with the same layout, `raised` being a function of the
// layout alone.
unsafe impl GlobalAlloc for Aligned {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on.
        unsafe { TALC.alloc(raised(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on.
        unsafe { TALC.alloc_zeroed(raised(layout)) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: allocated with the same raised layout.
        unsafe { TALC.dealloc(pointer, raised(layout)) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size fits the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let (from, to) = (raised(layout), raised(new));
        if from.align() == to.align() {
            // SAFETY: the same alignment before and after.
            return unsafe { TALC.realloc(pointer, from, size) };
        }
        // SAFETY: a fresh allocation of at least as many bytes as are copied; the old one is given back as it was made.
        unsafe {
            let moved = TALC.alloc(to);
            if !moved.is_null() {
                std::ptr::copy_nonoverlapping(pointer, moved, layout.size().min(size));
                TALC.dealloc(pointer, from);
            }
            moved
        }
    }
}
