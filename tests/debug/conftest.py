"""A host with the debug kernel, booted once with its reverse map and once without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nvscope.lab import assets
from nvscope.lab.host.vm import Lab

BOOT_SECONDS = 300


@pytest.fixture(scope="session", params=[True, False], ids=["revmap", "no-revmap"])
def debug_host(request: pytest.FixtureRequest) -> Iterator[Lab]:
    ready = assets.prepare("debug", with_selftests=True)
    with ready.boot(revmap=request.param) as host:
        host.wait_ready(BOOT_SECONDS)
        yield host
        assert host.last_warnings() == [], "the kernel complained on its console"


@pytest.fixture
def quiet(debug_host: Lab) -> Iterator[Lab]:
    """The host, for one test during which its kernel must not complain."""
    before = len(debug_host.warnings())
    yield debug_host
    assert debug_host.last_warnings()[before:] == [], "the kernel complained on its console"
