-- How a trained policy was made and what was estimated of it: JSON, or ''.
ALTER TABLE policies ADD COLUMN report TEXT NOT NULL DEFAULT '';

-- Versions on trial beside the one that serves: 'staged' gets a share of the decisions, 'shadow' only says what it would
-- have chosen.
CREATE TABLE policy_trials (
    role        TEXT NOT NULL,
    version     TEXT NOT NULL REFERENCES policies (version),
    share       DOUBLE PRECISION NOT NULL,    -- of the decisions; 0 for a shadow
    started_at  DOUBLE PRECISION NOT NULL,    -- seconds since the epoch, UTC
    PRIMARY KEY (role, version)
);

-- What was done with policies, by whom and why. '' as version is the built-in rules.
CREATE TABLE policy_events (
    number  BIGINT PRIMARY KEY,
    at      DOUBLE PRECISION NOT NULL,
    action  TEXT NOT NULL,                    -- promoted, staged, shadowed, withdrawn, rolled_back
    version TEXT NOT NULL,
    share   DOUBLE PRECISION,
    by_whom TEXT NOT NULL,
    reason  TEXT NOT NULL,
    detail  TEXT NOT NULL                     -- JSON: the numbers that it was judged by
);

-- What a shadow would have chosen.
CREATE TABLE shadow_choices (
    decision_id  TEXT NOT NULL REFERENCES decisions (id) ON DELETE CASCADE,
    version      TEXT NOT NULL,
    model        TEXT NOT NULL,
    propensity   DOUBLE PRECISION NOT NULL,   -- of this model, under the shadow
    cost_micro_usd  BIGINT,                   -- that was expected of it; NULL at an unknown price
    agreement    DOUBLE PRECISION NOT NULL,   -- the shadow's propensity of the model that was chosen
    PRIMARY KEY (decision_id, version)
);
CREATE INDEX shadow_choices_by_version ON shadow_choices (version, decision_id);
