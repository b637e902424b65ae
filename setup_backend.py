"""setuptools, with one thing more for pip to know: a wheel is built with what nvscope runs with.

The commands write their own manual pages for the wheel (setup.py), so they have to be imported.
"""

import configparser

from setuptools.build_meta import *  # noqa: F403
from setuptools.build_meta import get_requires_for_build_wheel as _of_setuptools


def get_requires_for_build_wheel(config_settings: dict[str, str] | None = None) -> list[str]:
    """As setuptools', and what setup.cfg requires."""
    setup = configparser.ConfigParser()
    setup.read("setup.cfg")
    required = setup["options"]["install_requires"].strip().splitlines()
    return [*_of_setuptools(config_settings), *required]
