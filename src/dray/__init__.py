"""Container images from Python, with no daemon and no root.

>>> import dray
>>> image = dray.pull("python:3.12-slim")           # doctest: +SKIP
>>> image.id, image.config.env["PYTHON_VERSION"]    # doctest: +SKIP

`Client` keeps connections and tokens between calls, `Store` is a place for images, `Image`
and `Layer` are what is in it. All errors are `DrayError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from dray import types as types
    from dray.client import Client, pull
    from dray.content.cancel import CancelToken
    from dray.content.events import Event, Status
    from dray.errors import (
        Ambiguous,
        Cancelled,
        Denied,
        DrayError,
        IntegrityError,
        InvalidDigest,
        InvalidDocument,
        InvalidReference,
        NetworkError,
        NotFound,
        PlatformMismatch,
        RateLimited,
        RegistryError,
        StoreError,
        Unauthorized,
        UnsafeArchive,
        Unsupported,
    )
    from dray.image import Image, Layer, Store
    from dray.model.digest import Digest
    from dray.model.inspection import Inspection
    from dray.model.platform import Platform
    from dray.model.reference import Reference

__all__ = [
    "Ambiguous",
    "CancelToken",
    "Cancelled",
    "Client",
    "Denied",
    "Digest",
    "DrayError",
    "Event",
    "Image",
    "Inspection",
    "IntegrityError",
    "InvalidDigest",
    "InvalidDocument",
    "InvalidReference",
    "Layer",
    "NetworkError",
    "NotFound",
    "Platform",
    "PlatformMismatch",
    "RateLimited",
    "Reference",
    "RegistryError",
    "Status",
    "Store",
    "StoreError",
    "Unauthorized",
    "UnsafeArchive",
    "Unsupported",
    "pull",
]

# Where the names above are, the lightest modules first. They are loaded on first use, so that
# `import dray` itself costs next to nothing.
_HOMES = (
    "dray.errors",
    "dray.content.events",
    "dray.content.cancel",
    "dray.model.digest",
    "dray.model.platform",
    "dray.model.reference",
    "dray.image",
    "dray.client",
    "dray.model.inspection",
)


if not TYPE_CHECKING:  # a type checker reads the imports above, and sees misspelt names

    def __getattr__(name: str) -> object:
        import importlib

        if name == "types":
            return importlib.import_module("dray.types")
        if name in __all__:
            for home in _HOMES:
                module = importlib.import_module(home)
                if hasattr(module, name):
                    globals()[name] = getattr(module, name)
                    return globals()[name]
        raise AttributeError(f"module 'dray' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
