"""Where compiled code is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

_SAY = "from nvscope.analysis.compiled.loop import jit; print(jit._config.CACHE_DIR)"


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"NVSCOPE_CACHE": "/a/b", "XDG_CACHE_HOME": "/c"}, "/a/b/compiled"),
        ({"NVSCOPE_CACHE": "~/b", "HOME": "/h"}, "/h/b/compiled"),
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/nvscope/compiled"),
        ({"HOME": "/h"}, "/h/.cache/nvscope/compiled"),
        ({"NUMBA_CACHE_DIR": "/n", "NVSCOPE_CACHE": "/a"}, "/n"),
    ],
)
def test_it_is_in_the_one_folder_of_nvscope(environment: dict[str, str], folder: str) -> None:
    names = ("NVSCOPE_CACHE", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "HOME")
    left = {key: value for key, value in os.environ.items() if key not in names}
    done = subprocess.run(
        [sys.executable, "-c", _SAY],
        env=left | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert Path(done.stdout.strip()).parent == Path(folder)
