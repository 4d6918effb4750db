"""A headless Chromium that tests drive by the DevTools protocol, over two pipes.

Each message is JSON, and ends in a zero byte; Chromium reads from file descriptor 3, and writes to
4 (``--remote-debugging-pipe``). So neither a driver nor a library is needed.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    *("--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"),
    *("--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking"),
)
SECONDS = 120
"""Longest wait for anything, on a busy machine."""
FRAMES = 10

Point = tuple[float, float]
"""A place in the window, from its left and its upper edge, in pixels."""


def find() -> str | None:
    """The program, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def opened(profile: Path) -> Iterator[Tab]:
    """Start the browser, with a new profile; yield a blank tab, and end the browser."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    command = [find(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    redirected = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
    process = subprocess.Popen(
        ["bash", "-c", redirected, *command],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for descriptor in (theirs_in, theirs_out):
        os.close(descriptor)
    try:
        yield Tab(ours_in, ours_out)
    finally:
        process.kill()
        process.wait()
        for descriptor in (ours_in, ours_out):
            os.close(descriptor)


class Tab:
    """A page of a browser."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes
        self._buffer, self._count, self._session = b"", 0, ""
        self.requested: list[str] = []
        """The address of every request so far."""
        self.errors: list[str] = []
        """What went wrong in the page, as its console says."""
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(each["targetId"] for each in targets if each["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol; return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._count:
            self._note(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._reads], [], [], SECONDS)[0], "the browser does not answer"
            part = os.read(self._reads, 2**20)
            assert part, "the browser has ended"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def _note(self, event: dict[str, Any]) -> None:
        given = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requested.append(given["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(given["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.errors.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; of a promise, what it gives."""
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, address: str, width: int, height: int, *, scale: int = 1) -> None:
        """Go to an address, in a window of this size."""
        self.resize(width, height, scale=scale)
        self.call("Page.navigate", url=address)

    def resize(self, width: int, height: int, *, scale: int = 1) -> None:
        """Set the size of the window, and the pixels of the screen for each of the page's."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )

    def prefer(self, **features: str) -> None:
        """Set what a page's style sheet asks for, such as ``color_scheme="dark"``."""
        media = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in features.items()
        ]
        self.call("Emulation.setEmulatedMedia", features=media)

    def wait_until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        ended = time.monotonic() + SECONDS
        while not self.evaluate(condition):
            assert time.monotonic() < ended, f"never true: {condition}"
            time.sleep(0.05)

    def settle(self) -> None:
        """Wait for some frames, in which a page does what it has put off."""
        frame = "await new Promise(requestAnimationFrame);"
        self.evaluate(f"(async () => {{ {frame * FRAMES} }})()")

    def drag(self, points: Sequence[Point]) -> None:
        """Press the mouse at the first point, move it over the others, and release it."""
        self.press_mouse(points)
        self._mouse("mouseReleased", points[-1])

    def press_mouse(self, points: Sequence[Point]) -> None:
        """Press the mouse at the first point, move it over the others, and hold it."""
        self._mouse("mousePressed", points[0])
        for point in points[1:]:
            self._mouse("mouseMoved", point)

    def _mouse(self, kind: str, point: Point) -> None:
        x, y = point
        given = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", **given)

    def touch(self, points: Sequence[Point]) -> None:
        """Do the same with a finger."""
        for number, (x, y) in enumerate(points):
            kind = "touchMove" if number else "touchStart"
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str, code: int) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text
            )

    def picture(self, path: Path) -> Path:
        """Write the whole page as PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))
        return path
