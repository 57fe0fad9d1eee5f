-- Hardware models that operators have applied, with their history, and why an image was thought to fit.

-- Every version of every model. The newest one of a name counts, unless it was deleted; what was deleted stays, so that
-- a version always means the same document.
CREATE TABLE hardware_models (
    name       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    document   TEXT    NOT NULL,
    made_at    INTEGER NOT NULL,
    made_by    TEXT    NOT NULL,
    deleted_at INTEGER,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

-- The answer of the matching by which a deployment was admitted, as JSON; NULL: from before it was kept.
ALTER TABLE deployments ADD COLUMN fit TEXT;
CREATE INDEX deployments_by_image ON deployments (image_id, state);
