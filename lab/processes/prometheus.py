"""A Prometheus on this machine's loopback, for as long as a test or a measurement lasts."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from nvscope.lab.processes.lifetime import die_with_parent

START_SECONDS = 60


@dataclass(frozen=True)
class Target:
    """What serves metrics. address: HOST:PORT; labels: those of its series."""

    address: str
    path: str = "/metrics"
    labels: Mapping[str, str] = field(default_factory=dict)


def config(targets: Iterable[Target], rules: Iterable[Path], interval: int) -> str:
    """A configuration that scrapes the targets as the job "nvscope"; JSON, which is YAML too.

    rules: files; interval: seconds, between scrapes and between evaluations.
    """
    every = f"{interval}s"
    statics = [
        {"targets": [target.address], "labels": {"__metrics_path__": target.path, **target.labels}}
        for target in targets
    ]
    return json.dumps(
        {
            "global": dict.fromkeys(
                ("scrape_interval", "scrape_timeout", "evaluation_interval"), every
            ),
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [{"job_name": "nvscope", "static_configs": statics}],
        }
    )


class Prometheus:
    """A server with its data in a temporary folder; as a context manager it leaves nothing.

    programs: the folder of nvscope.lab.setup.prometheus.unpack().
    """

    def __init__(self, programs: Path, configuration: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="nvscope-prometheus-"))
        (self._folder / "prometheus.yml").write_text(configuration)
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{address}"
        self._log = (self._folder / "log").open("w+")
        self._server = subprocess.Popen(
            [
                programs / "prometheus",
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={address}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 (only a prctl)
        )

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._server.pid

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of a PromQL expression now: {"metric": labels, "value": [t, text]}."""
        vector: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return vector

    def value(self, expression: str) -> float:
        """The value of an expression with one series; 0 where it has none."""
        vector = self.query(expression)
        assert len(vector) <= 1, vector
        return float(vector[0]["value"][1]) if vector else 0.0

    def get(self, what: str, **parameters: str) -> Any:
        """The data of /api/v1/WHAT. Raises OSError where it does not answer."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{query}", timeout=30) as response:
            return json.load(response)["data"]

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        """Wait until it is true. timeout: seconds. Raises TimeoutError, with `what`."""
        deadline = time.monotonic() + timeout
        while not condition():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"Prometheus: not {what} in {timeout:.0f} s\n{self.log()}")
            time.sleep(0.2)

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def log(self) -> str:
        """What it has said, warnings and errors."""
        return (self._folder / "log").read_text()

    def __enter__(self) -> Self:
        try:
            self.wait_for(self.ready, "ready", START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._server.kill()  # there is nothing to save
        self._server.wait()
        self._log.close()
        shutil.rmtree(self._folder)
