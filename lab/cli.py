"""`nvscope lab`: an emulated FEAT_NV2 arm64 host on this machine."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from nvscope.lab import assets, running
from nvscope.lab import demo as demos
from nvscope.lab.paths import cache_dir
from nvscope.lab.remote import GuestError, Remote, limited
from nvscope.lab.steps import console, step
from nvscope.lab.vm import Lab

COMMAND_TIMEOUT_SECONDS = 600


class _GuestFailed(click.ClickException):
    """The guest crashed, hung or could not be reached."""

    exit_code = 1


@click.group()
def lab() -> None:
    """An emulated FEAT_NV2 arm64 host, to try everything on any machine."""


def _kernel_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--kernel",
        type=click.Choice(assets.KERNELS),
        default="lab",
        show_default=True,
        help="the kernel built here, or Debian's own",
    )(function)


def _source_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--source",
        type=click.Path(exists=True, path_type=Path),
        help="a Linux source tree or tarball to build instead of Debian's",
    )(function)


@lab.command()
@_kernel_option
@_source_option
def build(kernel: str, source: Path | None) -> None:
    """Prepare all that a lab needs: tools, kernel, root file system.

    Each part is made once and kept in the cache folder by what went in.

    \b
    Examples:
      nvscope lab build
      nvscope lab build --source ~/src/linux
    """
    with _errors():
        ready = assets.prepare(kernel, source)
    click.echo(ready.machine.kernel)


@lab.command()
@_kernel_option
@_source_option
@click.option("--cpus", type=click.IntRange(1, 8), default=2, show_default=True)
@click.option("--memory", type=click.IntRange(1024), default=4096, show_default=True, help="MiB")
@click.option("--icount", is_flag=True, help="durations are instruction counts (one CPU)")
@click.option("--lpa2", is_flag=True, help="a CPU with FEAT_LPA2: IPA spaces of 52 bits, not 48")
def boot(
    kernel: str, source: Path | None, cpus: int, memory: int, icount: bool, lpa2: bool
) -> None:
    """Boot a lab host and keep it up until Ctrl-C.

    `nvscope lab run` and `nvscope lab shell` then use it.

    \b
    Example:
      nvscope lab boot --kernel stock
    """
    cpus = 1 if icount else cpus
    with _errors(), _terminated_cleanly():
        ready = assets.prepare(kernel, source)
        with ready.boot(cpus=cpus, memory_mib=memory, icount=icount, lpa2=lpa2) as host:
            _wait(host)
            with running.announced(host, kernel):
                click.echo(f"metrics   http://127.0.0.1:{host.metrics_port}/metrics")
                click.echo("           (once `nvscope lab run nvscope export` runs in it)")
                click.echo("shell     nvscope lab shell")
                click.echo("end       Ctrl-C")
                while host.alive():
                    time.sleep(0.5)
                raise _GuestFailed("the guest ended by itself")


@lab.command(context_settings={"ignore_unknown_options": True})
@_kernel_option
@click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=COMMAND_TIMEOUT_SECONDS,
    show_default=True,
    help="seconds",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(kernel: str, timeout: float, command: tuple[str, ...]) -> None:
    """Run COMMAND in a lab host; its output and exit status become ours.

    Uses the host that `nvscope lab boot` keeps up, else boots one for this command.

    \b
    Examples:
      nvscope lab run uname -r
      nvscope lab run 'dmesg | grep -i kvm'
    """
    text = command[0] if len(command) == 1 else shlex.join(command)
    with _errors(), _terminated_cleanly(), _some_guest(kernel) as remote:
        done = subprocess.run(
            remote.arguments(limited(text, timeout)), stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode in (124, 255):
            raise remote.explain(f"`{text}` did not end properly (limit {timeout:.0f} s)")
    raise SystemExit(done.returncode)


@lab.command()
@_kernel_option
def shell(kernel: str) -> None:
    """A root shell in a lab host (the one that is up, else a new one)."""
    with _errors(), _terminated_cleanly(), _some_guest(kernel) as remote:
        done = subprocess.run(remote.arguments(tty=True), check=False)
    raise SystemExit(done.returncode)


@lab.command()
@click.option("--yes", is_flag=True, help="do not ask")
def clean(yes: bool) -> None:
    """Remove the cache folder: kernels, root file systems, downloads."""
    folder = cache_dir()
    if running.find():
        raise click.ClickException("a lab is up: end it first (Ctrl-C where it was booted)")
    if not folder.exists():
        click.echo("nothing to remove")
        return
    size = sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
    if not yes:
        click.confirm(f"Remove {folder} ({size >> 20} MiB)?", abort=True)
    shutil.rmtree(folder)
    click.echo(f"removed {folder} ({size >> 20} MiB)")


@lab.command()
@_kernel_option
@click.option("--seconds", type=click.FloatRange(1), default=60.0, show_default=True)
@click.option("--keep", is_flag=True, help="stay up until Ctrl-C")
@click.option(
    "--guest",
    type=click.Choice(demos.GUESTS),
    default="synthetic",
    show_default=True,
    help="a small nested guest at once, or a Linux in a Linux (minutes)",
)
def demo(kernel: str, seconds: float, keep: bool, guest: str) -> None:
    """Watch what a nested guest costs its host: set up, boot, count, show.

    \b
    Examples:
      nvscope lab demo
      nvscope lab demo --guest linux --keep
    """
    with _errors(), _terminated_cleanly():
        seen = demos.demo(seconds, keep, kernel, guest)
    if not seen:
        raise _GuestFailed("no event was seen: the probes counted nothing")


@contextmanager
def _some_guest(kernel: str) -> Iterator[Remote]:
    """The guest that is up with this kernel, else one booted for this block."""
    found = running.find(kernel)
    if found:
        yield found.remote
        return
    with assets.prepare(kernel).boot() as host:
        _wait(host)
        yield host.remote


def _wait(host: Lab) -> None:
    with step("lab host boots"):
        host.wait_ready()


@contextmanager
def _errors() -> Iterator[None]:
    """A guest's failure is a message, with the console's tail, and exit code 1."""
    try:
        yield
    except GuestError as error:
        raise _GuestFailed(str(error)) from None
    except KeyboardInterrupt:
        console.print("ended by Ctrl-C")
        raise SystemExit(130) from None


@contextmanager
def _terminated_cleanly() -> Iterator[None]:
    """SIGTERM ends us like Ctrl-C does, so that the guest goes too."""

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
