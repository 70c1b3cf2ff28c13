"""The local store: blobs in files; names, documents and leases in one database."""

from wherry.store.local_store import LocalStore

__all__ = ["LocalStore"]
