"""What tests of and with dray need: images to order, registries that fail to order."""

from __future__ import annotations

from dray.testing._messages import Recorded
from dray.testing.archives import docker_files, flat_files, layout_files, write_files
from dray.testing.certs import make_certificate, make_client_certificate
from dray.testing.contract import BlobSinkContract, BlobSourceContract, contents
from dray.testing.distribution import Distribution, find_binary
from dray.testing.faults import (
    Action,
    Answer,
    Chunked,
    ContentLength,
    ContentRange,
    Corrupt,
    Cut,
    CutHead,
    Delay,
    DropHeader,
    Fault,
    HangUp,
    IgnoreRange,
    Replace,
    SetHeader,
    Stall,
    Trickle,
)
from dray.testing.http_proxy import HttpProxy, Tunnel
from dray.testing.images import (
    BuiltImage,
    BuiltIndex,
    Piece,
    build_image,
    build_index,
    compress,
    document,
    pseudo_random_files,
    sha256,
    tar_layer,
)
from dray.testing.ports import SilentPort, refused_port
from dray.testing.proxy import Link, Proxied, Proxy, random_cuts
from dray.testing.registry import FakeRegistry
from dray.testing.schema1 import (
    ALGORITHMS,
    BuiltSchema1,
    Step,
    build_schema1,
    make_key,
    schema1_of,
    v1_id,
)
from dray.testing.socks_proxy import SocksProxy
from dray.testing.tokens import TokenServer

__all__ = [
    "ALGORITHMS",
    "Action",
    "Answer",
    "BlobSinkContract",
    "BlobSourceContract",
    "BuiltImage",
    "BuiltIndex",
    "BuiltSchema1",
    "Chunked",
    "ContentLength",
    "ContentRange",
    "Corrupt",
    "Cut",
    "CutHead",
    "Delay",
    "Distribution",
    "DropHeader",
    "FakeRegistry",
    "Fault",
    "HangUp",
    "HttpProxy",
    "IgnoreRange",
    "Link",
    "Piece",
    "Proxied",
    "Proxy",
    "Recorded",
    "Replace",
    "SetHeader",
    "SilentPort",
    "SocksProxy",
    "Stall",
    "Step",
    "TokenServer",
    "Trickle",
    "Tunnel",
    "build_image",
    "build_index",
    "build_schema1",
    "compress",
    "contents",
    "docker_files",
    "document",
    "find_binary",
    "flat_files",
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
    "write_files",
]
