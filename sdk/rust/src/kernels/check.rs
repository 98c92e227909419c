//! Whether bytes are text.

use super::TURN;
use super::lanes::{Lanes, WIDTH};

/// Whether all bytes are ASCII.
pub fn is_ascii(bytes: &[u8]) -> bool {
    let (turns, rest) = bytes.as_chunks::<TURN>();
    turns.iter().all(turn_is_ascii) && rest.is_ascii()
}

/// Whether they are valid UTF-8. Text that is ASCII for long stretches is as fast as [`is_ascii`] there.
pub fn is_utf8(bytes: &[u8]) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        let (turns, _) = bytes[at..].as_chunks::<TURN>();
        at += turns.iter().take_while(|turn| turn_is_ascii(turn)).count() * TURN;
        // The rest, or what isn't ASCII with what follows it up to a character's end.
        let mut end = bytes.len().min(at + 4 * TURN);
        while end < bytes.len() && bytes[end] & 0xc0 == 0x80 && end > at {
            end -= 1;
        }
        if end == at {
            return bytes.len() == at;
        }
        if std::str::from_utf8(&bytes[at..end]).is_err() {
            return false;
        }
        at = end;
    }
    true
}

#[inline(always)]
fn turn_is_ascii(turn: &[u8; TURN]) -> bool {
    let (lanes, _) = turn.as_chunks::<WIDTH>();
    let lanes: &[[u8; WIDTH]; TURN / WIDTH] = lanes.try_into().expect("a turn is a whole number of lanes");
    lanes.iter().fold(Lanes::all(0), |all, one| all.or(Lanes::load(one))).high_bits() == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::noise;

    #[test]
    fn knows_text() {
        for length in [0, 1, 255, 256, 257, 2000] {
            let text = "käse und brot, 7 € ".repeat(length / 10 + 1);
            let ascii: Vec<u8> = noise(length, 1).iter().map(|byte| byte & 0x7f).collect();
            assert!(is_ascii(&ascii) && is_utf8(&ascii));
            assert!(is_utf8(text.as_bytes()) && !is_ascii(text.as_bytes()));
            for at in 0..length {
                for bad in [0x80, 0xff] {
                    let mut broken = ascii.clone();
                    broken[at] = bad;
                    assert!(!is_ascii(&broken) && !is_utf8(&broken), "{bad} at {at} of {length}");
                }
            }
        }
        let text = "a€".repeat(1000);
        for end in 0..text.len() {
            let part = &text.as_bytes()[..end];
            assert_eq!(is_utf8(part), std::str::from_utf8(part).is_ok(), "{end}");
        }
        let continued = [b"a".repeat(300), vec![0x80; 5000]].concat();
        assert!(!is_utf8(&continued));
    }
}
