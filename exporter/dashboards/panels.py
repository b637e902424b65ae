"""What the dashboard shows, as data: rows of panels, each with its queries and its unit.

The variables in the queries are the dashboard's own ($host, $vm) and Grafana's $__rate_interval.
"""

from __future__ import annotations

from nvscope.exporter.dashboards.model import (
    BYTES_PER_SECOND,
    PER_SECOND,
    PLAIN,
    SECONDS,
    SHARE,
    Panel,
    PanelRow,
    Query,
)

_HOST = 'instance=~"$host"'
_VM = f'{_HOST}, vm=~"$vm"'


def _rate(metric: str, *matchers: str) -> str:
    return f"rate({metric}{{{', '.join((_VM, *matchers))}}}[$__rate_interval])"


def _stat(title: str, unit: str, expr: str, note: str = "", mapped: bool = False) -> Panel:
    return Panel(title, unit, (Query(expr),), "stat", 4, note, mapped)


def _quantiles(title: str, metric: str, by: str, note: str = "") -> Panel:
    labels = f"le, {by}" if by else "le"
    shown = f" {{{{{by}}}}}" if by else ""
    rates = f"sum by ({labels}) ({_rate(f'{metric}_bucket')})"
    queries = (
        Query(f"histogram_quantile({q}, {rates})", f"p{q * 100:.0f}{shown}") for q in (0.5, 0.99)
    )
    return Panel(title, SECONDS, tuple(queries), note=note)


def _heatmap(title: str, metric: str, *matchers: str) -> Panel:
    rates = f"sum by (le) ({_rate(f'{metric}_bucket', *matchers)})"
    return Panel(title, SECONDS, (Query(rates, "{{le}}"),), "heatmap")


def _sums(title: str, unit: str, metric: str, by: str, *matchers: str, note: str = "") -> Panel:
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    query = Query(f"sum by ({by}) ({_rate(metric, *matchers)})", legend)
    return Panel(title, unit, (query,), note=note)


_NOTIFIER = "nvscope_notifier_unmap_duration_seconds"
_FAULT = "nvscope_s2_fault_duration_seconds"
_UNMAP = "nvscope_shadow_unmap_duration_seconds"
_UNMAPS = "nvscope_shadow_unmaps_total"
_IN_NOTIFIER, _FULL = 'within="notifier"', 'scope="full"'
_EXPORTER = f'{_HOST}, job="nvscope"'  # other jobs have process_… too

ROWS = (
    PanelRow(
        "Overview",
        (
            _stat("Hosts", PLAIN, f"count(nvscope_up{{{_HOST}}})"),
            _stat("VMs", PLAIN, f"sum(nvscope_vms{{{_HOST}}})"),
            _stat("Notifier unmaps", PER_SECOND, f"sum({_rate(f'{_NOTIFIER}_count')})"),
            _stat(
                "Full unmaps",
                SHARE,
                f"sum({_rate(_UNMAPS, _IN_NOTIFIER, _FULL)}) / sum({_rate(_UNMAPS, _IN_NOTIFIER)})",
                "Of the shadow unmaps in notifiers, those that threw away a whole shadow stage 2.",
            ),
            _stat(
                "Spent on refaults",
                SHARE,
                f"sum({_rate('nvscope_refault_seconds_total')})",
                "Time of shadow faults that bring back what was lost; 100 % is one CPU.",
            ),
            _stat("Broken reverse maps", PLAIN, f"sum(nvscope_revmap_broken{{{_VM}}})"),
        ),
        4,
    ),
    PanelRow(
        "Latencies",
        (
            _heatmap("Notifier unmaps", _NOTIFIER),
            _quantiles("Notifier unmaps: p50, p99", _NOTIFIER, ""),
            _heatmap("Shadow faults", _FAULT, 'stage="shadow"'),
            _quantiles("Stage-2 faults: p50, p99", _FAULT, "stage"),
        ),
    ),
    PanelRow(
        "Full against ranged",
        (
            _sums("Shadow unmaps in notifiers", PER_SECOND, _UNMAPS, "scope", _IN_NOTIFIER),
            _sums("Why they were full", PER_SECOND, _UNMAPS, "reason", _IN_NOTIFIER, _FULL),
            _sums("All shadow unmaps", PER_SECOND, _UNMAPS, "scope, within"),
            _quantiles("Shadow unmaps: p50, p99", _UNMAP, "scope"),
            _sums("Fallbacks by VM", PER_SECOND, "nvscope_fallbacks_total", "instance, vm, reason"),
            _sums(
                "Asked to be unmapped",
                BYTES_PER_SECOND,
                "nvscope_shadow_unmapped_bytes_total",
                "instance, vm",
                note="Nested IPA space; a full unmap asks for all of it, mapped or not.",
            ),
        ),
    ),
    PanelRow(
        "Refaults",
        (
            _sums("Refaults", PER_SECOND, "nvscope_refaults_total", "instance, vm"),
            _sums("Time spent on them", SHARE, "nvscope_refault_seconds_total", "instance, vm"),
        ),
    ),
    PanelRow(
        "Reverse map",
        (
            _sums("Records", PER_SECOND, "nvscope_revmap_records_total", "outcome"),
            Panel(
                "Broken now",
                PLAIN,
                (Query(f"nvscope_revmap_broken{{{_VM}}} > 0", "{{instance}} {{vm}}"),),
                note="Their next notifier unmap is a fallback.",
            ),
        ),
    ),
    PanelRow(
        "The exporter",
        (
            Panel(
                "Counts readable",
                PLAIN,
                (Query(f"nvscope_up{{{_HOST}}}", "{{instance}}"),),
                "stat",
                6,
                mapped=True,
            ),
            Panel(
                "Probes not attached",
                PLAIN,
                (Query(f"count by (probe) (nvscope_probe_attached{{{_HOST}}} == 0)", "{{probe}}"),),
                "stat",
                6,
                "Hosts on which it is not.",
            ),
            Panel(
                "VMs that start and end",
                PER_SECOND,
                (
                    Query(
                        "sum by (instance, kind)"
                        f" (rate(nvscope_vm_events_total{{{_HOST}}}[$__rate_interval]))",
                        "{{instance}} {{kind}}",
                    ),
                ),
                note="Seen first, and seen to have ended.",
            ),
            Panel(
                'VMs in vm="other"',
                PLAIN,
                (Query(f'nvscope_vms{{{_HOST}, series="other"}} > 0', "{{instance}}"),),
                note="Past --max-series-vms: what they do is added up.",
            ),
            Panel(
                "How ends of VMs are heard",
                PLAIN,
                (
                    Query(
                        f"count by (source) (nvscope_process_events_source{{{_HOST}}} == 1)",
                        "{{source}}",
                    ),
                ),
                "stat",
                6,
                "Hosts; scrape: not before the next one.",
            ),
            Panel(
                "Ends that may have been missed",
                PER_SECOND,
                (
                    Query(
                        f"rate(nvscope_process_events_lost_total{{{_HOST}}}[$__rate_interval]) > 0",
                        "{{instance}}",
                    ),
                ),
                width=6,
                note="All VMs are looked at then.",
            ),
            Panel(
                "Events lost",
                PER_SECOND,
                (
                    Query(
                        "sum by (instance, cause)"
                        f" (rate(nvscope_events_lost_total{{{_HOST}}}[$__rate_interval])) > 0",
                        "{{instance}} {{cause}}",
                    ),
                ),
            ),
            Panel(
                "How full the kernel's maps are",
                SHARE,
                (
                    Query(
                        f"nvscope_map_entries{{{_HOST}}} / nvscope_map_capacity",
                        "{{instance}} {{map}}",
                    ),
                ),
                note="What finds no room is lost: nvscope load --max-vms.",
            ),
            Panel(
                "What a program's run costs",
                SECONDS,
                (
                    Query(
                        "sum by (program)"
                        f" (rate(nvscope_program_run_seconds_total{{{_HOST}}}[$__rate_interval]))"
                        " / sum by (program)"
                        f" (rate(nvscope_program_runs_total{{{_HOST}}}[$__rate_interval]))",
                        "{{program}}",
                    ),
                ),
                note="While kernel.bpf_stats_enabled is 1.",
            ),
            Panel(
                "A page takes",
                SECONDS,
                (Query(f"nvscope_gather_duration_seconds{{{_HOST}}}", "{{instance}}"),),
                note="To read the maps and /proc.",
            ),
            Panel(
                "Configuration",
                PLAIN,
                (
                    Query(
                        f"count by (instance)"
                        f" (nvscope_config_last_reload_successful{{{_HOST}}} == 0)",
                        "{{instance}} has a bad file",
                    ),
                ),
                "stat",
                6,
                "What it had stays in force.",
            ),
            Panel(
                "Good since",
                "dateTimeFromNow",
                (
                    Query(
                        f"1000 * nvscope_config_last_reload_success_timestamp_seconds{{{_HOST}}}",
                        "{{instance}}",
                    ),
                ),
                "stat",
                6,
                "When the file was last read and good.",
            ),
            Panel(
                "Its CPU time",
                SHARE,
                (
                    Query(
                        f"rate(process_cpu_seconds_total{{{_EXPORTER}}}[$__rate_interval])",
                        "{{instance}}",
                    ),
                ),
            ),
            Panel(
                "Its memory",
                "bytes",
                (Query(f"process_resident_memory_bytes{{{_EXPORTER}}}", "{{instance}}"),),
            ),
        ),
    ),
)
