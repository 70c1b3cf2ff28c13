"""Container images from Python, with no daemon and no root.

>>> import dray
>>> image = dray.pull("python:3.12-slim")           # doctest: +SKIP
>>> image.id, image.config.env["PYTHON_VERSION"]    # doctest: +SKIP

`Client` keeps connections and tokens between calls, `Store` is a place for images, `Image`
and `Layer` are what is in it. All errors are `DrayError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from dray.client import Client, pull
    from dray.content.cancel import CancelToken
    from dray.content.events import Event, Status
    from dray.errors import (
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
        Unsupported,
    )
    from dray.image import Image, Layer, Store
    from dray.model.digest import Digest
    from dray.model.platform import Platform
    from dray.model.reference import Reference

# Loaded on first use: `import dray` itself costs next to nothing.
_HOMES = {
    "dray.client": ("Client", "pull"),
    "dray.content.cancel": ("CancelToken",),
    "dray.content.events": ("Event", "Status"),
    "dray.errors": (
        "Cancelled",
        "Denied",
        "DrayError",
        "IntegrityError",
        "InvalidDigest",
        "InvalidDocument",
        "InvalidReference",
        "NetworkError",
        "NotFound",
        "PlatformMismatch",
        "RateLimited",
        "RegistryError",
        "StoreError",
        "Unauthorized",
        "Unsupported",
    ),
    "dray.image": ("Image", "Layer", "Store"),
    "dray.model.digest": ("Digest",),
    "dray.model.platform": ("Platform",),
    "dray.model.reference": ("Reference",),
}
_PLACES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: PLE0604 - made from the table above
    "__version__",
    *_PLACES,
]


def __getattr__(name: str) -> Any:
    module = _PLACES.get(name)
    if module is None:
        raise AttributeError(f"module 'dray' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
