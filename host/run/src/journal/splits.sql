-- What a task did, split by split: when some of its splits have changed, the rows of the others stay.

-- JSON: `counts` and `again` as in `result`, of each stage and count a list with a number for each split, in the order of `split.place`
-- (of a task that has tried rows again: of the splits of the task where they had failed). Null when rows of different splits meet,
-- and when nobody goes on from it.
ALTER TABLE task ADD COLUMN by_split TEXT;

-- JSON: of which splits the rows are, in their order: pairs of a split's place and a number of rows. Of a single file that was put
-- together from parts: pairs of a task and a number of rows. Null where that isn't known.
ALTER TABLE file ADD COLUMN splits TEXT;

-- The place of the split that the row comes from, where that is known.
ALTER TABLE dead ADD COLUMN split INTEGER;
