"""--config and --check-config: a file gives the options that the command line does not.

A key is an option's long name without the dashes; its value goes through that option's own checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from nvscope.probes.config import file
from nvscope.probes.errors import InputError, shown

# Table -> options, by their parameters' names. What a command has not, is not for it.
TABLES: Mapping[str, frozenset[str]] = {
    "probes": frozenset({"mechanisms", "symbols", "points_file", "strict", "max_vms", "group"}),
    "export": frozenset({"listen", "pinned", "max_series_vms", "web_config"}),
}


def values(context: click.Context, path: Path) -> dict[str, Any]:
    """The file's values for a command, by parameter name, as the option would have them.

    Raises InputError, LackError.
    """
    read = file.read(path, tuple(TABLES))
    found: dict[str, Any] = {}
    for table, keys in read.values.items():
        known = {_key(name): name for name in TABLES[table]}
        parameters = {parameter.name: parameter for parameter in context.command.params}
        for key, value in keys.items():
            if key not in known:
                there = ", ".join(sorted(known))
                raise InputError(
                    f"{read.where(table, key)}: no {key} in [{table}]; there are {there}"
                )
            if parameter := parameters.get(known[key]):
                found[known[key]] = _checked(context, parameter, value, read.where(table, key), key)
    return found


def _key(name: str) -> str:
    """A parameter's key: as its option, which is singular where it may be repeated.

    >>> _key("max_vms"), _key("symbols"), _key("max_series_vms")
    ('max-vms', 'symbol', 'max-series-vms')
    """
    others = {"mechanisms": "mechanism", "symbols": "symbol", "points_file": "points"}
    return others.get(name, name.replace("_", "-"))


def _checked(
    context: click.Context, parameter: click.Parameter, value: Any, where: str, key: str
) -> Any:
    """The value as click takes it for a default; it goes through the option's checks twice."""
    given = _as_given(parameter, value)
    try:
        if given is None:
            raise click.BadParameter(f"{_shown(value)} is not {_wanted(parameter)}")
        parameter.process_value(context, given)
    except click.BadParameter as error:
        raise InputError(f"{where}: {key}: {error.message}") from None
    return given


def _as_given(parameter: click.Parameter, value: Any) -> Any:
    """What the command line would have for it; None where the type is wrong."""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return value if isinstance(value, bool) else None
    if parameter.multiple:
        if isinstance(value, dict):  # symbol = {s2_fault = "user_mem_abort"}
            value = [f"{name}={each}" for name, each in value.items()]
        texts = isinstance(value, list) and all(isinstance(each, str) for each in value)
        return value if texts else None
    if isinstance(parameter.type, click.IntRange):
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    return value if isinstance(value, str) else None


def _wanted(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return "true or false"
    if parameter.multiple:
        return "a list of strings"
    return "a whole number" if isinstance(parameter.type, click.IntRange) else "a string"


def _shown(value: Any) -> str:
    """As a user may know it again.

    >>> _shown(True), _shown("7"), len(_shown("a" * 500))
    ('true', "'7'", 40)
    """
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _take(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Before all other options: what they are not given comes from the file."""
    if path and not context.resilient_parsing:
        context.default_map = values(context, path)
    return path


config_option = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    callback=_take,
    help="Options from a file (TOML); those of the command line go before.",
)
check_config_option = click.option(
    "--check-config", is_flag=True, help="Say whether --config FILE is good, and end."
)


def said_to_be_good(check: bool, path: Path | None) -> bool:
    """Whether only that was asked; it has been checked by then. Raises UsageError."""
    if not check:
        return False
    if path is None:
        raise click.UsageError("--check-config needs --config FILE")
    click.echo(f"{shown(path)} is good")
    return True
