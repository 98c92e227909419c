//! One memory, shared by those who can put something on disk and those who can't.
//!
//! DataFusion's own fair pool gives each operator that can spill an equal part of what the others leave. Two things end runs with
//! it that need not end. An operator that can't spill (a plugin that grows, the rows of a join) finds nothing left where sorts
//! have taken all of their parts: here some room is kept from those who can spill. And the merge of a sort's files takes as many
//! files at a time as there is memory for, whoever needs it next: here it has the part that its sort had. Exchanges
//! hold a few batches, and get them always: with DataFusion 55.2 one that spills while two partitions write may wait for ever,
//! its reader for the first of their files and its writers for the reader.

use std::{collections::BTreeMap, fmt};

use datafusion::{
    common::{DataFusionError, Result},
    execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
};
use dflow_operators::no_memory;
use dflow_pipeline::Bytes;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The part of the memory that is kept for those who can't spill: one of so many.
const ROOM: usize = 4;
/// What exchanges hold, and the merge of partitions, counts up to this part of the memory: they hold a few batches, and count what
/// these share once for each.
const EXCHANGES: usize = 8;
/// Who can spill always gets this part of his part, even where others hold too much, as he may have come after them.
const ALWAYS: usize = 4;
/// How many of those who hold most are named.
const NAMED: usize = 3;

/// A memory of some bytes.
#[derive(Debug)]
pub(crate) struct Pool {
    size: usize,
    /// What the user knows: the limit of the whole process.
    limit: u64,
    /// Called when it is short for the first time.
    tight: fn(),
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    holders: BTreeMap<usize, Holder>,
    held: usize,
    /// What exchanges hold, which isn't in `held`.
    exchanged: usize,
    /// What those hold who can't spill.
    fixed: usize,
    peak: usize,
    tight: bool,
}

#[derive(Debug)]
struct Holder {
    name: String,
    kind: Kind,
    held: usize,
    /// Of a sort, who merges for it.
    merges: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Can't give anything back before it is done.
    Fixed,
    /// Puts what it holds on disk when it gets no more.
    Spills,
    /// Merges the files of a sort; as many at a time as it gets memory for.
    Merges,
    /// Hands batches from one partition to others, or merges those of several.
    Exchanges,
}

impl Kind {
    fn of(consumer: &MemoryConsumer) -> Self {
        match consumer.name() {
            name if name.starts_with("ExternalSorterMerge") => Self::Merges,
            name if name.starts_with("RepartitionExec") || name.starts_with("SortPreservingMergeExec") => {
                Self::Exchanges
            }
            _ if consumer.can_spill() => Self::Spills,
            _ => Self::Fixed,
        }
    }
}

impl State {
    /// What those share who can spill.
    fn shared(&self, size: usize) -> usize {
        size - self.fixed.max(size / ROOM).min(size - size / ROOM)
    }

    fn count(&self, kind: Kind) -> usize {
        self.holders.values().filter(|holder| holder.kind == kind).count().max(1)
    }

    /// All that is held.
    fn all(&self, size: usize) -> usize {
        self.held + self.exchanged.min(size / EXCHANGES)
    }

    /// Whether a holder may have so much more, on top of `before` that this reservation of its has.
    fn allows(&self, size: usize, holder: &Holder, before: usize, more: usize) -> bool {
        let fits = self.all(size) + more <= size;
        match holder.kind {
            Kind::Fixed => fits,
            Kind::Exchanges => true,
            Kind::Spills | Kind::Merges => {
                let part = |of: usize| of / 4 * 3 / self.count(Kind::Spills);
                let (most, always) = (part(self.shared(size)), part(size - size / ROOM) / ALWAYS);
                // A sort that puts its rows on disk merges them meanwhile: both have one part together. A group that merges
                // what it put on disk has half a part for its rows beside what the files take.
                let merges = holder.merges.and_then(|id| self.holders.get(&id)).map_or(0, |merges| merges.held);
                let all = holder.held + more;
                all + merges <= always || (before + merges + more <= most && all <= most / 2 * 3 && fits)
            }
        }
    }

    /// Changes what one holds, and the sums.
    fn change(&mut self, id: usize, change: impl Fn(usize) -> usize) {
        let Some(holder) = self.holders.get_mut(&id) else { return };
        holder.held = change(holder.held);
        match holder.kind {
            Kind::Exchanges => self.exchanged = change(self.exchanged),
            Kind::Spills | Kind::Merges => self.held = change(self.held),
            Kind::Fixed => (self.held, self.fixed) = (change(self.held), change(self.fixed)),
        }
        self.peak = self.peak.max(self.held);
    }
}

impl Pool {
    /// A memory of `size` bytes, for a process that may have `limit`.
    pub(crate) fn new(size: usize, limit: u64, tight: fn()) -> Self {
        Self { size, limit, tight, state: Mutex::default() }
    }

    /// The most that was held at a time.
    pub(crate) fn peak(&self) -> usize {
        self.state().peak
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What couldn't be had, and who holds most.
    fn refused(&self, state: &State, id: usize, more: usize) -> DataFusionError {
        let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
        for holder in state.holders.values().filter(|holder| holder.held > 0) {
            *by_name.entry(plain(&holder.name)).or_default() += holder.held;
        }
        let mut most: Vec<_> = by_name.into_iter().collect();
        most.sort_by_key(|(name, held)| (std::cmp::Reverse(*held), *name));
        let most: Vec<_> =
            most.iter().take(NAMED).map(|(name, held)| format!("{name} {}", Bytes(*held as u64))).collect();
        let name = state.holders.get(&id).map_or("a step", |holder| plain(&holder.name));
        let held = if most.is_empty() { String::new() } else { format!("; most is held by {}", most.join(", ")) };
        DataFusionError::ResourcesExhausted(no_memory(&format!(
            "{name}: {} more were asked for, and of the {} for rows and plugins ({} in all) {} are taken{held}",
            Bytes(more as u64),
            Bytes(self.size as u64),
            Bytes(self.limit),
            Bytes(state.all(self.size) as u64),
        )))
    }
}

/// DataFusion's name of one who holds memory, in plain words; ours are plain already.
fn plain(name: &str) -> &str {
    const NAMES: &[(&str, &str)] = &[
        ("ExternalSorter", "a sort"),
        ("SortPreservingMerge", "a sort"),
        ("PartitionedTopK", "a sort with a limit"),
        ("TopK", "a sort with a limit"),
        ("HashJoinInput", "a join's smaller side"),
        ("NestedLoopJoin", "a join without equal columns"),
        ("PiecewiseMergeJoin", "a join without equal columns"),
        ("CrossJoin", "a join without a condition"),
        ("SMJStream", "a join's rows of one key"),
        ("SymmetricHashJoin", "a join"),
        ("RepartitionExec", "an exchange between cores"),
        ("RecursiveQuery", "a recursive query"),
        ("Window", "a window"),
        ("BoundedWindow", "a window"),
    ];
    let known = NAMES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, plain)| *plain);
    known.unwrap_or(if name.contains("Aggregate") { "a group" } else { name })
}

impl MemoryPool for Pool {
    fn name(&self) -> &str {
        "dflow"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        let mut state = self.state();
        let holder = Holder { name: consumer.name().to_owned(), kind: Kind::of(consumer), held: 0, merges: None };
        if let Some(partition) = holder.name.strip_prefix("ExternalSorterMerge") {
            // A sort registers itself, then who merges for it.
            let sort = format!("ExternalSorter{partition}");
            let mut sorts = state.holders.values_mut().rev();
            if let Some(sort) = sorts.find(|holder| holder.name == sort && holder.merges.is_none()) {
                sort.merges = Some(consumer.id());
            }
        }
        state.holders.insert(consumer.id(), holder);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.state().holders.remove(&consumer.id());
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.state().change(reservation.consumer().id(), |held| held + additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.state().change(reservation.consumer().id(), |held| held.saturating_sub(shrink));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut state = self.state();
        let id = reservation.consumer().id();
        let allowed =
            state.holders.get(&id).is_none_or(|holder| state.allows(self.size, holder, reservation.size(), additional));
        if !allowed {
            if !std::mem::replace(&mut state.tight, true) {
                (self.tight)();
            }
            return Err(self.refused(&state, id, additional));
        }
        state.change(id, |held| held + additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.state().all(self.size)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.size)
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of memory", Bytes(self.size as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pool(size: usize) -> Arc<dyn MemoryPool> {
        Arc::new(Pool::new(size, 2 * size as u64, || {}))
    }

    fn holder(pool: &Arc<dyn MemoryPool>, name: &str, spills: bool) -> MemoryReservation {
        MemoryConsumer::new(name).with_can_spill(spills).register(pool)
    }

    #[test]
    fn who_can_spill_has_a_part_and_leaves_room() {
        let pool = pool(1600);
        let (a, b) = (holder(&pool, "ExternalSorter[0]", true), holder(&pool, "ExternalSorter[1]", true));
        assert!(a.try_grow(450).is_ok() && a.try_grow(1).is_err());
        assert!(b.try_grow(450).is_ok());
        // What can't spill gets the rest, and nothing more.
        let plugin = holder(&pool, "plugins", false);
        assert!(plugin.try_grow(700).is_ok() && plugin.try_grow(1).is_err());
        // The more it holds, the less is left to share.
        a.free();
        assert!(a.try_grow(337).is_ok() && a.try_grow(1).is_err());
        // What a group merges is beside what it holds, up to a half more.
        let files = b.new_empty();
        plugin.free();
        assert!(files.try_grow(225).is_ok() && files.try_grow(1).is_err());
    }

    #[test]
    fn who_comes_late_gets_something_all_the_same() {
        let pool = pool(1600);
        let first = holder(&pool, "SingleHashAggregateStream[0]", true);
        first.try_grow(900).expect("it is alone");
        let plugin = holder(&pool, "plugins", false);
        plugin.try_grow(700).expect("there is room");
        let late = holder(&pool, "ExternalSorter[0]", true);
        assert!(late.try_grow(112).is_ok() && late.try_grow(1).is_err());
    }

    #[test]
    fn a_sort_and_its_merge_have_one_part() {
        let pool = pool(1600);
        let (sort, merge) = (holder(&pool, "ExternalSorter[0]", true), holder(&pool, "ExternalSorterMerge[0]", false));
        assert!(sort.try_grow(800).is_ok() && merge.try_grow(100).is_ok());
        assert!(sort.try_grow(1).is_err());
        sort.shrink(700);
        assert!(merge.try_grow(700).is_ok() && sort.try_grow(1).is_err());
    }

    #[test]
    fn exchanges_take_no_part_from_sorts() {
        let pool = pool(1600);
        let exchanges: Vec<_> = (0..8).map(|i| holder(&pool, &format!("RepartitionExec[{i}]"), true)).collect();
        let sort = holder(&pool, "ExternalSorter[0]", true);
        assert!(exchanges.iter().all(|exchange| exchange.try_grow(1000).is_ok()));
        assert!(sort.try_grow(900).is_ok());
        assert_eq!(pool.reserved(), 1100);
    }

    #[test]
    fn a_refusal_says_who_holds_what() {
        let pool = pool(100 << 20);
        let (join, plugins) = (holder(&pool, "HashJoinInput[0]", false), holder(&pool, "plugins", false));
        plugins.try_grow(20 << 20).expect("there is room");
        join.try_grow(75 << 20).expect("there is room");
        let error = join.try_grow(10 << 20).expect_err("there isn't");
        let message = error.strip_backtrace();
        assert!(
            message.contains(
                "a join's smaller side: 10.0 MiB more were asked for, and of the 100.0 MiB for rows and plugins \
                 (200.0 MiB in all) 95.0 MiB are taken; most is held by a join's smaller side 75.0 MiB, plugins 20.0 MiB"
            ),
            "{message}"
        );
    }
}
