"""The standard script: a nested guest from which the host takes back pages a known number of times.

Run as `python3 -m nvscope.lab.workloads.main -name vmA --unmaps 23`. The name on the command line
is how the exporter finds the VM's name, as it does for QEMU.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import click

from nvscope.lab.workloads import payload
from nvscope.lab.workloads.kvm import KvmError
from nvscope.lab.workloads.ledger import Ledger
from nvscope.lab.workloads.protocol import PAYLOAD_BYTES
from nvscope.lab.workloads.synthetic import DATA_IPA, PAGE_BYTES, NestedGuest
from nvscope.lab.workloads.unknown import UnknownLedger
from nvscope.probes.commands.finite import Finite

NESTED_IPA = 0x8000_0000  # where L2 sees its pages
_MAX_PAGES = 1 << 16
ENDLESS_SECONDS = 1e9  # 30 years


class Stop:
    """Set by SIGTERM or SIGINT: the script then ends early, in order."""

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.asked = False
        for number in self._SIGNALS:
            signal.signal(number, self._ask)

    def release(self) -> None:
        """From now on the signals end the process again."""
        for number in self._SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


@dataclass(frozen=True)
class Request:
    """What every script is asked for, by `request_options`.

    name: the VM's; payload_file: L1's binary, None to assemble it; hold: keep the VM until stdin
    is closed; unknown_map: as NestedGuest's.
    """

    name: str
    payload_file: Path | None
    hold: bool
    unknown_map: bool = False


_REQUEST_OPTIONS = (
    click.option(
        "-name", "--name", required=True, help="The VM's name, as on QEMU's command line."
    ),
    click.option(
        "--payload",
        "payload_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="L1's binary; assembled from source without it.",
    ),
    click.option("--hold", is_flag=True, help="Keep the VM until stdin is closed."),
    click.option(
        "--unknown-map",
        is_flag=True,
        help="Expect only what holds whatever reverse map the kernel has.",
    ),
)


def request_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a script's command the options whose values make a Request."""
    for option in reversed(_REQUEST_OPTIONS):
        command = option(command)
    return command


# Plays on a guest until it is done or asked to stop; returns its own part of the facts.
Play = Callable[[NestedGuest, Stop], Mapping[str, Any]]


def run(
    request: Request,
    data_bytes: int,
    play: Play,
    *,
    huge: bool = False,
    vcpus: int = 1,
    late_vcpu: bool = False,
    afterwards: Callable[[], None] = lambda: None,
) -> None:
    """Play on a new guest, print the facts as one line of JSON, and hold the VM if asked to.

    data_bytes, huge, vcpus, late_vcpu: as NestedGuest's; afterwards: what a VM that was held does
    at its end. Raises a ClickException (one line) where anything goes wrong.
    """
    stop = Stop()
    started = time.monotonic()
    try:
        code = _payload(request.payload_file)
        with NestedGuest(
            code,
            data_bytes=data_bytes,
            huge=huge,
            vcpus=vcpus,
            late_vcpu=late_vcpu,
            unknown_map=request.unknown_map,
        ) as guest:
            facts = {
                "name": request.name,
                "pid": os.getpid(),
                **play(guest, stop),
                "seconds": round(time.monotonic() - started, 3),
                "revmap": guest.revmap,
                "take_back_ns": median(guest.take_back_ns or [0]),
                "shadow_ipa_bits": guest.shadow_ipa_bits,
                "page_bytes": PAGE_BYTES,
                **_expected(guest.ledger),
            }
            click.echo(json.dumps(facts))
            stop.release()
            if request.hold and not stop.asked:
                sys.stdin.buffer.read()
                afterwards()
    except (KvmError, OSError) as error:
        raise click.ClickException(f"{request.name}: {error}") from None


def _expected(ledger: Ledger | UnknownLedger) -> dict[str, Any]:
    """expected: name -> count; bounds, of an unknown reverse map: name -> (least, most)."""
    if isinstance(ledger, UnknownLedger):
        return {"expected": ledger.exact(), "bounds": ledger.bounds()}
    return {"expected": ledger.counts.as_dict()}


def expect(what: str, found: int, expected: int) -> None:
    """Raise KvmError, which names what is wrong, unless the two are equal."""
    if found != expected:
        raise KvmError(f"wrong {what}: {found:#x}, not {expected:#x}")


class _Script:
    """Pages, what L2 has written to each, and a check of every one of them."""

    def __init__(self, guest: NestedGuest, pages: int) -> None:
        self._guest = guest
        self._values = list(range(1, pages + 1))
        guest.map(NESTED_IPA, DATA_IPA, pages * PAGE_BYTES)
        guest.l2_write(NESTED_IPA, 1, pages)

    def unmap_one(self, turn: int) -> None:
        """Take back one page; L2 writes it anew. A mapping that survived would keep the value."""
        page = turn % len(self._values)
        canonical_ipa = DATA_IPA + page * PAGE_BYTES
        nested_ipa = NESTED_IPA + page * PAGE_BYTES
        self._values[page] = value = (turn + 1) << 32 | page
        self._guest.take_back(canonical_ipa)
        self._guest.l2_write(nested_ipa, value)
        found = self._guest.host_read(canonical_ipa)
        expect(f"data at canonical {canonical_ipa:#x}", found, value)
        found = self._guest.l2_read(nested_ipa).value
        expect(f"data at nested {nested_ipa:#x}", found, value)

    def check_all(self) -> None:
        """L2 reads every page in one run."""
        total = self._guest.l2_read(NESTED_IPA, len(self._values)).sum
        expect("sum of all pages", total, sum(self._values) % (1 << 64))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@request_options
@click.option("--unmaps", type=click.IntRange(0), default=23, show_default=True)
@click.option("--forever", is_flag=True, help="Go on until SIGTERM or SIGINT.")
@click.option("--pages", type=click.IntRange(1, _MAX_PAGES), default=8, show_default=True)
@click.option(
    "--pace", type=Finite(0, ENDLESS_SECONDS), default=0.0, help="Seconds between unmaps."
)
@click.option(
    "--seconds",
    type=Finite(0, ENDLESS_SECONDS),
    default=ENDLESS_SECONDS,
    help="No more unmaps after that.",
)
def main(
    unmaps: int, forever: bool, pages: int, pace: float, seconds: float, **request: Any
) -> None:
    """Run a nested guest, take back its pages, and print what that must have caused, as JSON.

    A VM that was held has L2 read all its pages once more at its end: they must be as they were.
    """
    scripts: list[_Script] = []

    def play(guest: NestedGuest, stop: Stop) -> Mapping[str, Any]:
        scripts.append(_Script(guest, pages))
        end = time.monotonic() + seconds
        turns = takewhile(
            lambda _: time.monotonic() < end, _turns(None if forever else unmaps, pace, stop)
        )
        first_write_ns = guest.l2_write_ns[0] / pages
        done = _unmap(scripts[0], turns)
        return {"pages": pages, "unmaps": done, "first_write_ns": first_write_ns}

    def check() -> None:
        scripts[0].check_all()

    run(Request(**request), pages * PAGE_BYTES, play, afterwards=check)


def _unmap(script: _Script, turns: Iterator[int]) -> int:
    """Play the script; how many unmaps it did."""
    done = 0
    for turn in turns:
        script.unmap_one(turn)
        done += 1
    script.check_all()
    return done


def _turns(unmaps: int | None, pace: float, stop: Stop) -> Iterator[int]:
    """0, 1, ... up to unmaps (None: without end), pace seconds apart, until stop is asked."""
    for turn in count() if unmaps is None else range(unmaps):
        if turn and pace:
            time.sleep(pace)
        if stop.asked:
            return
        yield turn


def _payload(file: Path | None) -> bytes:
    if file is not None:
        code = file.read_bytes()
        if len(code) != PAYLOAD_BYTES:
            raise click.BadParameter(
                f"{file} has {len(code)} bytes, not {PAYLOAD_BYTES}: build it anew",
                param_hint="--payload",
            )
        return code
    with tempfile.TemporaryDirectory(prefix="nvscope-") as folder:
        return payload.build(Path(folder)).read_bytes()


if __name__ == "__main__":
    main()
