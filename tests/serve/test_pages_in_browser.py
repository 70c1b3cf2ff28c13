"""The pages in headless Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from browser import running_browser
from wherry.testing import build_image, build_index, layout_files, tar_layer, write_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    import wherry

EVIL = "\"'><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
OVERFLOW = "return document.scrollingElement.scrollWidth - window.innerWidth"
BACKGROUND = "return getComputedStyle(document.body).backgroundColor"
LINKS = "return Array.from(document.querySelectorAll('main a'), each => each.href)"


def fill(client: wherry.Client, path: Path, host: str) -> None:
    """Push an image with hostile texts that are wider than a phone."""
    image = build_image(
        [tar_layer({"etc/motd": b"hello"})],
        labels={EVIL: EVIL, "wide": "x" * 300},
        env=["WIDE=" + "y" * 300],
        entrypoint=[EVIL],
        history=[{"created_by": EVIL + "z" * 300, "comment": EVIL}],
        manifest_extra={"annotations": {EVIL: EVIL}},
    )
    index = build_index([(image, {"os": "linux", "architecture": "amd64"})])
    write_files(path, layout_files({"1": index}))
    client.copy(f"oci:{path}:1", f"{host}/acme/app:1", all_platforms=True)


@pytest.mark.peer("chromium", "chromedriver")
def test_pages_in_a_browser(
    serve_store: Callable[..., AbstractContextManager[str]], client: wherry.Client, tmp_path: Path
) -> None:
    """They need no script, run none, and fit a phone, in light and dark."""
    with serve_store(tmp_path / "served") as url, running_browser(tmp_path / "profile") as browser:
        host = url.removeprefix("http://")
        fill(client, tmp_path / "layout", host)
        repository = f"localhost:{host.partition(':')[2]}/acme/app"
        browser.show(360)
        seen = set()
        for path, title in (
            ("/", repository.partition("/")[0]),
            (f"/repository/{repository}", repository),
            (f"/image/{repository}:1", f"{repository}:1"),
        ):
            browser.open(url + path)
            assert browser.run("return document.title") == title
            assert browser.run(OVERFLOW) <= 0
            seen.update(browser.run(LINKS))
        assert {f"{url}/repository/{repository}", f"{url}/image/{repository}:1"} <= seen
        assert EVIL in browser.run("return document.body.innerText")
        assert browser.run("return document.scripts.length") == 0
        command = "document.querySelector('.commands .copy')"
        assert browser.run(f"return {command}.innerText") == f"wherry pull {host}/acme/app:1"
        assert browser.run(f"return getComputedStyle({command}).userSelect") == "all"
        light = browser.run(BACKGROUND)
        browser.show(1200, scheme="dark")
        assert browser.run(BACKGROUND) not in {light, "rgba(0, 0, 0, 0)"}
        assert browser.run(OVERFLOW) <= 0
        assert browser.messages() == []
