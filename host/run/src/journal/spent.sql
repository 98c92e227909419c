-- What each run has spent on each model, answered or not: answers may be forgotten, money may not.
CREATE TABLE spent (
    model TEXT NOT NULL,                      -- the name of `[model.NAME]`
    run   TEXT NOT NULL,
    usd   INTEGER NOT NULL,                   -- billionths of a dollar
    ends  INTEGER NOT NULL,                   -- 1: when the run comes to its end, others don't go on with this; 0 of one that only tries failed rows again
    PRIMARY KEY (model, run)
) STRICT, WITHOUT ROWID;

-- Until now it was the sum of answers, and each run that came to its end was the end of it.
INSERT INTO spent SELECT model, run, sum(usd), 1 FROM answer WHERE usd IS NOT NULL GROUP BY model, run;
INSERT OR IGNORE INTO spent
SELECT asked.model, run.id, 0, 1 FROM run CROSS JOIN (SELECT DISTINCT model FROM answer) AS asked WHERE run.exit IN (0, 4);
