"""What the lab's commands are told to boot: options that make one value, or do not go together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from nvscope.cli import main
from nvscope.lab import assets
from nvscope.lab.commands import cli
from nvscope.lab.kernel.subject import Subject
from nvscope.probes.errors import InputError, LackError

PREPARED = "all was parsed"
COMMANDS = (["build"], ["boot"], ["run", "true"], ["shell"], ["demo"], ["compare"], ["selftests"])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Subject]:
    """What is to be prepared, or looked for; nothing is."""
    found: list[Subject] = []

    def note(subject: Subject, *_: object) -> None:
        found.append(subject)
        raise LackError(PREPARED)

    monkeypatch.setattr(assets, "prepare", note)
    monkeypatch.setattr(assets, "identity", note)
    monkeypatch.setattr("nvscope.lab.runs.demo.prepare", note)
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_every_command_takes_them_all(
    command: list[str], asked: list[Subject], tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("Image", "initrd", "a.patch", "b.patch", "a.config")]
    for path in files:
        path.touch()
    image, initrd, a, b, config = files
    ways = {
        Subject("debug"): ["--kernel", "debug"],
        Subject(image=image, initrd=initrd): ["--image", image, "--initrd", initrd],
        Subject(source=tmp_path, patches=(a, b), configs=(config,)): [
            "--source", tmp_path, "--patch", a, "--patch", b, "--config", config,
        ],
    }  # fmt: skip
    for options in ways.values():
        words = ["lab", command[0], *map(str, options), *command[1:]]
        assert CliRunner().invoke(main, words).stderr == f"Error: {PREPARED}\n"
    assert asked == list(ways)


def test_what_follows_a_command_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    class Remote:
        def arguments(self, command: str) -> list[str]:
            ran.append(command)
            return ["true"]

    @contextmanager
    def guest(subject: Subject) -> Iterator[Remote]:
        assert subject == Subject()
        yield Remote()

    monkeypatch.setattr(cli, "some_guest", guest)
    words = ["lab", "run", "nvscope", "export", "--config", "a.toml", "--kernel", "none"]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert "nvscope export --config a.toml --kernel none" in ran[0]


def test_instructions_are_counted_on_one_cpu() -> None:
    done = CliRunner().invoke(main, ["lab", "boot", "--icount", "--cpus", "2"])
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        "Error: --icount counts the instructions of one CPU: leave --cpus away"
    ]


def test_a_debug_kernel_is_built() -> None:
    done = CliRunner().invoke(main, ["lab", "build", "--debug", "--image", __file__])
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kernel", "6.18", "--config", "F"], "--config needs a kernel that is built here"),
        (["--image", "F", "--kernel", "lab"], "--image is booted instead of --kernel"),
        (["--image", "F", "--patch", "F"], "--image is booted as it is: --patch has nothing to"),
        (["--initrd", "F"], "--initrd goes with --image"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], said: str, tmp_path: Path) -> None:
    file = tmp_path / "F"
    file.touch()
    words = [str(file) if word == "F" else word for word in options]
    for command in COMMANDS:
        done = CliRunner().invoke(main, ["lab", command[0], *words, *command[1:]])
        assert done.exit_code == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"Error: {said}")


def test_a_word_is_a_whole_subject(tmp_path: Path) -> None:
    assert Subject().is_named
    assert not Subject(source=tmp_path).is_named
    with pytest.raises(InputError):
        Subject("6.18", source=tmp_path)
