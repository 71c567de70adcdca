-- A name for the family of histories that this database and all copies of it belong to: a replica knows its primary by it. And one for
-- each epoch that begins from now on: two copies that are promoted in the place of one primary both count on from its epoch.
-- readable-by: 1
-- up
INSERT INTO deployment (name, value) VALUES ('origin', lower(hex(randomblob(16)))) ON CONFLICT DO NOTHING;

ALTER TABLE lineage ADD COLUMN branch TEXT NOT NULL DEFAULT '';
-- down
-- The origin stays: another one would make every replica take this primary for somebody else's.
ALTER TABLE lineage DROP COLUMN branch;
