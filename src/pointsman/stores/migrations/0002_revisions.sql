-- Counters that move whenever what they are named after has changed; every process watches them.
CREATE TABLE revisions (
    name   TEXT PRIMARY KEY,
    value  BIGINT NOT NULL
);

-- One row: which secret everything that is derived or encrypted in this database hangs on.
CREATE TABLE installation (
    id                  TEXT PRIMARY KEY,    -- 'this'
    secret_fingerprint  TEXT NOT NULL
);
