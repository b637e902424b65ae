"""What all scripts share: options, an orderly end, and a nested guest to play on."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import click

from nvscope.lab.workloads.ledger.ledger import Ledger
from nvscope.lab.workloads.ledger.unknown import UnknownLedger
from nvscope.lab.workloads.synthetic.guest import NestedGuest
from nvscope.lab.workloads.synthetic.layout import PAGE_BYTES
from nvscope.lab.workloads.vmm import payload
from nvscope.lab.workloads.vmm.kvm import KvmError
from nvscope.lab.workloads.vmm.protocol import PAYLOAD_BYTES

NESTED_IPA = 0x8000_0000  # where L2 sees its pages
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
