-- One row a request. What is filtered or aggregated is a column; what is only shown or replayed is JSON.
CREATE TABLE decisions (
    id                        TEXT PRIMARY KEY,
    created_at                DOUBLE PRECISION NOT NULL,     -- seconds since the epoch, UTC
    key_id                    TEXT,              -- NULL: the local user of an open loopback port
    -- what was asked and chosen
    requested_model           TEXT NOT NULL,
    model                     TEXT NOT NULL,     -- '' when the request was refused before a choice
    mode                      TEXT NOT NULL,
    policy                    TEXT NOT NULL,     -- name@version
    propensity                DOUBLE PRECISION NOT NULL,
    estimated_cost_micro_usd  BIGINT,
    stream                    BIGINT NOT NULL,
    -- features
    intent                    TEXT NOT NULL,
    intent_confidence         DOUBLE PRECISION NOT NULL,
    complexity                DOUBLE PRECISION NOT NULL,
    priority                  TEXT NOT NULL,
    privacy_level             TEXT NOT NULL,
    privacy_classes           TEXT NOT NULL,     -- JSON array
    local_only                BIGINT NOT NULL,
    needs_tools               BIGINT NOT NULL,
    needs_vision              BIGINT NOT NULL,
    estimated_prompt_tokens   BIGINT NOT NULL,
    turn                      BIGINT NOT NULL,
    prompt_hash               TEXT NOT NULL,
    plan                      TEXT NOT NULL,     -- JSON from here on
    candidates                TEXT NOT NULL,
    dropped                   TEXT NOT NULL,
    reasons                   TEXT NOT NULL,
    signals                   TEXT NOT NULL,
    -- how it ended; all NULL until it has
    status                    TEXT,
    answered_by               TEXT,
    error                     TEXT,
    http_status               BIGINT,
    prompt_tokens             BIGINT,
    completion_tokens         BIGINT,
    cached_tokens             BIGINT,
    cost_micro_usd            BIGINT,
    first_byte_seconds        DOUBLE PRECISION,
    seconds                   DOUBLE PRECISION,
    finish_reason             TEXT,
    answer_id                 TEXT,
    attempts                  TEXT               -- JSON
);

CREATE INDEX decisions_by_time ON decisions (created_at);
CREATE INDEX decisions_by_key ON decisions (key_id, created_at) WHERE key_id IS NOT NULL;
CREATE INDEX decisions_by_answer ON decisions (answer_id, created_at) WHERE answer_id IS NOT NULL;

CREATE TABLE feedback (
    decision_id  TEXT PRIMARY KEY REFERENCES decisions (id) ON DELETE CASCADE,
    score        DOUBLE PRECISION,
    thumb        TEXT,
    outcome      TEXT,
    comment      TEXT,
    created_at   DOUBLE PRECISION NOT NULL
);

-- Only where the privacy setting allows keeping them.
CREATE TABLE prompts (
    decision_id  TEXT PRIMARY KEY REFERENCES decisions (id) ON DELETE CASCADE,
    messages     BYTEA NOT NULL                   -- the request's messages as JSON
);
