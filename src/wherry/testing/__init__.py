"""Tools for tests: image builders, registries and proxies with faults, contract tests.

>>> from wherry.testing import Cut, FakeRegistry, Fault, build_image, tar_layer
>>> with FakeRegistry() as registry:
...     image = build_image([tar_layer({"etc/motd": b"hello"})])
...     digest = registry.add_image("acme/app", image, "1")
...     fault = registry.inject(Fault(Cut(after=1000), path="/blobs/", times=1))

All servers listen on 127.0.0.1 alone, on free ports, and end with their ``with`` block. A name is
loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.testing._behaviours import RegistryName
    from wherry.testing._contract_helpers import contents
    from wherry.testing._messages import RequestRecord
    from wherry.testing.archives import docker_files, flat_files, layout_files, write_files
    from wherry.testing.certs import make_certificate, make_client_certificate
    from wherry.testing.distribution import Distribution, find_binary
    from wherry.testing.fault_actions import (
        Action,
        Corrupt,
        Cut,
        CutHead,
        CutRequest,
        Delay,
        EarlyReply,
        FixedReply,
        HangUp,
        Replace,
        Stall,
        Trickle,
    )
    from wherry.testing.faults import Fault
    from wherry.testing.header_actions import (
        Chunked,
        ContentLength,
        ContentRange,
        DropHeader,
        IgnoreRange,
        SetHeader,
    )
    from wherry.testing.http_proxy import HttpProxy, Tunnel
    from wherry.testing.images import (
        BuiltImage,
        BuiltIndex,
        Piece,
        build_image,
        build_index,
        document,
        sha256,
    )
    from wherry.testing.layers import compress, pseudo_random_files, tar_layer
    from wherry.testing.ports import SilentPort, free_port, refused_port
    from wherry.testing.registry import FakeRegistry
    from wherry.testing.schema1 import (
        ALGORITHMS,
        BuiltSchema1,
        Schema1Entry,
        build_schema1,
        make_key,
        schema1_of,
        v1_id,
    )
    from wherry.testing.sink_contract import SinkContract
    from wherry.testing.socks_proxy import SocksProxy
    from wherry.testing.source_contract import SourceContract
    from wherry.testing.tcp_proxy import Link, ProxyConnection, TcpProxy, random_cuts
    from wherry.testing.tokens import TokenServer
    from wherry.testing.v1_images import BuiltV1Image, V1Layer, build_v1_image, v1_layer
    from wherry.testing.v1_registry import FakeV1Registry

__all__ = [
    "ALGORITHMS",
    "Action",
    "BuiltImage",
    "BuiltIndex",
    "BuiltSchema1",
    "BuiltV1Image",
    "Chunked",
    "ContentLength",
    "ContentRange",
    "Corrupt",
    "Cut",
    "CutHead",
    "CutRequest",
    "Delay",
    "Distribution",
    "DropHeader",
    "EarlyReply",
    "FakeRegistry",
    "FakeV1Registry",
    "Fault",
    "FixedReply",
    "HangUp",
    "HttpProxy",
    "IgnoreRange",
    "Link",
    "Piece",
    "ProxyConnection",
    "RegistryName",
    "Replace",
    "RequestRecord",
    "Schema1Entry",
    "SetHeader",
    "SilentPort",
    "SinkContract",
    "SocksProxy",
    "SourceContract",
    "Stall",
    "TcpProxy",
    "TokenServer",
    "Trickle",
    "Tunnel",
    "V1Layer",
    "build_image",
    "build_index",
    "build_schema1",
    "build_v1_image",
    "compress",
    "contents",
    "docker_files",
    "document",
    "find_binary",
    "flat_files",
    "free_port",
    "layout_files",
    "make_certificate",
    "make_client_certificate",
    "make_key",
    "pseudo_random_files",
    "random_cuts",
    "refused_port",
    "schema1_of",
    "sha256",
    "tar_layer",
    "v1_id",
    "v1_layer",
    "write_files",
]

# The names of each module. A module is imported when one of its names is used, so that the
# pytest plugin, which each run of pytest loads, costs next to nothing.
_MODULES = {
    "_behaviours": ("RegistryName",),
    "_contract_helpers": ("contents",),
    "_messages": ("RequestRecord",),
    "archives": ("docker_files", "flat_files", "layout_files", "write_files"),
    "certs": ("make_certificate", "make_client_certificate"),
    "distribution": ("Distribution", "find_binary"),
    "fault_actions": (
        "Action",
        "Corrupt",
        "Cut",
        "CutHead",
        "CutRequest",
        "Delay",
        "EarlyReply",
        "FixedReply",
        "HangUp",
        "Replace",
        "Stall",
        "Trickle",
    ),
    "faults": ("Fault",),
    "header_actions": (
        "Chunked",
        "ContentLength",
        "ContentRange",
        "DropHeader",
        "IgnoreRange",
        "SetHeader",
    ),
    "http_proxy": ("HttpProxy", "Tunnel"),
    "images": (
        "BuiltImage",
        "BuiltIndex",
        "Piece",
        "build_image",
        "build_index",
        "document",
        "sha256",
    ),
    "layers": ("compress", "pseudo_random_files", "tar_layer"),
    "ports": ("SilentPort", "free_port", "refused_port"),
    "registry": ("FakeRegistry",),
    "schema1": (
        "ALGORITHMS",
        "BuiltSchema1",
        "Schema1Entry",
        "build_schema1",
        "make_key",
        "schema1_of",
        "v1_id",
    ),
    "sink_contract": ("SinkContract",),
    "socks_proxy": ("SocksProxy",),
    "source_contract": ("SourceContract",),
    "tcp_proxy": ("Link", "ProxyConnection", "TcpProxy", "random_cuts"),
    "tokens": ("TokenServer",),
    "v1_images": ("BuiltV1Image", "V1Layer", "build_v1_image", "v1_layer"),
    "v1_registry": ("FakeV1Registry",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # a type checker reads the imports above, and sees misspelt names

    def __getattr__(name: str) -> object:
        import importlib

        if name in _HOMES:
            home = importlib.import_module(f"wherry.testing.{_HOMES[name]}")
            globals()[name] = getattr(home, name)
            return globals()[name]
        raise AttributeError(f"module 'wherry.testing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
