"""Container images from Python, without a daemon or root.

>>> import wherry
>>> image = wherry.pull("python:3.12-slim")           # doctest: +SKIP
>>> image.id, image.config.env["PYTHON_VERSION"]    # doctest: +SKIP

`Client` talks to registries and keeps connections and tokens between calls. `Store` is a local
store of `Image` objects with their `Layer` objects. All errors are `WherryError`. `wherry.types`
has the other types that calls take and return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from wherry import types as types
    from wherry.client import Client, pull
    from wherry.content.cancel import CancelToken
    from wherry.content.events import Event, Status
    from wherry.errors import (
        Ambiguous,
        Cancelled,
        Denied,
        IntegrityError,
        InvalidDigest,
        InvalidDocument,
        InvalidReference,
        NetworkError,
        NotFound,
        PlatformMismatch,
        RateLimited,
        RegistryError,
        StillTagged,
        StoreError,
        StoreFull,
        Unauthorized,
        UnsafeArchive,
        Unsupported,
        WherryError,
    )
    from wherry.image import Image, Layer
    from wherry.image_store import Store
    from wherry.model.address import Address
    from wherry.model.digest import Digest
    from wherry.model.inspection import Inspection
    from wherry.model.platform import Platform
    from wherry.model.reference import Reference
    from wherry.plan import Plan

__all__ = [
    "Address",
    "Ambiguous",
    "CancelToken",
    "Cancelled",
    "Client",
    "Denied",
    "Digest",
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
    "Plan",
    "Platform",
    "PlatformMismatch",
    "RateLimited",
    "Reference",
    "RegistryError",
    "Status",
    "StillTagged",
    "Store",
    "StoreError",
    "StoreFull",
    "Unauthorized",
    "UnsafeArchive",
    "Unsupported",
    "WherryError",
    "pull",
]

# The modules of the names above that are not errors. A module is imported when one of its names
# is used, so that `import wherry` costs next to nothing.
_HOMES = {
    "Address": "wherry.model.address",
    "CancelToken": "wherry.content.cancel",
    "Client": "wherry.client",
    "Digest": "wherry.model.digest",
    "Event": "wherry.content.events",
    "Image": "wherry.image",
    "Inspection": "wherry.model.inspection",
    "Layer": "wherry.image",
    "Plan": "wherry.plan",
    "Platform": "wherry.model.platform",
    "Reference": "wherry.model.reference",
    "Status": "wherry.content.events",
    "Store": "wherry.image_store",
    "pull": "wherry.client",
}


if not TYPE_CHECKING:  # a type checker reads the imports above, and sees misspelt names

    def __getattr__(name: str) -> object:
        import importlib

        if name == "types":
            return importlib.import_module("wherry.types")
        if name in __all__:
            home = importlib.import_module(_HOMES.get(name, "wherry.errors"))
            globals()[name] = getattr(home, name)
            return globals()[name]
        raise AttributeError(f"module 'wherry' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
