"""Lab hosts for the live tests: one boot per kernel, shared by all that can share it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from nvscope.lab import assets
from nvscope.lab.host.services import Exporter
from nvscope.lab.host.vm import Lab


class Observed(NamedTuple):
    """A host, its exporter, and how that has attached its probes."""

    host: Lab
    exporter: Exporter
    mechanism: str


KINDS = ("lab", "off", "stock", "tracking")


def _group(item: pytest.Item) -> str:
    """Say what a test shares with others: an exporter, else a host, else what its file sets up."""
    names = getattr(item, "fixturenames", ())
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    hosts = [kind for kind in KINDS if f"{kind}_host" in names]
    shared = [
        str(parameters[name]) for name in ("observed", "kind", "kernel") if name in parameters
    ]
    return (shared or hosts or [item.path.name])[0]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Several processes share the tests (`pytest -n 2 --dist loadgroup`) without a second boot.

    As early as that: xdist looks at the marks in pytest_collection_modifyitems.
    """
    item.add_marker(pytest.mark.xdist_group(_group(item)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with an exporter of their own go first: the shared ones keep their ports to the end.

    Of the others those of the probes go first, and the Linux guest last: it leaves a page cache,
    which kswapd would take before the memory of VMs.
    """
    order = {"test_probe.py": 1, "test_linux_guest.py": 3}

    def turn(item: pytest.Item) -> int:
        shared = "observed" in getattr(item, "fixturenames", ())
        return order.get(item.path.name, 2) if shared else 0

    items.sort(key=turn)


def boot(kernel: str, **changes: object) -> Iterator[Lab]:
    """A lab host, for a fixture to yield; changes: of the machine. No complaint of its kernel."""
    with assets.prepare(kernel).boot(**changes) as host:
        host.wait_ready()
        yield host
        assert host.warnings() == [], "the kernel complained on its console"


@pytest.fixture(scope="session")
def lab_host() -> Iterator[Lab]:
    """A host with the lab kernel, which has a nested reverse map."""
    yield from boot("lab")


@pytest.fixture(scope="session")
def off_host() -> Iterator[Lab]:
    """The same kernel with its reverse map off: it then does as mainline does."""
    yield from boot("lab", revmap=False)


@pytest.fixture(scope="session")
def tracking_host() -> Iterator[Lab]:
    """A host with the lab's other kind of reverse map, which tracks each mapping."""
    yield from boot("tracking")


@pytest.fixture(scope="session")
def stock_host() -> Iterator[Lab]:
    """A host with Debian's kernel; one CPU, for there a full unmap costs a third of the time."""
    yield from boot("stock", cpus=1)


@pytest.fixture(scope="session")
def observed(request: pytest.FixtureRequest) -> Iterator[Observed]:
    """A host and its exporter, which all tests share that can: compiling it takes the time.

    The parameter says which, as "lab-fentry": the kind of host and the mechanism.
    """
    kind, mechanism = request.param.split("-")
    host: Lab = request.getfixturevalue(f"{kind}_host")
    with Exporter(host, "--strict", "--mechanism", mechanism) as exporter:
        yield Observed(host, exporter, mechanism)
        assert exporter.errors() == ""
        exporter.signal()
        assert exporter.wait() == 0


@pytest.fixture(scope="module")
def host_without_nv() -> Iterator[Lab]:
    """A host that runs no nested guests."""
    yield from boot("lab", kernel_mode="vhe", cpus=1)
