"""Version 1 metadata: ids as docker computes them, seen on the real engine.

`tests/vectors/v1_images.json` holds version 1 JSONs with the image id that docker 20.10 gave
them when it loaded them, and the version 1 ids that it wrote when it saved them;
`tests/peers/test_dockerd.py` compares the file with an engine again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import InvalidDocument, WherryError
from wherry.model import gojson, gotime, v1
from wherry.model.config import chain_ids, parse_config
from wherry.model.digest import Digest
from wherry.testing import tar_layer

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "v1_images.json").read_text()
)
DIFF_IDS = [Digest.of(tar_layer({f"f{number}": b"x%d" % number})) for number in range(2)]
CASES = list(enumerate(VECTORS["images"], 1))


def an_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def texts(number: int, entry: dict[str, Any]) -> tuple[bytes, bytes]:
    base = VECTORS["base"].replace("@ID", an_id(0))
    top = entry["v1"].replace("@ID", an_id(number)).replace("@PARENT", an_id(0))
    return base.encode(), top.encode()


def config_of(number: int, entry: dict[str, Any]) -> bytes:
    base, top = texts(number, entry)
    history = [v1.history_entry(raw, empty_layer=False) for raw in (base, top)]
    return v1.config_from_v1(top, DIFF_IDS, history)


@pytest.mark.parametrize(("number", "entry"), CASES)
def test_the_image_id_is_docker_s(number: int, entry: dict[str, Any]) -> None:
    if entry["id"] is None:
        with pytest.raises(InvalidDocument):
            config_of(number, entry)
    else:
        assert str(Digest.of(config_of(number, entry))) == entry["id"]


@pytest.mark.parametrize(("number", "entry"), [case for case in CASES if case[1]["id"]])
def test_the_version_1_ids_are_docker_s(number: int, entry: dict[str, Any]) -> None:
    config = config_of(number, entry)
    found: list[str] = []
    for place, chain_id in enumerate(chain_ids(DIFF_IDS)):
        top = place == len(DIFF_IDS) - 1
        image = v1.image(config if top else b'{"created":"1970-01-01T00:00:00Z"}')
        parent = f"sha256:{found[-1]}" if found else ""
        found.append(v1.create_id(image, chain_id, parent).hex)
    assert found == entry["v1_ids"]
    assert [v1_id for v1_id, _ in v1.saved_chain(config, DIFF_IDS)] == found


TREES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "saved_trees.json").read_text()
)["trees"]


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree["ids"][-1][:12])
def test_a_saved_tree_is_docker_s(tree: dict[str, Any]) -> None:
    """Among the configs are such that name a parent, an id and a size of their own."""
    config = tree["config"].encode()
    diff_ids = [Digest.parse(each) for each in json.loads(config)["rootfs"]["diff_ids"]]
    saved = v1.saved_chain(config, diff_ids)
    assert [v1_id for v1_id, _ in saved] == tree["ids"]
    assert [hashlib.sha256(raw).hexdigest() for _, raw in saved] == tree["sha256"]


@pytest.mark.parametrize(
    "key", ['"parent":"@"', '"Parent":"sha256:@"', '"PARENT":"junk"', '"parent":5', '"parent":null']
)
def test_the_parent_in_a_config_is_ignored_in_the_tree(key: str) -> None:
    """Go's decoder fills the outer one of two fields of a name: that of the new generation."""
    empty = (
        '{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,'
        '"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,'
        '"Cmd":null,"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,'
        '"Labels":null}'
    )
    config = f'{{{key.replace("@", an_id(5))},"os":"linux","created":"2024-01-02T03:04:05Z"}}'
    hashed = (
        f'{{"container_config":{empty},"created":"2024-01-02T03:04:05Z",'
        f'"layer_id":"{DIFF_IDS[0]}","os":"linux"}}'
    )
    v1_id = hashlib.sha256(hashed.encode()).hexdigest()
    written = (
        f'{{"id":"{v1_id}","created":"2024-01-02T03:04:05Z","container_config":{empty},'
        '"os":"linux"}'
    )
    assert v1.saved_chain(config.encode(), DIFF_IDS[:1]) == [(v1_id, written.encode())]


def test_the_parent_in_a_version_1_image_counts_without_a_layer_below() -> None:
    image = v1.image(b'{"id":"%s","parent":"p","os":"linux"}' % an_id(1).encode())
    alone, other = v1.create_id(image, DIFF_IDS[0]), v1.image(b'{"parent":"q","os":"linux"}')
    assert alone != v1.create_id(other, DIFF_IDS[0])
    below = f"sha256:{an_id(2)}"
    assert v1.create_id(image, DIFF_IDS[0], below) == v1.create_id(other, DIFF_IDS[0], below)


def test_a_config_made_from_version_1_is_a_config() -> None:
    config = parse_config(config_of(*CASES[0]))
    assert config.diff_ids == tuple(DIFF_IDS)
    assert config.history[0].created_by == "/bin/sh -c #(nop) ADD <x> & y"
    assert config.history[0].created == "2015-06-10T20:39:05.123456789Z"


@pytest.mark.parametrize(
    ("version", "older"),
    [
        ("", True),
        ("1.8.2", True),
        ("1.8.3", False),
        ("1.8.3-rc1", True),
        ("1.8", True),
        ("1.8.3.1", False),
        ("1.10", False),
        ("2", False),
        ("dev", True),
        ("1.9.dev", False),
        ("17.03.1-ce", False),
    ],
)
def test_versions_compare_part_by_part_and_words_count_as_0(version: str, older: bool) -> None:
    assert v1.is_older(version) is older


def test_version_1_json_from_a_config_and_back() -> None:
    config = b'{"os":"linux","history":[],"rootfs":{},"os.version":"1","parent":"p","z":1.50}'
    made = v1.v1_from_config(config, an_id(1), an_id(0), throwaway=True)
    assert made == (
        b'{"id":"%s","os":"linux","parent":"%s","throwaway":true,"z":1.50}'
        % (an_id(1).encode(), an_id(0).encode())
    )
    assert v1.parse_throwaway(made)
    assert not v1.parse_throwaway(b"{}")


def test_an_id_is_64_lower_case_hex_digits() -> None:
    assert v1.validate_id(an_id(1)) == an_id(1)
    for bad in ("", an_id(1)[:-1], an_id(1).upper(), an_id(1) + "\n", "g" * 64):
        with pytest.raises(InvalidDocument):
            v1.validate_id(bad)


def test_strong_id_by_the_rules() -> None:
    """The id of an engine that kept the JSON raw (moby 1.9, image/graph)."""
    blob, parent = Digest.of(b"blob"), Digest.of(b"parent")
    raw = b'{"id":"x","Size":5,"parent":"y","docker_version":"1.9.1","b":1,"throwaway":true}'
    made = (
        f'{{"b":1,"docker_version":"1.9.1","layer_id":"{blob}","parent_id":"{parent}",'
        '"throwaway":true}'
    )
    assert v1.strong_id(raw, blob, parent) == Digest.of(made.encode())
    assert v1.strong_id(raw, blob, None) != v1.strong_id(raw, blob, parent)


def test_strong_id_of_an_older_engine_goes_through_the_struct_of_1_9() -> None:
    blob = Digest.of(b"blob")
    config = (
        '{"Hostname":"h","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,'
        '"AttachStderr":false,"PublishService":"p","Tty":false,"OpenStdin":false,'
        '"StdinOnce":false,"Env":null,"Cmd":["a"],"Image":"","Volumes":null,"WorkingDir":"",'
        '"Entrypoint":null,"OnBuild":null,"Labels":null}'
    )
    made = f'{{"container_config":{config},"created":"0001-01-01T00:00:00Z","layer_id":"{blob}"}}'
    raw = (
        b'{"id":"x","container_config":{"hostname":"h","cmd":"a","publishservice":"p","Shell":[]}}'
    )
    assert v1.strong_id(raw, blob, None) == Digest.of(made.encode())


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2015-06-10T20:39:05.120Z", "2015-06-10T20:39:05.12Z"),
        ("2015-06-10T20:39:05.000Z", "2015-06-10T20:39:05Z"),
        ("2015-06-10T20:39:05+00:00", "2015-06-10T20:39:05Z"),
        ("2015-06-10T20:39:05-07:30", "2015-06-10T20:39:05-07:30"),
        ("2015-06-10T20:39:05", None),
        ("2015-06-31T20:39:05Z", None),
        ("2015-06-10", None),
    ],
)
def test_times_as_go_writes_them(text: str, written: str | None) -> None:
    assert gotime.normalized(text) == written


@given(st.text(max_size=30), st.text(max_size=30))
def test_raw_values_keep_their_meaning(key: str, value: str) -> None:
    """What is compacted is the same JSON value as before."""
    raw = json.dumps({key: [value, {key: 1.50}]}, indent=3, ensure_ascii=False).encode(
        errors="surrogatepass"
    )
    try:
        v1.load(raw)
    except WherryError:
        return  # lone surrogates
    fields = gojson.raw_fields(raw)
    assert json.loads(fields[key]) == [value, {key: 1.50}]
    assert not set(fields[key]) & set("<>&\u2028\u2029")
    assert json.loads(gojson.quote(value)) == value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["id", "config", "Cmd", "Env", "created", "container_config", "Volumes", "os"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_no_version_1_json_makes_anything_but_a_refusal(value: object) -> None:
    raw = json.dumps(value).encode()
    try:
        entry = v1.history_entry(raw, empty_layer=False)
        config = v1.config_from_v1(raw, DIFF_IDS, [entry])
    except WherryError:
        return
    json.loads(config)
