"""Numbers that are none, and numbers without end: no option takes them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nvscope.lab.workloads import main as synthetic
from nvscope.lab.workloads import race
from nvscope.probes.commands.finite import Finite
from tests.unit.command.examples import LEAVES

ROOT = Path(__file__).resolve().parents[4]
SUBPACKAGES = ("analysis", "bench", "exporter", "lab", "nvscope", "probes")
NO_NUMBERS = ("nan", "NaN", "-nan", "inf", "-inf", "Infinity", "1e400", "1e300", "", "0x10", "1,5")


def numbers() -> Iterator[tuple[str, click.Parameter]]:
    """Each option that takes a number with a fraction, with the command's name."""
    commands = [(path, context.command) for path, context in LEAVES.items()]
    for path, command in (*commands, ("synthetic", synthetic.main), ("race", race.main)):
        for option in command.params:
            if isinstance(option.type, click.types.FloatParamType):
                yield f"{path} {option.opts[0]}", option


OPTIONS = dict(numbers())


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("text", NO_NUMBERS)
def test_an_option_takes_no(text: str, name: str) -> None:
    option = OPTIONS[name]
    with pytest.raises(click.BadParameter) as caught:
        option.type.convert(text, option, None)
    assert "\n" not in caught.value.message


def test_there_are_such_options() -> None:
    assert {"nvscope storm --rate", "nvscope compare --confidence"} <= OPTIONS.keys()


def test_click_s_own_kinds_of_such_numbers_are_used_nowhere() -> None:
    files = [
        path for subpackage in SUBPACKAGES for path in sorted((ROOT / subpackage).rglob("*.py"))
    ]
    users = {path.relative_to(ROOT).as_posix() for path in files if _takes_any_float(path)}
    assert users == {"probes/commands/finite.py"}


def _takes_any_float(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    types = [node.value for node in ast.walk(tree) if isinstance(node, ast.keyword)]
    plain = any(isinstance(each, ast.Name) and each.id == "float" for each in types)
    return bool(names & {"FloatRange", "FLOAT"}) or plain


def test_what_is_a_number() -> None:
    assert [Finite(-1, 9).convert(text, None, None) for text in ("-1", " 9 ", "1e-3")] == [
        -1,
        9,
        1e-3,
    ]
