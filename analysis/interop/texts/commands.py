"""Shell commands that record what a recipe says, with ftrace or with perf."""

from __future__ import annotations

from collections.abc import Iterator

from nvscope.analysis.interop.texts.recipe import Recipe
from nvscope.analysis.interop.texts.wanted import GROUP

TRACEFS = "/sys/kernel/tracing"


def ftrace_commands(made: Recipe) -> Iterator[str]:
    """Shell commands that record with ftrace: to be run as root on the traced host."""
    yield "set -e"
    yield f"cd {TRACEFS}"
    yield "echo 0 > tracing_on"
    yield "echo mono > trace_clock"
    yield "echo 65536 > buffer_size_kb   # of each CPU"
    yield ": > trace"
    for line in made.events:
        yield f"echo '{line}' >> kprobe_events"
    yield f"echo 1 > events/{GROUP}/enable"
    yield "echo 1 > tracing_on"
    yield "echo 'Enter ends the recording'; read -r _"
    yield "echo 0 > tracing_on"
    yield f"{{ echo '{made.header()}'; cat trace kprobe_profile; }} > /var/tmp/nv.ftrace"
    yield from removal(made)


def perf_commands(made: Recipe) -> Iterator[str]:
    """The same with perf, whose timestamps have all nine digits."""
    yield "set -e"
    yield f"cd {TRACEFS}"
    for line in made.events:
        yield f"echo '{line}' >> kprobe_events"
    # H: else what a task does for its vCPU passes for the guest's doing, which perf script leaves
    # out. It ends with the command that it runs: Ctrl-C would end this script as well.
    yield (
        f"perf record -e '{GROUP}:*:H' -a --clockid mono -m 8M -o /var/tmp/nv.data --"
        " sh -c \"echo 'Enter ends the recording'; read -r _\""
    )
    yield (
        f"{{ echo '{made.header()}'; perf script -i /var/tmp/nv.data --ns --show-lost-events"
        " -F comm,tid,cpu,time,event,trace; cat kprobe_profile; } > /var/tmp/nv.perf"
    )
    yield from removal(made)


def removal(made: Recipe) -> Iterator[str]:
    """Commands that remove the events."""
    yield f"echo 0 > {TRACEFS}/events/{GROUP}/enable"
    for line in made.events:
        yield f"echo '-:{line.split()[0].split(':', 1)[1]}' >> {TRACEFS}/kprobe_events"
