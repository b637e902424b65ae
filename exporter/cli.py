"""`nvscope export`: attach the probes and serve their counts to Prometheus until told to stop."""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import click
from click.core import ParameterSource
from prometheus_client import CollectorRegistry, ProcessCollector

from nvscope.exporter.collector import CountsSource, VmCollector, spare_collections
from nvscope.exporter.reloads import Reloads
from nvscope.exporter.systemd import inherited_sockets, notify, watchdog_seconds
from nvscope.exporter.vms import exits
from nvscope.exporter.web import pages
from nvscope.exporter.web.access.authentication import Authentication
from nvscope.exporter.web.connections import listen as listening
from nvscope.exporter.web.connections.server import Server
from nvscope.exporter.web.settings import config as web_configuration
from nvscope.exporter.web.settings.config import WebConfig
from nvscope.probes.commands import session
from nvscope.probes.commands.options import (
    max_vms_option,
    mechanisms_option,
    strict_option,
    symbols_option,
)
from nvscope.probes.commands.points_option import points_option, require_apart
from nvscope.probes.config.options import check_config_option, config_option, said_to_be_good
from nvscope.probes.counts.snapshot import Attachment
from nvscope.probes.errors import LackError
from nvscope.probes.pins import bpffs
from nvscope.probes.pins.pinned import Pinned
from nvscope.probes.points.modes import MECHANISMS
from nvscope.probes.points.pointsfile.read import PointsFile
from nvscope.probes.vms.identity import require_initial_pid_namespace

# Loopback: what VMs there are, and their uuids, is no matter for the whole network.
DEFAULT_LISTEN = "127.0.0.1:9810"
_FOR_EVER = 1e9  # seconds

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})")


class ClosableSource(CountsSource, Protocol):
    """A source that can be detached from the kernel."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class ExportOptions:
    """What the user asked of the probes: what is pinned in a folder, or the arguments of
    probes.points.loader.load.
    """

    pinned: Path | None
    mechanisms: tuple[str, ...]
    symbols: Mapping[str, str]
    strict: bool
    max_vms: int
    points_file: PointsFile | None = None


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT; raise ValueError.

    >>> parse_address("127.0.0.1:9810"), parse_address("[::1]:0")
    (('127.0.0.1', 9810), ('::1', 0))
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(text)
    return match["six"] or match["host"], int(match["port"])


def _listen_option(_: click.Context, __: click.Parameter, text: str) -> tuple[str, int]:
    try:
        return parse_address(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no HOST:PORT; for example 127.0.0.1:9810, or 0.0.0.0:9810 for all"
        ) from None


_EXAMPLES = """\b
Examples:
  nvscope export
  nvscope export --listen 0.0.0.0:9810 --strict
  nvscope export --pinned
  nvscope export --listen 0.0.0.0:9810 --web-config /etc/nvscope-web.yml
  nvscope export --config /etc/nvscope.toml
  nvscope export --mechanism kprobe
  nvscope export --symbol s2_fault=kvm_handle_guest_abort
  nvscope export --symbol revmap_record=add_to_my_reverse_map
  nvscope export --points my-kernel.toml
"""


@click.command(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@config_option
@check_config_option
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default=DEFAULT_LISTEN,
    show_default=True,
    callback=_listen_option,
    help="Where to serve. Beyond loopback, see --web-config.",
)
@click.option(
    "--web-config",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="TLS, passwords (bcrypt) and headers, from a YAML file as Prometheus' exporters have it.",
)
@mechanisms_option
@symbols_option
@points_option
@strict_option
@max_vms_option
@click.option(
    "--pinned",
    metavar="[DIR]",
    type=click.Path(file_okay=False, readable=False, path_type=Path),
    is_flag=False,
    flag_value=bpffs.DEFAULT,
    help="Attach nothing: read what `nvscope load` has pinned, and wait for it. This needs no"
    f" capability, and to be in the group that load --group named.  [DIR: {bpffs.DEFAULT}]",
)
@click.option(
    "--max-series-vms",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help='VMs with series of their own; all others are added up as vm="other". '
    "[default: as many as --max-vms, of whoever loads the probes]",
)
@click.pass_context
def export(
    context: click.Context,
    config: Path | None,
    check_config: bool,
    listen: tuple[str, int],
    web_config: Path | None,
    mechanisms: tuple[str, ...],
    symbols: dict[str, str],
    points_file: PointsFile | None,
    strict: bool,
    max_vms: int,
    pinned: Path | None,
    max_series_vms: int | None,
) -> None:
    """Serve what nested virtualization costs this host's VMs, as Prometheus metrics.

    Attaches BPF programs to KVM (as root), aggregates in the kernel, and reads the counts at
    each scrape of /metrics. SIGTERM or Ctrl-C detaches everything and ends it. SIGHUP reads
    --config and --web-config again and says what can only change with a new start.

    Exit codes: 0 stopped by a signal, 2 wrong usage, 3 the host lacks something (no KVM with
    nested guests, no rights, the port is taken).
    """
    web = web_configuration.read(web_config) if web_config else WebConfig()
    if said_to_be_good(check_config, config):
        return
    if pinned:
        _refuse_loaders_options(context)
    require_apart(points_file, symbols)
    wanted = ExportOptions(pinned, mechanisms or MECHANISMS, symbols, strict, max_vms, points_file)
    authentication = Authentication(web, web_config)
    # What is pinned tells itself how many it has room for.
    bound = max_series_vms or (None if pinned else max_vms)
    with contextlib.ExitStack() as stack:
        sockets = _inherited(context) or [_listening(*listen)]
        for sock in sockets:
            stack.enter_context(sock)
        run(sockets, wanted, bound, Reloads(context, config, authentication), authentication)


def _refuse_loaders_options(context: click.Context) -> None:
    """What is asked of the probes is asked of who loads them."""
    for option in context.command.params:
        given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        if given and option.name in ("mechanisms", "symbols", "points_file", "strict", "max_vms"):
            raise click.UsageError(f"{option.opts[0]} is for nvscope load, not for --pinned")


def run(
    sockets: Sequence[socket.socket],
    wanted: ExportOptions,
    max_series_vms: int | None,
    reloads: Reloads,
    authentication: Authentication,
) -> None:
    """Attach, serve on listening sockets until SIGTERM or SIGINT, detach."""
    # Blocked and waited for, in place of a handler: nothing is interrupted half-way, and one
    # that comes while the programs are being compiled is acted on right after.
    session.block(signal.SIGHUP)
    logging.basicConfig(format="nvscope: %(message)s", level=logging.WARNING)
    require_initial_pid_namespace()
    spare_collections()
    with contextlib.closing(open_source(wanted)) as source:
        session.report(source.attachments)
        registry = CollectorRegistry()
        collector = VmCollector(source, max_series_vms)
        registry.register(collector)
        registry.register(reloads)
        ProcessCollector(registry=registry)
        where = ", ".join(listening.url(sock, authentication.web.scheme) for sock in sockets)
        http = Server(
            authentication.around(pages.application(registry)), sockets, authentication.contexts()
        )
        with collector.hearing(exits.best_way()):
            http.start()
            try:
                click.echo(_serving_line(where, source.attachments, wanted.pinned))
                notify("READY=1", f"STATUS=serving {where}")
                _wait(http, reloads, collector)
            finally:
                http.stop()
        if http.failed:
            raise LackError("HTTP cannot be served any more; see above")


def _wait(http: Server, reloads: Reloads, collector: VmCollector) -> None:
    """Until a signal comes; for as long as requests are answered, systemd hears of it."""
    asked = watchdog_seconds()
    pause = asked / 2 if asked else _FOR_EVER
    changes = {"max_series_vms": collector.set_bound}
    while (came := session.heard(pause, signal.SIGHUP)) not in session.STOP_SIGNALS:
        if came == signal.SIGHUP:
            reloads.reload(changes)
        if asked and http.answers(pause):
            notify("WATCHDOG=1")
    notify("STOPPING=1")


def open_source(wanted: ExportOptions) -> ClosableSource:
    """Open what is pinned, or check the host and attach the probes; raises LackError."""
    if wanted.pinned:
        return _open_pinned(wanted.pinned)
    # Imported here: the help and the errors above need no bcc.
    from nvscope.probes.kernel import features
    from nvscope.probes.points import loader

    features.require_host(features.read_host())
    return loader.load(
        mechanisms=wanted.mechanisms,
        symbols=wanted.symbols,
        strict=wanted.strict,
        max_vms=wanted.max_vms,
        points_file=wanted.points_file,
    )


def _open_pinned(folder: Path) -> ClosableSource:
    """Say what is in the way, and wait: a loader may come later, or be replaced."""
    source = Pinned(folder)
    try:
        source.snapshot()
    except LackError as error:
        click.echo(f"nvscope: waiting: {error.message}", err=True)
    return source


def _inherited(context: click.Context) -> list[socket.socket]:
    """The sockets that systemd has made for us, where it has."""
    sockets = inherited_sockets()
    if sockets and context.get_parameter_source("listen") is ParameterSource.COMMANDLINE:
        raise click.UsageError("systemd gives us a socket: where, says its unit, not --listen")
    return sockets


def _listening(host: str, port: int) -> socket.socket:
    try:
        return listening.listen(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LackError(
            f"cannot listen on {host} port {port}: {reason}; choose another with --listen"
        ) from None


def _serving_line(where: str, attachments: tuple[Attachment, ...], pinned: Path | None) -> str:
    points = [f"{a.point} ({a.mechanism} {a.hook})" for a in attachments if a.mechanism]
    said = f"attached: {', '.join(points) or 'nothing'}"
    return f"serving {where}; {f'pinned in {pinned}; ' if pinned else ''}{said}"
