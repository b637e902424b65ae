"""Reading the configuration again: what can be changed is, and all else is said."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from nvscope.exporter.web.access.authentication import Authentication
from nvscope.probes.config.options import values
from nvscope.probes.errors import InputError, LackError

log = logging.getLogger(__name__)

# Parameter -> what takes its new value.
Changes = Mapping[str, Callable[[Any], None]]


class Reloads(Collector):
    """The configuration as it is in force, and how reading it anew went last; a metric of that."""

    def __init__(
        self, context: click.Context, path: Path | None, authentication: Authentication
    ) -> None:
        """context: of the command, whose options the file at path has given so far."""
        self._context = context
        self._path = path
        self._authentication = authentication
        self._there = [each for each in (path, authentication.path) if each]
        self._in_force = dict(context.default_map or {})
        self._good = True
        self._when = time.time()  # for people to read, as Prometheus has it
        self._lock = threading.Lock()

    def reload(self, changes: Changes) -> None:
        """Read the files again, and change what can be changed; a bad file changes nothing."""
        if not self._there:
            log.warning("nothing to reload: there is neither --config nor --web-config")
            return
        try:
            wanted = values(self._context, self._path) if self._path else {}
            if self._authentication.path:
                self._authentication.reread()
        except (InputError, LackError) as error:
            log.error("not reloaded: %s; all stays as it was", error.message)
            self._note(good=False)
            return
        for name in sorted(wanted.keys() | self._in_force.keys()):
            if wanted.get(name) != self._in_force.get(name):
                self._change(name, wanted.get(name), changes)
        self._note(good=True)
        log.warning("reloaded %s", " and ".join(map(str, self._there)))

    def _change(self, name: str, value: Any, changes: Changes) -> None:
        option = next(p.opts[0] for p in self._context.command.params if p.name == name)
        if self._context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            log.warning("%s stays as the command line has it", option)
        elif name not in changes or value is None:
            log.warning("%s changes with the next start only", option)
        else:
            changes[name](value)
            self._in_force[name] = value

    def _note(self, *, good: bool) -> None:
        with self._lock:
            self._good = good
            self._when = time.time() if good else self._when

    def collect(self) -> list[Metric]:
        """Return the families; none where there is no file."""
        if not self._there:
            return []
        with self._lock:
            return [
                GaugeMetricFamily(
                    "nvscope_config_last_reload_successful",
                    "1 if the configuration was good when it was last read, else 0.",
                    value=self._good,
                ),
                GaugeMetricFamily(
                    "nvscope_config_last_reload_success_timestamp_seconds",
                    "When the configuration was last read and good.",
                    value=self._when,
                ),
            ]
