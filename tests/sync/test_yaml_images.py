"""Images in compose files and Kubernetes YAML, and files that are hostile."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.errors import WherryError
from wherry.sync.found_image import MAX_TEXT, read_text
from wherry.sync.yaml_images import find_images

FILE = Path("file.yaml")


def find(text: str) -> list[tuple[int, str, str]]:
    """Return the line, the place and the name of each image."""
    found = find_images(text, FILE, lambda place, reason: pytest.fail(f"{place}: {reason}"))
    for image in found:
        assert text[image.start :].startswith(image.text)
        assert image.is_spliceable
    return [(image.line, image.place, image.text) for image in found]


COMPOSE = """\
x-base: &base
  image: &name alpine:3   # shared
services:
  web: {<<: *base, ports: ["80:80"]}
  db:
    <<: [*base]
    image: "postgres"
  again:
    image: *name
  tool:
    image: !!str 'acme/tool@sha256:%s'
    volumes:
      - ./a:/b
      - {type: image, source: acme/data:1, target: /data}
      - {type: bind, source: ./here, target: /there}
  empty:
    image:
""" % ("0" * 64)


def test_compose_files_name_images() -> None:
    assert find(COMPOSE) == [
        (2, "services.again.image", "alpine:3"),
        (7, "services.db.image", "postgres"),
        (11, "services.tool.image", "acme/tool@sha256:" + "0" * 64),
        (14, "services.tool.volumes[1].source", "acme/data:1"),
    ]


KUBERNETES = """\
apiVersion: v1
kind: Pod
spec:
  initContainers: [{name: a, image: a:1}]
  containers:
  - {name: b, image: b:1}
  - name: without
  ephemeralContainers:
  - image: c:1
  volumes:
  - {name: v, image: {reference: d:1, pullPolicy: Always}}
  - {name: w, emptyDir: {}}
---
apiVersion: apps/v1
kind: Deployment
spec: {template: {spec: {containers: [{image: e:1}]}}}
---
apiVersion: batch/v1
kind: CronJob
spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: "f:1"}]}}}}}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, spec: {containers: [{image: g:1}]}}
---
just: values
image: no/image
---
apiVersion: v1
kind: ConfigMap
data: {image: no/image}
...
---
"""


def test_every_kind_of_pod_names_images() -> None:
    template = "template.spec.containers[0].image"
    assert find(KUBERNETES) == [
        (4, "spec.initContainers[0].image", "a:1"),
        (6, "spec.containers[0].image", "b:1"),
        (9, "spec.ephemeralContainers[0].image", "c:1"),
        (11, "spec.volumes[0].image.reference", "d:1"),
        (16, f"spec.{template}", "e:1"),
        (20, f"spec.jobTemplate.spec.{template}", "f:1"),
        (25, "items[0].spec.containers[0].image", "g:1"),
    ]


@pytest.mark.parametrize("first", ["\ufeff", "# ü\r\n", "%YAML 1.1\n---\n"])
def test_positions_are_those_of_the_file(first: str) -> None:
    found = find(first + COMPOSE.replace("\n", "\r\n"))
    assert found[0][2] == "alpine:3"


def test_names_that_mean_no_image_are_left_out_with_a_warning() -> None:
    left_out: list[tuple[str, str]] = []
    text = (
        "services:\n  a: {image: 'a:${TAG:-1}'}\n  b: {build: ., image: mine:1}\n"
        "  c: {build: .}\n  d: {image: d}\n"
    )
    found = find_images(text, FILE, lambda *each: left_out.append(each))
    assert [image.text for image in found] == ["d"]
    assert left_out == [
        ("file.yaml:3", "services.b.image is built, not pulled; left out"),
        ("file.yaml:2", "services.a.image has variables, which are not resolved; left out"),
    ]


@pytest.mark.parametrize("value", ['"a\\x3a1"', "|\n      a:1", ">-\n      a:1", '"a:\\\n      1"'])
def test_names_that_cannot_be_replaced_are_marked(value: str) -> None:
    text = f"services:\n  a:\n    image: {value}"
    (image,) = find_images(text, FILE, lambda *_: None)
    assert not image.is_spliceable


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40)
)


def test_aliases_do_not_multiply() -> None:
    assert find(f"apiVersion: v1\nkind: Pod\n{BOMB}containers: [{{image: a}}]") == [
        (43, "containers[0].image", "a")
    ]
    assert find("services: &s {a: {image: a, <<: *s}}") == [(1, "services.a.image", "a")]
    cycle = "apiVersion: v1\nkind: &k\n  containers: [*k, {image: a}]\n"
    assert find(cycle) == [(3, "kind.containers[1].image", "a")]


WRONG = [
    ("services:\n\tweb: {}", "not valid YAML (line 2: found character '\\t'"),
    ("services: {a: {image: a}", "not valid YAML (line 1: "),
    ("services: {a: *b}", "not valid YAML (line 1: found undefined alias"),
    ("services: \x00", "not valid YAML"),
    ("[" * 1000, "not valid YAML (nested too deeply)"),
    ("a: " * 5000, "not valid YAML"),
    ("services:\n  a: {image: a, image: b}", "file.yaml:2: the key 'image' appears twice"),
    ("services:\n  a: {}\n  a: {}", "file.yaml:3: the key 'a' appears twice"),
    ("services:\n  a: {image: A}", "file.yaml:2: services.a.image: invalid reference"),
    ("services:\n  a: {image: '{{ x }}'}", "file.yaml:2: services.a.image: invalid reference"),
    ("services:\n  a: {image: [a]}", "file.yaml:2: services.a.image: is not a string"),
    ("services:\n  a: {image: {a: b}}", "file.yaml:2: services.a.image: is not a string"),
    ("image: a", "file.yaml: is neither a compose file nor YAML for Kubernetes"),
    ("", "file.yaml: is neither a compose file nor YAML for Kubernetes"),
    ("- a", "file.yaml: is neither a compose file nor YAML for Kubernetes"),
    ("a", "file.yaml: is neither a compose file nor YAML for Kubernetes"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_what_is_wrong_is_one_line(text: str, words: str) -> None:
    with pytest.raises(WherryError) as caught:
        find(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("services", ["a", "[a]", "{a: b}", "{a: [b]}", "{a: {volumes: b}}", ""])
def test_other_types_have_no_images(services: str) -> None:
    assert find(f"services: {services}") == []


@pytest.mark.parametrize("seed", range(60))
def test_damaged_files_are_read_or_refused(seed: int) -> None:
    random_numbers = random.Random(seed)  # noqa: S311 - reproducible
    text = list(COMPOSE + "---\n" + KUBERNETES)
    for _ in range(random_numbers.randrange(1, 12)):
        place = random_numbers.randrange(len(text))
        text[place] = random_numbers.choice(
            [*"\t\n&*!|>%@`'\"[]{}:,?-# ", "<<: ", "\u2028", "\x85"]
        )
    try:
        find_images("".join(text), FILE, lambda *_: None)
    except WherryError as error:
        assert "\n" not in str(error)  # noqa: PT017 - it may also be read


@pytest.mark.parametrize(
    ("size", "content", "words"),
    [
        (100 * 2**20, b"", "over 2 MiB"),
        (MAX_TEXT + 1, b"", "over 2 MiB"),
        (0, b"\xff\xfea\0", "not UTF-8"),
    ],
)
def test_files_that_are_no_text_are_not_parsed(
    tmp_path: Path, size: int, content: bytes, words: str
) -> None:
    file = tmp_path / "compose.yaml"
    file.write_bytes(content)
    if size:
        with file.open("r+b") as output:
            output.truncate(size)
    with pytest.raises(WherryError, match=words):
        read_text(file)


def test_a_missing_package_is_one_line() -> None:
    program = (
        "import sys; sys.modules['ruamel.yaml'] = None\n"
        "from pathlib import Path\n"
        "from wherry import WherryError\n"
        "from wherry.sync.yaml_images import find_images\n"
        "try: find_images('services: {}', Path('a'), print)\n"
        "except WherryError as error: print(error, error.hint, sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    expected = "YAML needs the package ruamel.yaml|install it with: pip install 'wherry[sync]'\n"
    assert done.stdout.decode() == expected
