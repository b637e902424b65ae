"""`nvscope lab`: an emulated FEAT_NV2 arm64 host on this machine."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from click.core import ParameterSource
from rich.console import Console

from nvscope.lab import assets, running
from nvscope.lab.ending import GuestFailed, errors, terminated_cleanly
from nvscope.lab.kernel.build import FLAVOURS
from nvscope.lab.kernels import kernels
from nvscope.lab.options import kernel_option, revmap_option, source_option
from nvscope.lab.remote import Remote, limited
from nvscope.lab.runs import compare, samples, selftests
from nvscope.lab.runs import demo as demos
from nvscope.lab.series.cli import series
from nvscope.lab.setup.paths import cache_dir
from nvscope.lab.setup.steps import step
from nvscope.lab.subject import Subject
from nvscope.lab.vm import Lab
from nvscope.probes.finite import Finite

COMMAND_TIMEOUT_SECONDS = 600
BOOT_TIMEOUT_SECONDS = 300  # the debug kernel is the slow one
MOST_SECONDS = 1e6  # eleven days


@click.group()
def lab() -> None:
    """An emulated FEAT_NV2 arm64 host, to try everything on any machine."""


lab.add_command(kernels)
lab.add_command(series)


@lab.command()
@kernel_option
@click.option("--debug", is_flag=True, help="short for --kernel debug")
@click.option("--test-tools", is_flag=True, help="install what `make test` needs besides, no more")
@source_option
def build(kernel: str, debug: bool, test_tools: bool, source: Path | None) -> None:
    """Prepare all that a lab needs: tools, kernel, root file system.

    Each part is made once and kept in the cache folder by what went in.

    \b
    Examples:
      nvscope lab build
      nvscope lab build --debug
      nvscope lab build --kernel 6.18
      nvscope lab build --source ~/src/linux
    """
    with errors(), terminated_cleanly():
        if test_tools:
            assets.prepare_tests()
            return
        ready = assets.prepare(Subject("debug" if debug else kernel, source))
    click.echo(ready.machine.kernel)


@lab.command()
@kernel_option
@source_option
@click.option("--cpus", type=click.IntRange(1, 8), default=2, show_default=True)
@click.option("--memory", type=click.IntRange(1024), default=4096, show_default=True, help="MiB")
@click.option("--icount", is_flag=True, help="durations are instruction counts (one CPU)")
@click.option("--lpa2", is_flag=True, help="a CPU with FEAT_LPA2: IPA spaces of 52 bits, not 48")
@revmap_option
def boot(
    kernel: str,
    source: Path | None,
    cpus: int,
    memory: int,
    icount: bool,
    lpa2: bool,
    revmap: str,
) -> None:
    """Boot a lab host and keep it up until Ctrl-C.

    `nvscope lab run` and `nvscope lab shell` then use it.

    \b
    Examples:
      nvscope lab boot --kernel stock
      nvscope lab boot --kernel 6.18-rt
    """
    cpus = 1 if icount else cpus
    with errors(), terminated_cleanly():
        ready = assets.prepare(Subject(kernel, source))
        machine = {"cpus": cpus, "memory_mib": memory, "icount": icount, "lpa2": lpa2}
        with ready.boot(**machine, revmap=revmap == "on") as host:
            _wait(host)
            with running.announced(host, ready.kernel):
                click.echo(f"metrics   http://127.0.0.1:{host.metrics_port}/metrics")
                click.echo("           (once `nvscope lab run nvscope export` runs in it)")
                click.echo("shell     nvscope lab shell")
                click.echo("end       Ctrl-C")
                while host.alive():
                    time.sleep(0.5)
                raise GuestFailed("the guest ended by itself")


@lab.command(context_settings={"ignore_unknown_options": True})
@kernel_option
@click.option(
    "--timeout",
    type=Finite(1, MOST_SECONDS),
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
      nvscope lab run --kernel 6.18.15-16k getconf PAGESIZE
    """
    text = command[0] if len(command) == 1 else shlex.join(command)
    with errors(), terminated_cleanly(), _some_guest(kernel) as remote:
        done = subprocess.run(
            remote.arguments(limited(text, timeout)), stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode in (124, 255):
            raise remote.explain(f"`{text}` did not end properly (limit {timeout:.0f} s)")
    raise SystemExit(done.returncode)


@lab.command()
@kernel_option
def shell(kernel: str) -> None:
    """A root shell in a lab host (the one that is up, else a new one).

    \b
    Example:
      nvscope lab shell
    """
    with errors(), terminated_cleanly(), _some_guest(kernel) as remote:
        done = subprocess.run(remote.arguments(tty=True), check=False)
    raise SystemExit(done.returncode)


@lab.command()
@click.option("--yes", is_flag=True, help="do not ask")
def clean(yes: bool) -> None:
    """Remove the cache folder: kernels, root file systems, downloads.

    \b
    Examples:
      nvscope lab clean
      nvscope lab clean --yes
    """
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
@kernel_option
@click.option("--seconds", type=Finite(1, MOST_SECONDS), default=60.0, show_default=True)
@click.option("--keep", is_flag=True, help="stay up until Ctrl-C")
@click.option(
    "--guest",
    type=click.Choice(demos.GUESTS),
    default="synthetic",
    show_default=True,
    help="a small nested guest at once, or a Linux in a Linux (minutes)",
)
@revmap_option
@click.pass_context
def demo(
    context: click.Context, kernel: str, seconds: float, keep: bool, guest: str, revmap: str
) -> None:
    """Watch what a nested guest costs its host: set up, boot, count, show.

    Until the lab kernel is built, Debian's is shown while the build runs in the background; then
    the lab kernel, and both side by side. Where a kernel, a guest or the reverse map is chosen,
    that alone is shown.

    \b
    Examples:
      nvscope lab demo
      nvscope lab demo --revmap off
      nvscope lab demo --guest linux --keep
    """
    with errors(), terminated_cleanly():
        if _as_it_comes(context) and not assets.is_built():
            seen = demos.demo_beside_build(seconds, keep)
        else:
            seen = demos.demo(seconds, keep, kernel, guest, revmap == "on")
    if not seen:
        raise GuestFailed("no event was seen: the probes counted nothing")


@lab.command("compare")
@click.option("--linux/--no-linux", default=True, help="the Linux in a Linux too (minutes)")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a row")
def compare_(linux: bool, as_json: bool) -> None:
    """What the nested reverse map changes: the same workloads with it off and on.

    Boots a host several times; 10 minutes or so on two cores. Durations are those of an emulated
    machine: compare them with each other only. Instruction counts mean something elsewhere too.

    \b
    Examples:
      nvscope lab compare
      nvscope lab compare --no-linux --json
    """
    with errors(), terminated_cleanly():
        rows = compare.compare(assets.prepare(), linux)
    if as_json:
        for row in rows:
            click.echo(json.dumps({k: None if v != v else v for k, v in asdict(row).items()}))
    else:
        Console().print(compare.table(rows))


@lab.command("samples")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def samples_(folder: Path) -> None:
    """Record small traces into FOLDER: of each kind of kernel, and of each kind of fallback.

    analysis/samples has those of the last time. 10 minutes or so on two cores.

    \b
    Example:
      nvscope lab samples analysis/samples
    """
    with errors(), terminated_cleanly():
        for path in samples.record(folder):
            click.echo(path)


@lab.command("selftests")
@click.option("--kernel", type=click.Choice(list(FLAVOURS)), default="lab", show_default=True)
@revmap_option
@click.option("--json", "as_json", is_flag=True, help="one JSON object a test")
def selftests_(kernel: str, revmap: str, as_json: bool) -> None:
    """KVM's own selftests, in a host booted for them; their guests run at virtual EL2.

    Exit code 1 where one fails, or where the kernel complains of itself.

    \b
    Examples:
      nvscope lab selftests
      nvscope lab selftests --kernel debug --revmap off
    """
    failed = False
    with errors(), terminated_cleanly():
        ready = assets.prepare(kernel, with_selftests=True)
        with ready.boot(revmap=revmap == "on") as host:
            _wait(host)
            for result in selftests.run_all(host):
                click.echo(json.dumps(asdict(result)) if as_json else str(result))
                failed |= result.failed
    raise SystemExit(int(failed))


def _as_it_comes(context: click.Context) -> bool:
    """Whether the user has left to us what is shown."""
    choices = (context.get_parameter_source(name) for name in ("kernel", "guest", "revmap"))
    return all(source is ParameterSource.DEFAULT for source in choices)


@contextmanager
def _some_guest(kernel: str) -> Iterator[Remote]:
    """The guest that is up with this kernel, else one booted for this block."""
    found = running.find(assets.identity(kernel))
    if found:
        yield found.remote
        return
    with assets.prepare(kernel).boot() as host:
        _wait(host)
        yield host.remote


def _wait(host: Lab) -> None:
    with step("lab host boots"):
        host.wait_ready(BOOT_TIMEOUT_SECONDS)
