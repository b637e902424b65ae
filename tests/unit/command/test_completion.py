"""`nvscope completion`: real shells complete with what it prints, and import no subpackage."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.cli import SUBCOMMANDS, main

# Calls the function as bash does for the words of a line, the last of which is to be completed.
BASH = """
eval "$(nvscope completion bash)"
complete -p nvscope > /dev/null || exit 9
IFS=$'\\x1f' read -ra COMP_WORDS <<< "$1"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
[ "${COMP_WORDS[-1]}" = "-" ] && COMP_WORDS[-1]=
_nvscope_completion nvscope 2> /dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = 'nvscope completion fish | source; complete -C "$argv[1]"'
# zsh completes only in a line editor: a terminal within zsh.
ZSH = """
zmodload zsh/zpty
zpty shell 'PS1= TERM=dumb zsh -f -i'
zpty -w shell 'autoload -U compinit; compinit -u -D; eval "$(nvscope completion zsh)"; echo re""ady'
zpty -r -m shell line '*ready*'
zpty -w -n shell "$1"$'\\t'
zpty -r -m shell line "*$2*" && print found
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With traces, other files, and a folder."""
    for name in ("a.arrows", "b.arrows", "notes.txt", "run.json"):
        (tmp_path / name).touch()
    (tmp_path / "bin").mkdir()
    return tmp_path


def run(shell: str, folder: Path, *words: str) -> list[str]:
    if not shutil.which(words[0]):
        pytest.skip(f"{shell} is not installed")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        words,
        cwd=folder,
        env={
            **os.environ,
            "PATH": path,
            "HOME": str(folder),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [line.partition("\t")[0] for line in done.stdout.splitlines()]  # fish: and a help


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["va"], ["validate"]),
        (["lab", "sel"], ["selftests"]),
        (["validate", "--variant", "maple-v"], ["maple-v1", "maple-v2", "maple-v3"]),
        (["validate", "a"], ["a.arrows"]),
        (["validate", "-"], ["a.arrows", "b.arrows", "bin/"]),
        (["compare", "./r"], ["./run.json"]),
        (["completion", "-"], ["bash", "zsh", "fish"]),
    ],
)
def test_bash(words: list[str], expected: list[str], folder: Path) -> None:
    line = "\x1f".join(["nvscope", *words])
    assert run("bash", folder, "bash", "--norc", "-c", BASH, "bash", line) == expected


def test_fish(folder: Path) -> None:
    assert run("fish", folder, "fish", "-c", FISH, "nvscope lab sel") == ["selftests"]
    assert run("fish", folder, "fish", "-c", FISH, "nvscope validate a") == ["a.arrows"]


def test_zsh(folder: Path) -> None:
    found = run("zsh", folder, "zsh", "-f", "-c", ZSH, "zsh", "nvscope lab sel", "ftests")
    assert found == ["found"]


def test_commands_are_completed_without_importing_them(folder: Path) -> None:
    call = "try: main(prog_name='nvscope')\nfinally: print(*sys.modules)"
    program = f"import sys; from nvscope.cli import main\n{call}"
    env = {"COMP_WORDS": "nvscope ", "COMP_CWORD": "1", "_NVSCOPE_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *offered, modules = done.stdout.splitlines()
    assert offered == [f"plain,{name}" for name in sorted(SUBCOMMANDS)]
    subpackages = ("nvscope.analysis", "nvscope.exporter", "nvscope.lab", "nvscope.probes.")
    ours = {name for name in modules.split() if name.startswith(subpackages)}
    assert ours <= {"nvscope.probes.errors"}


def test_names_that_no_shell_takes_are_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b.arrows").touch()
    env = {"COMP_WORDS": "nvscope report a", "COMP_CWORD": "2"}
    done = CliRunner().invoke(
        main, prog_name="nvscope", env=env | {"_NVSCOPE_COMPLETE": "bash_complete"}
    )
    assert done.output == "file,a\n"


def test_a_shell_that_it_does_not_know() -> None:
    done = CliRunner().invoke(main, ["completion", "tcsh"], prog_name="nvscope")
    assert done.exit_code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in done.stderr
