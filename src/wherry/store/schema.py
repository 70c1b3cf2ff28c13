"""The tables of a store's database, and how each version becomes the next one."""

from __future__ import annotations

# What takes a database from each version to the next, beginning with an empty one. What has been
# released is not changed any more, it is added to.
STEPS = (
    """
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    diff_id TEXT,
    raw_size INTEGER
) WITHOUT ROWID;
CREATE TABLE documents (
    digest TEXT PRIMARY KEY,
    known_as TEXT NOT NULL,
    media_type TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX documents_by_name ON documents (known_as);
CREATE TABLE edges (
    parent TEXT NOT NULL,
    child TEXT NOT NULL,
    wanted INTEGER NOT NULL,
    PRIMARY KEY (parent, child)
) WITHOUT ROWID;
CREATE TABLE images (
    manifest TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    platform TEXT NOT NULL,
    created TEXT NOT NULL,
    size INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX images_by_id ON images (id);
CREATE TABLE refs (
    name TEXT PRIMARY KEY,
    root TEXT NOT NULL,
    manifest TEXT NOT NULL,
    updated INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX refs_by_root ON refs (root);
CREATE TABLE provenance (
    digest TEXT NOT NULL,
    repository TEXT NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (digest, repository)
) WITHOUT ROWID;
CREATE TABLE leases (
    lease TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (lease, digest)
) WITHOUT ROWID;
""",
    # A name by digest that came along with a tag goes with it; one that was asked for is kept.
    """
ALTER TABLE refs ADD COLUMN kept INTEGER NOT NULL DEFAULT 1;
CREATE INDEX refs_by_manifest ON refs (manifest);
""",
)
VERSION = len(STEPS)  # kept in the file as user_version
