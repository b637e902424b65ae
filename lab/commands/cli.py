"""`nvscope lab`: an emulated FEAT_NV2 arm64 host on this machine."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from dataclasses import asdict, replace
from pathlib import Path

import click
from click.core import ParameterSource
from rich.console import Console

from nvscope.lab import assets
from nvscope.lab.commands.cleaning import clean
from nvscope.lab.commands.ending import GuestFailed, errors, terminated_cleanly
from nvscope.lab.commands.guests import prepared, some_guest, wait_ready
from nvscope.lab.commands.kernels import kernels
from nvscope.lab.commands.options import SUBJECT, revmap_option, subject_options
from nvscope.lab.host import running
from nvscope.lab.host.remote import limited
from nvscope.lab.kernel.subject import Subject
from nvscope.lab.runs import compare, samples, selftests
from nvscope.lab.runs import demo as demos
from nvscope.lab.series.cli import series
from nvscope.probes.commands.finite import Finite
from nvscope.probes.errors import InputError

COMMAND_TIMEOUT_SECONDS = 600
MOST_SECONDS = 1e6  # eleven days


@click.group()
def lab() -> None:
    """An emulated FEAT_NV2 arm64 host, to try everything on any machine."""


lab.add_command(kernels)
lab.add_command(series)
lab.add_command(clean)


@lab.command()
@subject_options
@click.option("--debug", is_flag=True, help="short for --kernel debug")
@click.option("--test-tools", is_flag=True, help="install what `make test` needs besides, no more")
def build(subject: Subject, debug: bool, test_tools: bool) -> None:
    """Prepare all that a lab needs: tools, kernel, root file system.

    Each part is made once and kept in the cache folder by what went in. A source tree is only read:
    it is built in a copy, which stays, so that the next build compiles what has changed.

    \b
    Examples:
      nvscope lab build
      nvscope lab build --debug
      nvscope lab build --kernel 6.18
      nvscope lab build --source ~/src/linux --config kasan.config
      nvscope lab build --patch my-series.patch
    """
    with errors(), terminated_cleanly():
        if test_tools:
            assets.prepare_tests()
            return
        if debug and subject.image:
            raise InputError("--image is booted as it is: --debug has nothing to build")
        ready = assets.prepare(replace(subject, kernel="debug") if debug else subject)
    click.echo(ready.machine.kernel)


@lab.command()
@subject_options
@click.option("--cpus", type=click.IntRange(1, 8), help="[default: 2, or 1 with --icount]")
@click.option("--memory", type=click.IntRange(1024), default=4096, show_default=True, help="MiB")
@click.option("--icount", is_flag=True, help="durations are instruction counts (one CPU)")
@click.option("--lpa2", is_flag=True, help="a CPU with FEAT_LPA2: IPA spaces of 52 bits, not 48")
@revmap_option
def boot(
    subject: Subject,
    cpus: int | None,
    memory: int,
    icount: bool,
    lpa2: bool,
    revmap: str | None,
) -> None:
    """Boot a lab host and keep it up until Ctrl-C.

    `nvscope lab run` and `nvscope lab shell` then use it.

    \b
    Examples:
      nvscope lab boot --kernel stock
      nvscope lab boot --kernel 6.18-rt
      nvscope lab boot --image arch/arm64/boot/Image
      nvscope lab boot --image /boot/vmlinuz-6.18 --initrd /boot/initrd.img-6.18
      nvscope lab boot --source ~/src/linux --cpus 4
    """
    if icount and cpus not in (None, 1):
        raise InputError("--icount counts the instructions of one CPU: leave --cpus away")
    with errors(), terminated_cleanly():
        ready = prepared(subject, revmap)
        machine = {"memory_mib": memory, "icount": icount, "lpa2": lpa2}
        cpus = cpus or (1 if icount else 2)
        with ready.boot(**machine, cpus=cpus, revmap=revmap != "off") as host:
            wait_ready(host)
            with running.announced(host, ready.kernel):
                click.echo(f"metrics   http://127.0.0.1:{host.metrics_port}/metrics")
                click.echo("           (once `nvscope lab run nvscope export` runs in it)")
                click.echo("shell     nvscope lab shell")
                click.echo("end       Ctrl-C")
                while host.alive():
                    time.sleep(0.5)
                raise GuestFailed("the guest ended by itself")


# What follows COMMAND is COMMAND's: it may have a --config, too.
@lab.command(context_settings={"allow_interspersed_args": False})
@subject_options
@click.option(
    "--timeout",
    type=Finite(1, MOST_SECONDS),
    default=COMMAND_TIMEOUT_SECONDS,
    show_default=True,
    help="seconds",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(subject: Subject, timeout: float, command: tuple[str, ...]) -> None:
    """Run COMMAND in a lab host; its output and exit status become ours.

    Uses the host of the same kernel that `nvscope lab boot` keeps up, else boots one for this
    command. Options of ours come before COMMAND.

    \b
    Examples:
      nvscope lab run uname -r
      nvscope lab run 'dmesg | grep -i kvm'
      nvscope lab run --kernel 6.18.15-16k getconf PAGESIZE
      nvscope lab run --image Image.gz nvscope doctor
      nvscope lab run --source ~/src/linux 'dmesg | grep -i kvm'
    """
    text = command[0] if len(command) == 1 else shlex.join(command)
    with errors(), terminated_cleanly(), some_guest(subject) as remote:
        done = subprocess.run(
            remote.arguments(limited(text, timeout)), stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode in (124, 255):
            raise remote.explain(f"`{text}` did not end properly (limit {timeout:.0f} s)")
    raise SystemExit(done.returncode)


@lab.command()
@subject_options
def shell(subject: Subject) -> None:
    """A root shell in a lab host (the one that is up, else a new one).

    \b
    Example:
      nvscope lab shell
    """
    with errors(), terminated_cleanly(), some_guest(subject) as remote:
        done = subprocess.run(remote.arguments(tty=True), check=False)
    raise SystemExit(done.returncode)


@lab.command()
@subject_options
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
    context: click.Context,
    subject: Subject,
    seconds: float,
    keep: bool,
    guest: str,
    revmap: str | None,
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
      nvscope lab demo --source ~/src/linux
    """
    with errors(), terminated_cleanly():
        if _as_it_comes(context) and not assets.is_built():
            seen = demos.demo_beside_build(seconds, keep)
        else:
            seen = demos.demo(seconds, keep, subject, guest, revmap)
    if not seen:
        raise GuestFailed("no event was seen: the probes counted nothing")


@lab.command("compare")
@subject_options
@click.option("--linux/--no-linux", default=True, help="the Linux in a Linux too (minutes)")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a row")
def compare_(subject: Subject, linux: bool, as_json: bool) -> None:
    """What the nested reverse map changes: the same workloads with it off and on.

    Boots a host several times; 10 minutes or so on two cores. Durations are those of an emulated
    machine: compare them with each other only. Instruction counts mean something elsewhere too.

    \b
    Examples:
      nvscope lab compare
      nvscope lab compare --no-linux --json
      nvscope lab compare --patch my-series.patch
    """
    with errors(), terminated_cleanly():
        ready = prepared(subject, "off")
        if linux:
            ready.require_linux()
        rows = compare.compare(ready, linux)
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
@subject_options
@revmap_option
@click.option("--json", "as_json", is_flag=True, help="one JSON object a test")
def selftests_(subject: Subject, revmap: str | None, as_json: bool) -> None:
    """KVM's own selftests, in a host booted for them; their guests run at virtual EL2.

    They are those of Debian's source, whatever kernel they are to test.

    Exit code 1 where one fails, or where the kernel complains of itself.

    \b
    Examples:
      nvscope lab selftests
      nvscope lab selftests --kernel debug --revmap off
      nvscope lab selftests --source ~/src/linux
    """
    failed = False
    with errors(), terminated_cleanly():
        ready = prepared(subject, revmap, with_selftests=True)
        with ready.boot(revmap=revmap != "off") as host:
            wait_ready(host)
            for result in selftests.run_all(host):
                click.echo(json.dumps(asdict(result)) if as_json else str(result))
                failed |= result.failed
    raise SystemExit(int(failed))


def _as_it_comes(context: click.Context) -> bool:
    """Whether the user has left to us what is shown."""
    choices = (context.get_parameter_source(name) for name in (*SUBJECT, "guest", "revmap"))
    return all(source is ParameterSource.DEFAULT for source in choices)
