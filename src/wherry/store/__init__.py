"""The local store: blobs in files, what must change together in one database."""

from wherry.store.local_store import LocalStore

__all__ = ["LocalStore"]
