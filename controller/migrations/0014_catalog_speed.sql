-- What keeps questions to a catalogue of many images short.

-- Whom a name belongs to and who sees it, without a look at the image itself.
DROP INDEX images_named;
CREATE INDEX images_named ON images (name, project_id, visibility, state, id) WHERE state <> 'deleted';

-- Families in the order in which they are listed, with all that their list needs.
CREATE INDEX images_in_families ON images (family, project_id, state, visibility, exclude_from_latest, id)
WHERE family IS NOT NULL AND state <> 'deleted';

-- Images in the order in which they are listed, with what they are seen and filtered by: a narrow row for each, so that
-- only those that are answered are read.
CREATE INDEX images_listed ON images (id, project_id, visibility, state, kind, region, family, os_distribution, os_version,
                                      architecture, name)
WHERE state <> 'deleted';

-- The words that a search goes through, in small letters. Kept by the triggers below and by nobody else.
CREATE TABLE image_texts (
    image_id TEXT PRIMARY KEY REFERENCES images (id) ON DELETE CASCADE,
    words    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE VIEW image_words AS
SELECT id AS image_id,
       lower(name || char(10) || coalesce(family, '') || char(10) || description || char(10) || os_distribution || char(10)
             || coalesce((SELECT group_concat(tag, char(10)) FROM image_tags AS t WHERE t.image_id = images.id), '')) AS words
FROM images;

INSERT INTO image_texts SELECT w.image_id, w.words FROM image_words AS w JOIN images AS i ON i.id = w.image_id
WHERE i.state <> 'deleted';

CREATE TRIGGER image_texts_of_new AFTER INSERT ON images WHEN new.state <> 'deleted' BEGIN
    INSERT INTO image_texts SELECT image_id, words FROM image_words WHERE image_id = new.id;
END;

CREATE TRIGGER image_texts_of_changed AFTER UPDATE OF name, family, description, os_distribution ON images BEGIN
    UPDATE image_texts SET words = (SELECT words FROM image_words WHERE image_id = new.id) WHERE image_id = new.id;
END;

CREATE TRIGGER image_texts_of_deleted AFTER UPDATE OF state ON images WHEN new.state = 'deleted' BEGIN
    DELETE FROM image_texts WHERE image_id = new.id;
END;

CREATE TRIGGER image_texts_of_tagged AFTER INSERT ON image_tags BEGIN
    UPDATE image_texts SET words = (SELECT words FROM image_words WHERE image_id = new.image_id)
    WHERE image_id = new.image_id;
END;

-- The tags of an image go with it; then there is nothing to be written any more.
CREATE TRIGGER image_texts_of_untagged AFTER DELETE ON image_tags
WHEN EXISTS (SELECT 1 FROM images WHERE id = old.image_id) BEGIN
    UPDATE image_texts SET words = (SELECT words FROM image_words WHERE image_id = old.image_id)
    WHERE image_id = old.image_id;
END;
