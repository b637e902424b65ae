"""What setup.cfg cannot say: which packages there are, and where they lie."""

from collections.abc import Iterator

from setuptools import find_packages, setup

# These folders lie at the top of the checkout and are imported as nvscope.*. mypy knows no
# package_dir, only folders: for it, the Makefile links them as they are imported.
WINGS = {f"nvscope.{name}": name for name in ("probes", "exporter", "analysis", "lab")}


def packages() -> Iterator[str]:
    """All folders with an __init__.py."""
    yield from find_packages(include=["nvscope", "nvscope.*"])
    for name, folder in WINGS.items():
        yield name
        yield from (f"{name}.{each}" for each in find_packages(folder))


setup(package_dir=WINGS, packages=[*packages()])
