-- One row a call that may cost money, written before the call is made. Sums are micro-dollars, times seconds since the
-- epoch, UTC.
CREATE TABLE ledger (
    id           TEXT PRIMARY KEY,            -- the decision's
    at           DOUBLE PRECISION NOT NULL,
    month        TEXT NOT NULL,               -- 2026-11
    day          TEXT NOT NULL,               -- 2026-11-22
    key_id       TEXT,                        -- NULL: the local user of an open loopback port
    process      TEXT NOT NULL,               -- who will settle it
    lease_until  DOUBLE PRECISION NOT NULL,
    reserved     BIGINT NOT NULL,             -- the worst case
    settled      BIGINT,                      -- what it cost
    settled_at   DOUBLE PRECISION,
    late_until   DOUBLE PRECISION,            -- until then it still counts by its worst case
    state        TEXT NOT NULL                -- reserved, settled, unsettled, released
);

CREATE INDEX ledger_by_month ON ledger (month, key_id);
CREATE INDEX ledger_by_day ON ledger (day, key_id);
CREATE INDEX ledger_open ON ledger (lease_until) WHERE state IN ('reserved', 'unsettled');

-- The same for each model of the plan that costs money.
CREATE TABLE ledger_models (
    id        TEXT NOT NULL REFERENCES ledger (id) ON DELETE CASCADE,
    model     TEXT NOT NULL,
    month     TEXT NOT NULL,
    day       TEXT NOT NULL,
    reserved  BIGINT NOT NULL,
    settled   BIGINT,
    PRIMARY KEY (id, model)
);

CREATE INDEX ledger_models_by_month ON ledger_models (model, month);

-- What closed periods cost. Once final, the rows above are gone.
CREATE TABLE spend (
    scope      TEXT NOT NULL,                 -- global, key, model
    name       TEXT NOT NULL,                 -- '' for global and for the local user
    period     TEXT NOT NULL,                 -- 2026-11 or 2026-11-22
    micro_usd  BIGINT NOT NULL,
    requests   BIGINT NOT NULL,
    final      BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, name, period)
);

-- Alerts that were raised.
CREATE TABLE budget_alerts (
    total  TEXT PRIMARY KEY,
    at     DOUBLE PRECISION NOT NULL
);
