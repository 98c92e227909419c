//! What `total` computes.

/// Rows of one turn of the loop.
const TURN: usize = 32;

/// Twice the amount and the id, for each row.
pub fn totals(ids: &[i64], amounts: &[f64]) -> Vec<f64> {
    let total = |id: i64, amount: f64| amount * 2.0 + id as f64;
    let mut totals = Vec::with_capacity(ids.len());
    let ((id_turns, ids_left), (amount_turns, amounts_left)) = (ids.as_chunks::<TURN>(), amounts.as_chunks::<TURN>());
    for (ids, amounts) in id_turns.iter().zip(amount_turns) {
        totals.extend_from_slice(&std::array::from_fn::<_, TURN, _>(|i| total(ids[i], amounts[i])));
    }
    totals.extend(ids_left.iter().zip(amounts_left).map(|(id, amount)| total(*id, *amount)));
    totals
}
