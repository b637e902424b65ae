"""Where a watcher tells of ends."""

from __future__ import annotations

import queue

import pytest

from nvscope.probes.vms.identity import Process


@pytest.fixture
def told() -> queue.Queue[Process]:
    return queue.Queue()
