-- What models have answered.

-- Each answer once. A run that was cut short has paid for those of its own and of the runs before it that were cut short, too.
CREATE TABLE answer (
    id            INTEGER PRIMARY KEY,
    run           TEXT NOT NULL,              -- the run that asked
    stage         TEXT NOT NULL,              -- the stage that asked
    model         TEXT NOT NULL,              -- who answered: the name of `[model.NAME]`
    text          TEXT,                       -- what it says; null of a vector
    vector        BLOB,                       -- numbers of 32 bits, little-endian; null of a text
    finish        TEXT NOT NULL,              -- why it ends: stop, length, refused, or what the provider says
    input_tokens  INTEGER NOT NULL,           -- those in the provider's cache included
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    usd           INTEGER,                    -- billionths of a dollar; null without a price
    millis        INTEGER NOT NULL,           -- how long the request took
    attempts      INTEGER NOT NULL,           -- how often it was sent
    at            INTEGER NOT NULL            -- when
) STRICT;
CREATE INDEX answer_by_run ON answer (run);

-- What each row was answered: nobody asks again who goes on from there.
CREATE TABLE answered (
    stage   TEXT NOT NULL,
    row     TEXT NOT NULL,                    -- `__id__`; of rows without one the request's digest
    call    INTEGER NOT NULL,                 -- which of the stage's questions about the row, from 0
    request BLOB NOT NULL,                    -- digest of provider, model, parameters and the whole request
    answer  INTEGER NOT NULL REFERENCES answer (id),
    PRIMARY KEY (stage, row, call, request)
) STRICT, WITHOUT ROWID;

-- Answers that count for every row with the same question.
CREATE TABLE shared (
    request BLOB PRIMARY KEY,                 -- as above; elsewhere than at the provider's own endpoint a digest of that and of the endpoint
    answer  INTEGER NOT NULL REFERENCES answer (id)
) STRICT, WITHOUT ROWID;
