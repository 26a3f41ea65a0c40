-- Items of kept answers whose ids are an upstream's and so do not tell the answer that they stand in.
CREATE TABLE response_items (
    item_id      TEXT NOT NULL,
    response_id  TEXT NOT NULL REFERENCES responses (id) ON DELETE CASCADE,
    PRIMARY KEY (item_id, response_id)
);
CREATE INDEX response_items_by_response ON response_items (response_id);
