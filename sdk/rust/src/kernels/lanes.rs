//! Sixteen bytes at a time: what WebAssembly and x86-64 always have, and plain code for all else.

pub(super) use here::Lanes;

/// Bytes of a lane.
pub(super) const WIDTH: usize = 16;

#[cfg(target_arch = "wasm32")]
mod here {
    use std::arch::wasm32::{i8x16_bitmask, i8x16_eq, u8x16_splat, v128, v128_or};

    #[derive(Clone, Copy)]
    pub(crate) struct Lanes(v128);

    impl Lanes {
        #[inline(always)]
        pub(crate) fn load(bytes: &[u8; 16]) -> Self {
            // SAFETY: sixteen bytes are a vector, whatever they are.
            #[expect(unsafe_code, reason = "there is no safe load")]
            Self(unsafe { std::mem::transmute::<[u8; 16], v128>(*bytes) })
        }

        #[inline(always)]
        pub(crate) fn all(byte: u8) -> Self {
            Self(u8x16_splat(byte))
        }

        /// All ones where they are the same.
        #[inline(always)]
        pub(crate) fn equal(self, other: Self) -> Self {
            Self(i8x16_eq(self.0, other.0))
        }

        #[inline(always)]
        pub(crate) fn or(self, other: Self) -> Self {
            Self(v128_or(self.0, other.0))
        }

        /// The highest bit of each byte, the first byte's lowest.
        #[inline(always)]
        pub(crate) fn high_bits(self) -> u64 {
            u64::from(i8x16_bitmask(self.0))
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the compiler doesn't count what every x86-64 has")]
mod here {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8};

    #[derive(Clone, Copy)]
    pub(crate) struct Lanes(__m128i);

    impl Lanes {
        #[inline(always)]
        pub(crate) fn load(bytes: &[u8; 16]) -> Self {
            // SAFETY: sixteen bytes are a vector, whatever they are.
            Self(unsafe { std::mem::transmute::<[u8; 16], __m128i>(*bytes) })
        }

        #[inline(always)]
        pub(crate) fn all(byte: u8) -> Self {
            // SAFETY: SSE2 is part of x86-64, here and below.
            Self(unsafe { _mm_set1_epi8(byte as i8) })
        }

        #[inline(always)]
        pub(crate) fn equal(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm_cmpeq_epi8(self.0, other.0) })
        }

        #[inline(always)]
        pub(crate) fn or(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm_or_si128(self.0, other.0) })
        }

        #[inline(always)]
        pub(crate) fn high_bits(self) -> u64 {
            // SAFETY: as above.
            u64::from(unsafe { _mm_movemask_epi8(self.0) } as u16)
        }
    }
}

#[cfg(not(any(target_arch = "wasm32", target_arch = "x86_64")))]
mod here {
    #[derive(Clone, Copy)]
    pub(crate) struct Lanes([u8; 16]);

    impl Lanes {
        #[inline(always)]
        pub(crate) fn load(bytes: &[u8; 16]) -> Self {
            Self(*bytes)
        }

        #[inline(always)]
        pub(crate) fn all(byte: u8) -> Self {
            Self([byte; 16])
        }

        #[inline(always)]
        pub(crate) fn equal(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| if self.0[i] == other.0[i] { 0xff } else { 0 }))
        }

        #[inline(always)]
        pub(crate) fn or(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
        }

        #[inline(always)]
        pub(crate) fn high_bits(self) -> u64 {
            self.0.iter().enumerate().fold(0, |bits, (i, byte)| bits | u64::from(byte >> 7) << i)
        }
    }
}
