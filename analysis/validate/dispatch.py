"""What `nvscope validate` does with each path that it is given, and by whom that is judged."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from nvscope.analysis.interop.pipes import is_pipe
from nvscope.analysis.judging.findings import Finding, Result
from nvscope.analysis.validate import formats
from nvscope.analysis.validate.jobs import run
from nvscope.analysis.validate.jobs.cluster import Cluster, connected
from nvscope.analysis.validate.jobs.follow import follow
from nvscope.analysis.validate.jobs.local import running
from nvscope.analysis.validate.jobs.progress import showing
from nvscope.probes.errors import notice
from nvscope.probes.traces.tracefile import TraceError


@dataclass(frozen=True)
class How:
    """As the options say. scheduler: the address of a cluster's."""

    variant: str | None = None
    jobs: int | None = None
    scheduler: str | None = None
    follow: bool = False


def judged(paths: Sequence[Path], how: How) -> list[formats.Judged]:
    """What is said of each trace. Raises LackError, click.UsageError."""
    _check(paths, how)
    with connected(how.scheduler) if how.scheduler else contextlib.nullcontext() as cluster:
        return [said for path in paths for said in _judged(path, how, cluster)]


def _check(paths: Sequence[Path], how: How) -> None:
    many = (how.jobs or 1) > 1 or how.scheduler
    if how.follow and (len(paths) > 1 or many):
        raise click.UsageError("--follow takes one FILE, and one process")
    pipes = [path for path in paths if is_pipe(path)]
    if pipes and (len(pipes) > 1 or many):
        raise click.UsageError(f"{pipes[0]} can be read once, by one process")
    if how.scheduler and how.jobs:
        raise click.UsageError("--scheduler goes without --jobs: the cluster has its own workers")
    for path in paths if how.scheduler else ():
        if path.exists() and not path.is_dir():
            raise click.UsageError(
                f"--scheduler takes data sets, which {path} is not: `nvscope convert --partition`"
                " makes them"
            )


def _judged(path: Path, how: How, cluster: Cluster | None) -> list[formats.Judged]:
    """A data set may have many traces."""
    try:
        if how.follow or is_pipe(path):
            return [(str(path), follow(path, how.variant, _tell if how.follow else _hush))]
        if cluster is not None:
            path = path.absolute()  # workers are in folders of their own
            cluster.require(path, _warn)
        jobs = how.jobs or (len(os.sched_getaffinity(0)) if path.is_dir() else 1)
        traces = run.traces_of(path, how.variant, jobs)
        jobs = min(jobs, sum(len(trace.parts) for trace in traces)) or 1
        with contextlib.ExitStack() as stack:
            executor = cluster or stack.enter_context(running(jobs))
            progress = stack.enter_context(showing(path, traces, executor))
            outcomes = run.judge_all(traces, executor, progress)
    except TraceError as error:
        return [(str(path), str(error))]
    except OSError as error:  # of the file's name: too long, or in a folder of others
        return [(str(path), f"{path}: {error.strerror or error}")]
    return [
        (trace.name, outcome if isinstance(outcome, Result) else str(outcome))
        for trace, outcome in zip(traces, outcomes, strict=True)
    ]


def _tell(found: Finding) -> None:
    notice(f"{found.invariant}: {formats.message(found)}")


def _hush(found: Finding) -> None:
    """It is told at the end."""


def _warn(what: str) -> None:
    notice(f"{what}: its verdicts may differ")
