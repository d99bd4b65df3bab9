"""The page as a browser shows it; skipped where there is no Chromium."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

from components.report_gen.render import render_report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt: chromium)"),
]
PATIENCE = 120.0


class Browser:
    """A headless Chromium, spoken to over pipes in its DevTools protocol."""

    def __init__(self, profile):
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # The protocol's pipes are file descriptors 3 and 4.
        redirected = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            [
                *("bash", "-c", redirected, "sh", CHROMIUM),
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--disable-dev-shm-usage", "--remote-debugging-pipe"),
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_browser)
        os.close(from_browser)
        # A browser that hangs is ended, and reading then comes to an end.
        self._watchdog = threading.Timer(PATIENCE, self._kill)
        self._watchdog.start()
        self._number, self._buffer, self.events = 0, b"", []

    def _kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self):
        self._watchdog.cancel()
        self._kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def _receive(self):
        while b"\0" not in self._buffer:
            read = os.read(self._in, 1 << 16)
            assert read, "Chromium ended, or did not answer in time"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def call(self, method, session=None, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def wait_for(self, method):
        deadline = time.monotonic() + PATIENCE
        while not any(event.get("method") == method for event in self.events):
            assert time.monotonic() < deadline
            self.events.append(self._receive())


class Tab:
    """One page in a browser, of a width and a colour scheme."""

    def __init__(self, browser, page, width, scheme="light", media="screen"):
        self._browser = browser
        browser.events.clear()
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", media=media, features=[feature])
        self.call("Page.navigate", url=page.as_uri())
        browser.wait_for("Page.loadEventFired")

    def call(self, method, **parameters):
        return self._browser.call(method, self._session, **parameters)

    def value_of(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"][
            "value"
        ]

    def events(self, method):
        return [one["params"] for one in self._browser.events if one.get("method") == method]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_opens_without_error_request_or_sideways_scrolling(
    browser, full_content, tmp_path, width, scheme
):
    tab = Tab(browser, render_report(full_content, tmp_path), width, scheme)
    assert tab.value_of("document.querySelector('h1').innerText") == "✗ Not pushed"
    assert tab.value_of("document.scrollingElement.scrollWidth") <= width
    pictures = "[...document.images].filter(one => one.naturalWidth > 0).length"
    assert tab.value_of(pictures) == len(full_content.pictures.by_id)
    asked = [one["request"]["url"] for one in tab.events("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [
        (tmp_path / "index.html").as_uri()
    ]
    assert not tab.events("Log.entryAdded")
    assert not tab.events("Runtime.consoleAPICalled")
    assert not tab.events("Runtime.exceptionThrown")


def test_the_verdict_is_the_first_thing_on_a_phone(browser, full_content, tmp_path):
    tab = Tab(browser, render_report(full_content, tmp_path), 400)
    box = "document.querySelector('h1').getBoundingClientRect()"
    assert 0 <= tab.value_of(f"{box}.top") < tab.value_of(f"{box}.bottom") < 200
    assert tab.value_of(f"{box}.right") <= 400


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_of_pictures_takes_the_colour_of_the_page(browser, full_content, tmp_path, scheme):
    tab = Tab(browser, render_report(full_content, tmp_path), 1400, scheme)
    muted = tab.value_of("getComputedStyle(document.querySelector('.lead.muted')).color")
    drawn = tab.value_of("getComputedStyle(document.querySelector('#picture-roc svg text')).fill")
    assert drawn == muted
    assert tab.value_of("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)"
    )
