"""Parts judged on a Dask cluster: one task each, which shares nothing with the others.

The protocol is Dask's: both sides unpickle what the other sends, which can run anything. So the
scheduler's address, and the network on the way, have to be trusted; Dask's own configuration has
TLS for that (distributed.comm.tls).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import nvscope
from nvscope.analysis.interop.files.layout import trace_folders
from nvscope.probes.errors import LackError
from nvscope.probes.traces.tracefile import TraceError

if TYPE_CHECKING:
    import distributed

T = TypeVar("T")

CONNECT_SECONDS = 5
WORKERS_SECONDS = 10  # for the first of them to be there
POLL_SECONDS = 2  # how often it is looked whether there still is a worker
# A worker that is restarted by its nanny is back by then.
LONELY_POLLS = 15


class Cluster:
    """The workers of a scheduler. Raises LackError where they cannot do it."""

    is_here = False

    def __init__(self, client: distributed.Client, address: str) -> None:
        self._client = client
        self._address = address

    def run(
        self, function: Callable[..., T], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, T]]:
        """As they are done."""
        submit = self._client.submit
        # Not pure: a file may have changed since the last time.
        numbers = {submit(function, *task, pure=False): n for n, task in enumerate(tasks)}
        left, lonely = set(numbers), 0
        while left:
            done = self._some(left)
            lonely = 0 if done or self._workers() else lonely + 1
            if lonely == LONELY_POLLS:
                raise LackError(f"the scheduler {self._address} has lost all its workers")
            for future in done:
                yield numbers[future], self._result(future)
            left -= done

    def require(self, path: Path, tell: Callable[[str], None]) -> None:
        """All workers have to be able to read a data set. tell: of those that may do it otherwise.

        Raises LackError.
        """
        with _lost(self._address):
            self._await_workers()
            said = self._client.run(_look, str(path), on_error="return")
        for worker, seen in sorted(said.items()):
            if isinstance(seen, ModuleNotFoundError):
                missing = (seen.name or "").partition(".")[0]
                raise LackError(f"worker {worker} has no {missing}: install nvscope[dask] there")
            if isinstance(seen, BaseException):
                raise LackError(f"worker {worker} does not work: {_one_line(seen)}")
            version, error = seen
            if error:
                raise LackError(
                    f"worker {worker} cannot read the data set: {error}; it has to be where all"
                    " workers can"
                )
            if version != nvscope.__version__:
                tell(f"worker {worker} has nvscope {version:.40}, this is {nvscope.__version__}")

    def _await_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except TimeoutError:
            raise LackError(
                f"the scheduler {self._address} has no workers: start some with"
                f" `dask worker {self._address}`"
            ) from None

    def _some(self, left: set[distributed.Future]) -> set[distributed.Future]:
        """Those that are done, after a while."""
        from distributed import wait

        try:
            with _lost(self._address):
                return set(wait(left, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            return set()

    def _workers(self) -> Mapping[str, Any]:
        with _lost(self._address):
            return self._client.nthreads() or {}

    def _result(self, future: distributed.Future) -> Any:
        from distributed import KilledWorker

        try:
            with _lost(self._address):
                return future.result()
        except KilledWorker as error:
            raise LackError(
                "workers were killed while they judged: is there not enough memory?"
                f" ({_one_line(error)})"
            ) from None
        except ImportError as error:
            raise LackError(f"a worker lacks something: {_one_line(error)}") from None


@contextlib.contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """The cluster of the scheduler at an address. Raises LackError, click.UsageError."""
    try:
        import dask
        from distributed import Client
        from distributed.comm.addressing import parse_address, parse_host_port
        from distributed.comm.registry import get_backend
    except ModuleNotFoundError as error:
        raise LackError(f"{error.name} is not installed: install nvscope[dask]") from None

    # What it logs of connections that fail is said in a line here.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with dask.config.set({"distributed.comm.timeouts.connect": CONNECT_SECONDS}):
        try:
            scheme, place = parse_address(address)
            get_backend(scheme)
            parse_host_port(place)
        except (ValueError, TypeError) as error:
            raise click.UsageError(f"{address!r} is no scheduler's address: {error}") from None
        try:
            asyncio.run(_greet(address))
            client = Client(address, timeout=CONNECT_SECONDS)
        # What another kind of server answers is decoded, too: that can fail in every way.
        except Exception as error:  # noqa: BLE001
            raise LackError(
                f"no scheduler answers at {address} ({_one_line(error)}): start one with"
                " `dask scheduler`"
            ) from None
        with client:
            yield Cluster(client, address)


@contextlib.contextmanager
def _lost(address: str) -> Iterator[None]:
    # Comms that close are OSErrors.
    try:
        yield
    except TimeoutError:
        raise
    except (CancelledError, OSError) as error:
        raise LackError(f"the scheduler {address} is gone ({_one_line(error)})") from None


async def _greet(address: str) -> None:
    """Ask whether it is a scheduler: Client would wait for an answer without end."""
    from distributed.comm import connect
    from distributed.security import Security

    how = Security().get_connection_args("client")
    comm = await asyncio.wait_for(connect(address, timeout=CONNECT_SECONDS, **how), CONNECT_SECONDS)
    comm.abort()


def _look(path: str) -> tuple[str, str]:
    """Of a worker: its version, and why it cannot read there, if it cannot."""
    try:
        trace_folders(Path(path))
    except TraceError as error:
        return nvscope.__version__, str(error)
    return nvscope.__version__, ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
