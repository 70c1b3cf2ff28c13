"""The tables of a store's database, and the steps that migrate older versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

# One script for each version, beginning with an empty database. A script that was released never
# changes: later versions add their own.
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
    # ``kept`` is 0 for a name by digest that was added together with a tag: it is removed with
    # the tag. A digest that the user asked for has 1.
    """
ALTER TABLE refs ADD COLUMN kept INTEGER NOT NULL DEFAULT 1;
CREATE INDEX refs_by_manifest ON refs (manifest);
""",
    # What a blob becomes if it is decompressed and packed with ``compression``, such as
    # ``gzip:6``.
    """
CREATE TABLE packed (
    source TEXT NOT NULL,
    compression TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (source, compression)
) WITHOUT ROWID;
""",
    # What registries of version 1 have by an id. ``chain_id`` and ``image`` are empty if they are
    # not known; ``image`` is the digest of the config of the image that the id stands for.
    """
CREATE TABLE v1_ids (
    registry TEXT NOT NULL,
    id TEXT NOT NULL,
    parent TEXT NOT NULL,
    layer TEXT NOT NULL,
    chain_id TEXT NOT NULL,
    image TEXT NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (registry, id)
) WITHOUT ROWID;
CREATE INDEX v1_ids_by_layer ON v1_ids (layer);
CREATE INDEX v1_ids_by_chain ON v1_ids (chain_id);
""",
    # What the server of this store was sent. `present` is 0 for a blob that was deleted from a
    # repository although a manifest there lists it. `cached` has the tags and manifests of other
    # registries that the server answers for: `checked` is when the registry last confirmed one,
    # `used` when a client last asked for it (Unix times).
    """
CREATE TABLE repository_blobs (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    present INTEGER NOT NULL,
    added INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX repository_blobs_by_digest ON repository_blobs (digest);
CREATE TABLE subjects (
    subject TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (subject, document)
) WITHOUT ROWID;
CREATE INDEX subjects_by_document ON subjects (document);
CREATE TABLE cached (
    name TEXT PRIMARY KEY,
    root TEXT NOT NULL,
    checked INTEGER NOT NULL,
    used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX cached_by_root ON cached (root);
CREATE INDEX edges_by_child ON edges (child);
""",
)
VERSION = len(STEPS)  # the file has it as user_version


def too_new_error(path: Path, found: int) -> StoreError:
    """Return the error for a database of a version that this wherry does not know."""
    message = f"the store has version {found}, this wherry knows up to {VERSION}"
    return StoreError(message, hint="use a newer wherry, or another --store").within(path)
