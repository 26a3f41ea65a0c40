-- Counters that move whenever what they are named after has changed; every process watches them.
CREATE TABLE revisions (
    name   TEXT PRIMARY KEY,
    value  BIGINT NOT NULL
);
