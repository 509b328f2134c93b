"""A headless Chromium that tests drive over the DevTools protocol, with real pointer and key events."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_chromium = pytest.mark.skipif(
    PROGRAM is None or sys.platform == "win32", reason="needs Chromium or Chrome on the PATH, and pipes as on Linux"
)

_OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-pipe",
    # Its sandbox does not start as root, as in a container.
    "--no-sandbox",
)
_KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
_SECONDS = 60.0


class Chromium:
    """The browser's end of the protocol: JSON messages, each ended by a zero byte."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """Sends a command and waits for its result; events that come before it are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        os.write(self._writes, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._rest:
            assert select.select([self._reads], [], [], end - time.monotonic())[0], "Chromium does not answer"
            part = os.read(self._reads, 1 << 20)
            assert part, "Chromium has ended"
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, path: Path, width: int = 1400, height: int = 900) -> Tab:
        """Opens a page in a new tab of this size, in CSS pixels, and waits until it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        tab = Tab(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Runtime", "Log", "Network", "Page"):
            tab.call(f"{domain}.enable")
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        tab.call("Page.navigate", url=path.as_uri())
        tab.evaluate(
            "new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', done))"
        )
        tab.settle()
        return tab


class Tab:
    """A page in the browser."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise; NaN is None."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def settle(self) -> None:
        """Waits until what events have asked for is drawn."""
        frame = "await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));"
        self.evaluate(f"(async () => {{ {frame} {frame} }})()")

    def pointer(self, *path: tuple[float, float], press: bool = False) -> None:
        """Moves the mouse along points (x, y) of the page, in CSS pixels; with ``press``, as a drag."""
        steps = [("mouseMoved", point) for point in path]
        if press:
            steps = [steps[0], ("mousePressed", path[0]), *steps[1:], ("mouseReleased", path[-1])]
        for kind, (x, y) in steps:
            held = press and kind != "mousePressed"
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left" if press else "none",
                buttons=int(held or kind == "mousePressed"),
                clickCount=int(kind != "mouseMoved"),
            )
        self.settle()

    def key(self, name: str, *, shift: bool = False) -> None:
        """Presses a key on what has the focus."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=name,
                code=name,
                windowsVirtualKeyCode=_KEYS[name],
                modifiers=8 * shift,
            )
        self.settle()

    def choose(self, name: str, value: str) -> None:
        """Sets a control of the page's form, as a user would."""
        self.evaluate(
            f"(() => {{ const one = document.querySelector('[name={name}]'); one.value = {json.dumps(value)};"
            "one.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )
        self.settle()

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def events(self, *methods: str) -> list[dict[str, Any]]:
        """The parameters of events of these kinds, so far."""
        mine = [event for event in self._browser.events if event.get("sessionId") == self._session]
        return [event["params"] for event in mine if event["method"] in methods]


@contextmanager
def started(folder: Path) -> Iterator[Chromium]:
    """A browser with a fresh profile in a folder; ended on exit."""
    its_in, our_out = os.pipe()
    our_in, its_out = os.pipe()
    # The browser reads commands from file 3 and answers on file 4.
    command = ["bash", "-c", f'exec "$@" 3<&{its_in} 4>&{its_out}', "bash", str(PROGRAM), *_OPTIONS]
    process = subprocess.Popen(
        [*command, f"--user-data-dir={folder}"],
        pass_fds=(its_in, its_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(its_in)
    os.close(its_out)
    browser = Chromium(our_in, our_out)
    try:
        yield browser
        browser.call("Browser.close")
        process.wait(_SECONDS)
    finally:
        process.kill()
        process.wait()
        os.close(our_in)
        os.close(our_out)
