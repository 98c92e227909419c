//! Tests of dealing splits out, and of their reading.

use super::*;

#[test]
fn splits_are_dealt_by_bytes_and_in_order() {
    let split = |size: u64| Split {
        volume: String::new(),
        path: size.to_string(),
        size,
        modified: 0,
        range: None,
        etag: String::new(),
    };
    let splits = Splits::from([10, 10, 10, 10, 40, 1, 1].map(split).to_vec());
    let lengths = |lists: Vec<Splits>| lists.iter().map(|list| list.len()).collect::<Vec<_>>();
    assert_eq!(lengths(deal(&splits, 2, false)), [5, 2]);
    for (splits, parts, only) in [(&splits, 1, 7), (&splits.part(0..1), 4, 1), (&Splits::default(), 4, 0)] {
        assert_eq!(lengths(deal(splits, parts, false)), [only]);
    }
    for parts in 1..10 {
        // They are dealt, not copied.
        let dealt = deal(&splits, parts, false);
        let dealt: Vec<_> = dealt.iter().flat_map(|list| list.iter()).map(std::ptr::from_ref).collect();
        assert_eq!(dealt, splits.iter().map(std::ptr::from_ref).collect::<Vec<_>>(), "{parts}");
    }
}

#[test]
fn large_splits_are_cut_into_pieces_that_are_all_of_them() {
    let split = |size: u64| Split {
        volume: String::new(),
        path: size.to_string(),
        size,
        modified: 0,
        range: None,
        etag: String::new(),
    };
    let splits = Splits::from([100 << 20, 3 << 20, 1 << 20, 7, 64 << 20].map(split).to_vec());
    for parts in 1..40 {
        let dealt = deal(&splits, parts, true);
        assert!(dealt.len() <= parts && !dealt.iter().any(|list| list.is_empty()), "{parts}");
        let largest = dealt.iter().map(|list| list.iter().map(Split::bytes).sum::<u64>()).max();
        assert!(
            largest.is_some_and(|largest| largest <= (168 << 20) / parts as u64 + (3 << 20) + 8),
            "{parts}: {largest:?}"
        );
        for split in splits.iter() {
            let mut pieces = dealt.iter().flat_map(|list| list.iter()).filter(|piece| piece.path == split.path);
            let end = pieces.try_fold(0, |at, piece| {
                let (start, end) = piece.range.unwrap_or((0, split.size));
                (start == at).then_some(end)
            });
            assert_eq!(end, Some(split.size), "{parts}");
        }
    }
}
