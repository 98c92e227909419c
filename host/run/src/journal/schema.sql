-- The journal of a pipeline: what has happened. Only the run that holds `lock` writes it; anybody may read, also while it goes on:
--
--     sqlite3 -readonly .dflow/dflow.db 'SELECT id, exit FROM run'
--
-- Moments are milliseconds since 1970 (UTC), sizes are bytes, JSON is as the host's types write it. The version of this schema is
-- in `PRAGMA user_version`.

-- One for each time that `dflow-host run` began to work.
CREATE TABLE run (
    id         TEXT PRIMARY KEY,              -- sorts by when it began; names of files carry it
    pipeline   TEXT NOT NULL,                 -- the pipeline's name
    host       TEXT NOT NULL,                 -- the version of dflow-host
    pid        INTEGER NOT NULL,              -- the process
    started    INTEGER NOT NULL,              -- when
    ended      INTEGER,                       -- when; null while it goes on, and for ever when it was killed
    exit       INTEGER,                       -- its exit code
    message    TEXT,                          -- what ended it, when that was an error
    first      INTEGER,                       -- with `--first N`: N
    parameters TEXT NOT NULL,                 -- JSON: the pipeline's parameters and their values
    report     TEXT                           -- JSON: what `dflow-host report` prints; null when an error ended it
) STRICT;

-- A segment over some splits. Its result stands for as long as it is `done`, also for later runs of the same fingerprint.
CREATE TABLE task (
    id          INTEGER PRIMARY KEY,
    run         TEXT NOT NULL REFERENCES run (id),
    segment     TEXT NOT NULL,                -- its segment: the name of its first sink
    fingerprint TEXT,                         -- of its segment; null with `--first`, from which nobody goes on
    number      INTEGER NOT NULL,             -- in its run and segment; names of files carry it
    -- begun: it may have files under temporary names. prepared: they are whole, and are being published. done: they are published.
    -- gone: it was swept, or others have taken its place.
    state       TEXT NOT NULL CHECK (state IN ('begun', 'prepared', 'done', 'gone')),
    started     INTEGER NOT NULL,             -- when
    ended       INTEGER,                      -- when its result was there
    result      TEXT,                         -- JSON: counts by stage, rows by sink
    complete    TEXT REFERENCES run (id),     -- the last run in which all outputs of its segment were whole, with this task's
    replays     INTEGER REFERENCES task (id), -- the task whose failed rows it has tried again: it stands and goes with that
    replayed    TEXT                          -- the stage at which those had failed
) STRICT;
CREATE INDEX task_by_fingerprint ON task (fingerprint, state);

-- What a task has read, as long as it isn't gone.
CREATE TABLE split (
    task       INTEGER NOT NULL REFERENCES task (id),
    stage      TEXT NOT NULL,                 -- the source
    place      INTEGER NOT NULL,              -- its place among the task's splits of that source, from 0
    identity   TEXT NOT NULL,                 -- the file: its volume's name and its path there; of a saved stage's `file://` and its path from the state folder
    version    TEXT NOT NULL,                 -- of its content
    range_from INTEGER,                       -- the bytes that were meant, when it wasn't all of them
    range_to   INTEGER,
    PRIMARY KEY (task, stage, place)
) STRICT, WITHOUT ROWID;

-- Files of sinks, and those that they replace.
CREATE TABLE file (
    id        INTEGER PRIMARY KEY,
    run       TEXT NOT NULL REFERENCES run (id),
    task      INTEGER REFERENCES task (id),   -- null of a single file that was put together from the parts of all tasks
    sink      TEXT NOT NULL,                  -- the stage
    -- 1: a part of a single file or of stdout, which waits in the state folder. 2: Parquet of rows that failed at the stage, in the
    -- state folder as well; it goes with its task.
    part      INTEGER NOT NULL CHECK (part IN (0, 1, 2)),
    -- begun: it may be there under its temporary name (or many may be, in a folder of that name). prepared: it is whole, and
    -- is being published. published: it is there under its name. leaving: it goes when others of its task are published.
    -- removed: it is gone, or another has taken its name. In a bucket, published is uploaded: what counts there is said by the
    -- manifest beside it, before the task is complete.
    state     TEXT NOT NULL CHECK (state IN ('begun', 'prepared', 'published', 'leaving', 'removed')),
    temporary TEXT,                           -- its temporary name, from the state folder; elsewhere than in the project from the root
    path      TEXT NOT NULL,                  -- its name, likewise; of an object its URI, VOLUME://PATH
    bytes     INTEGER NOT NULL DEFAULT 0,     -- its size
    rows      INTEGER NOT NULL DEFAULT 0,     -- the rows in it
    row       TEXT,                           -- `__id__` of the row that it is named by
    replaced  TEXT REFERENCES run (id)        -- the run that removed it
) STRICT;
CREATE INDEX file_by_task ON file (task);
CREATE INDEX file_by_path ON file (path);
CREATE INDEX file_by_state ON file (state);

-- The books of a run that came to its end: what each stage did, that of tasks of earlier runs included.
CREATE TABLE ledger (
    run      TEXT NOT NULL REFERENCES run (id),
    place    INTEGER NOT NULL,                -- in the order in which rows pass the stages, from 0
    stage    TEXT NOT NULL,
    rows_in  INTEGER NOT NULL,                -- of a source: rows read
    rows_out INTEGER NOT NULL,
    filtered INTEGER NOT NULL,                -- dropped by a filter, or cut by a limit
    pruned   INTEGER NOT NULL,                -- splits that weren't read
    skipped  INTEGER NOT NULL,                -- failed and dropped, as the stage says
    failed   INTEGER NOT NULL,
    reused   INTEGER NOT NULL,                -- of the rows in: those of tasks of earlier runs
    seconds  REAL NOT NULL,                   -- processor time in this run
    bytes    INTEGER NOT NULL,                -- read or written
    PRIMARY KEY (run, place)
) STRICT, WITHOUT ROWID;

-- Rows that failed, up to a hundred for each stage of a task, those that were skipped included. All that are dead letters are, with
-- their columns, in files (`file.part` 2), which `dflow-host dead` reads.
CREATE TABLE dead (
    id       INTEGER PRIMARY KEY,
    run      TEXT NOT NULL REFERENCES run (id),
    task     INTEGER NOT NULL REFERENCES task (id),
    stage    TEXT NOT NULL,                   -- where it failed
    row      TEXT,                            -- its `__id__`, where rows have one
    uri      TEXT,                            -- the file that it comes from, where it comes from one as a whole or as a line
    fault    TEXT NOT NULL,                   -- whose: pipeline, data, plugin, outside, limit, internal
    kind     TEXT NOT NULL,                   -- a short name for grouping
    message  TEXT NOT NULL,
    attempts INTEGER NOT NULL,                -- how often it was tried
    at       INTEGER NOT NULL                 -- when
) STRICT;
CREATE INDEX dead_by_task ON dead (task);

-- What fingerprints are of: a stage in one of its states, or a segment.
CREATE TABLE fingerprint (
    id    TEXT PRIMARY KEY,
    stage TEXT NOT NULL,                      -- of a segment: its first end
    form  TEXT,                               -- JSON: what the stage does, and with which code; null of a segment
    reads TEXT NOT NULL                       -- JSON: the fingerprints of what it reads; of a segment those of its ends
) STRICT;

-- Fingerprints of stages that the user takes for others: `run --accept`.
CREATE TABLE accepted (
    fingerprint TEXT PRIMARY KEY,
    stands_for  TEXT NOT NULL,                -- the fingerprint whose outputs stand
    stage       TEXT NOT NULL,
    at          INTEGER NOT NULL              -- when
) STRICT;
