-- What a run was made of, and what was taken in from elsewhere.

-- JSON: the pipeline in its resolved form, and digests of host, pipeline, plugins and inputs; null of runs before this version, and of
-- an import.
ALTER TABLE run ADD COLUMN made_of TEXT;
-- Of an import, which stands here as a run so that its tasks have one: the digest of the pack.
ALTER TABLE run ADD COLUMN pack TEXT;

-- The columns of sources whose results were taken in: their files need not be here.
CREATE TABLE source (
    stage   TEXT PRIMARY KEY,
    columns TEXT NOT NULL                     -- JSON: names and types, in order
) STRICT;
