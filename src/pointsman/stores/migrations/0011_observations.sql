ALTER TABLE decisions ADD COLUMN explored BIGINT NOT NULL DEFAULT 0;       -- chance picked, not utility
ALTER TABLE decisions ADD COLUMN conversation TEXT NOT NULL DEFAULT '';    -- keyed hash of how it began
ALTER TABLE decisions ADD COLUMN effort TEXT;                              -- NULL: the model's own, or as asked

-- More that a caller may report of an answer.
ALTER TABLE feedback ADD COLUMN tests_passed BIGINT;
ALTER TABLE feedback ADD COLUMN tests_failed BIGINT;
ALTER TABLE feedback ADD COLUMN edit_accepted BIGINT;
ALTER TABLE feedback ADD COLUMN edit_kept_share DOUBLE PRECISION;

-- What is known of how good answers were, one row an answer, the last word alone.
CREATE TABLE observations (
    decision_id  TEXT PRIMARY KEY REFERENCES decisions (id) ON DELETE CASCADE,
    key_id       TEXT,                          -- whose answer it was
    model        TEXT NOT NULL,                 -- that answered
    at           DOUBLE PRECISION NOT NULL,     -- of the decision, seconds since the epoch, UTC
    success      DOUBLE PRECISION NOT NULL,     -- in [0, 1]
    weight       DOUBLE PRECISION NOT NULL,     -- in [0, 1]
    source       TEXT NOT NULL,                 -- feedback, tests, edit, implicit, judge
    kind         TEXT NOT NULL,                 -- which implicit signal; '' of others
    -- The revision `observations` as it was once this row was written: readers go on from the last they have seen.
    revision     BIGINT NOT NULL
);
CREATE INDEX observations_by_revision ON observations (revision, decision_id);
CREATE INDEX observations_by_time ON observations (at, decision_id);
CREATE INDEX observations_by_kind ON observations (kind);

-- What callers did next, or a model judged, also where feedback says better: from both, how far to believe the former.
CREATE TABLE implicit_signals (
    decision_id  TEXT NOT NULL REFERENCES decisions (id) ON DELETE CASCADE,
    kind         TEXT NOT NULL,
    success      DOUBLE PRECISION NOT NULL,
    at           DOUBLE PRECISION NOT NULL,     -- when it was seen
    PRIMARY KEY (decision_id, kind)
);
CREATE INDEX implicit_signals_by_time ON implicit_signals (at);
