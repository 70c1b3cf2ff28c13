"""Headless Chromium, driven by the WebDriver protocol."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHROMIUM = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",
)
_SECONDS = 30


class Browser:
    """One window of a browser."""

    def __init__(self, driver: str, directory: Path) -> None:
        options = {"args": [*_CHROMIUM, f"--user-data-dir={directory}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        found = _call(f"{driver}/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"{driver}/session/{found['sessionId']}"

    def open(self, url: str) -> None:
        """Load a page."""
        _call(f"{self._session}/url", {"url": url})

    def run(self, script: str) -> Any:
        """Run the body of a function in the page, and return its result."""
        return _call(f"{self._session}/execute/sync", {"script": script, "args": []})

    def show(self, width: int, height: int = 800, scheme: str = "light") -> None:
        """Set the size of the screen and the colours that the person prefers."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        self._command("Emulation.setDeviceMetricsOverride", screen)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._command("Emulation.setEmulatedMedia", {"features": features})

    def messages(self) -> list[str]:
        """Return what the console has shown, such as violations of the content policy."""
        return [each["message"] for each in _call(f"{self._session}/se/log", {"type": "browser"})]

    def quit(self) -> None:
        """End the browser."""
        _call(self._session, None, "DELETE")

    def _command(self, name: str, parameters: dict[str, Any]) -> None:
        _call(f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters})


@contextlib.contextmanager
def running_browser(directory: Path) -> Iterator[Browser]:
    """Start Chromium with an empty profile in `directory`."""
    with subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as driver:
        try:
            assert driver.stdout is not None
            port = next(
                filter(None, (re.search(r"on port (\d+)\.$", line) for line in driver.stdout))
            )
            browser = Browser(f"http://127.0.0.1:{port[1]}", directory)
            try:
                yield browser
            finally:
                browser.quit()
        finally:
            driver.terminate()


def _call(url: str, body: dict[str, Any] | None, method: str = "POST") -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - http
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_SECONDS) as response:
        return json.loads(response.read())["value"]
