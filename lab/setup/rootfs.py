"""The guest's root file system: an arm64 Debian closure, unpacked and packed without running it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nvscope.lab.setup import bytecode, steps, store
from nvscope.lab.setup.apt import Apt
from nvscope.lab.setup.together import together
from nvscope.probes.errors import LackError

GUEST = Path(__file__).parents[1] / "guest"

PACKAGES = (
    # a shell to work in
    "base-files", "bash", "busybox-static", "coreutils", "findutils", "gawk", "grep", "iproute2",
    "kmod", "libc-bin", "mount", "procps", "sed", "tar", "util-linux", "xz-utils",
    # how commands get in
    "openssh-server",
    # what nvscope runs on
    "python3", "python3-bpfcc", "python3-click", "python3-prometheus-client", "python3-psutil",
    "python3-bcrypt", "python3-pyroute2", "python3-rich", "python3-yaml",
    "libbpf1",
    # what starts it on a real host
    "systemd",
    # what else traces it; bpfcc-tools wants kernel headers
    "bpfcc-tools", "bpftrace", "linux-headers-arm64", "linux-perf",
    # a hypervisor for the real nested guest
    "qemu-system-arm",
)  # fmt: skip

# QEMU before 11 gives a guest no EL2 under KVM; the headers must be of the lab kernel's version.
BACKPORTS = ("src:qemu", "src:linux", "src:linux-signed-arm64", "src:linux-base")

# What Debian has no package of, an old or a large one: wheels of PyPI.
WHEELS = (
    "h11>=0.16", "numpy", "pyarrow",
)  # fmt: skip
GUEST_PLATFORM = "manylinux_2_28_aarch64"

# What is ours in it: file in guest/ -> its place.
PLACES = {
    "init": "usr/sbin/init",
    "init-lab.service": "etc/systemd/system/lab.service",
    "nvscope": "usr/local/bin/nvscope",
}

IMAGE_BYTES = 3 << 30  # sparse; about 1 GiB of it is used


def guest_apt(name: str) -> Apt:
    """An apt that resolves for the guest: arm64, Debian 13 and its backports."""
    suite = f"{bytecode.SUITE}-backports"
    return Apt(name, "arm64", (bytecode.SUITE, suite), pins=dict.fromkeys(BACKPORTS, suite))


def _key() -> str:
    recipes = Path(__file__), Path(bytecode.__file__)
    return store.digest(*recipes, *(GUEST / name for name in PLACES))


def is_cached() -> bool:
    """Whether `build` has nothing to do."""
    return store.path_of("rootfs", _key()).is_dir()


def build(tools: Callable[[], object] = lambda: None) -> Path:
    """The folder with root.ext4 and the ssh keys (id, known_hosts) that open it.

    tools: waits until this machine has ssh-keygen and mke2fs, which the first half does without.
    """
    if is_cached():
        steps.cached("guest's root file system")
        return store.path_of("rootfs", _key())
    with steps.step("guest's root file system") as tell:
        return store.artifact("rootfs", _key(), lambda folder: _make(folder, tools, tell))


def _make(folder: Path, tools: Callable[[], object], tell: steps.Tell) -> None:
    root, interpreter, wheels = (folder / name for name in ("root", "python", "wheels"))
    tell("fetching about 200 MB of packages, and 70 MB of Python wheels")
    apt = guest_apt("rootfs")
    together(
        functools.partial(_fetch_packages, apt),
        functools.partial(bytecode.fetch, interpreter),
        functools.partial(_fetch_wheels, wheels),
    )
    _unpack(sorted(apt.archives.glob("*.deb")), root, tell)
    _unpack_wheels(wheels, root)
    tell("compiling Python modules")
    _prune(root)
    bytecode.compile_all(root, interpreter)
    tell("settings and keys")
    tools()
    _configure(root)
    _keys(folder, root)
    tell("packing")
    _pack(root, folder / "root.ext4")
    for used in (root, interpreter, wheels):
        shutil.rmtree(used)
    apt.clean()


def _fetch_packages(apt: Apt) -> None:
    apt.update()
    apt.download(PACKAGES)


def _unpack(debs: list[Path], root: Path, tell: steps.Tell) -> None:
    """Unpack packages into a new folder, as many at once as there are CPUs."""

    def unpack(deb: Path) -> None:
        subprocess.run(["dpkg", "-x", deb, root], check=True)

    # base-files first: it brings the links /bin -> usr/bin that the others lie behind.
    debs.sort(key=lambda deb: not deb.name.startswith("base-files_"))
    root.mkdir()
    unpack(debs[0])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, _ in enumerate(pool.map(unpack, debs[1:]), 2):
            tell(f"unpacking {number} of {len(debs)}")


def _fetch_wheels(work: Path) -> None:
    command = [
        sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download", "--no-deps",
        "--only-binary=:all:", "--platform", GUEST_PLATFORM, "--python-version", bytecode.PYTHON,
        "-d", str(work), *WHEELS,
    ]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise LackError(f"Python packages for the guest could not be fetched from PyPI: {last}")


def _unpack_wheels(work: Path, root: Path) -> None:
    """Unpack wheels where the guest's Python finds them."""
    for wheel in work.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(root / "usr/lib/python3/dist-packages")


def _prune(root: Path) -> None:
    """Drop what no guest reads: a third of the size."""
    for useless in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"):
        shutil.rmtree(root / useless, ignore_errors=True)
    packages = root / "usr/lib/python3/dist-packages"
    for useless in ("pyarrow/tests", "pyarrow/include", "numpy/_core/include"):
        shutil.rmtree(packages / useless, ignore_errors=True)


def _configure(root: Path) -> None:
    files = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"
        "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        "etc/group": "root:x:0:\nnogroup:x:65534:\n",
        "etc/shadow": "root:*:20000:0:99999:7:::\n",
        "etc/hosts": "127.0.0.1 localhost nvscope-lab\n",
        "etc/ssh/sshd_config": (
            "HostKey /etc/ssh/ssh_host_ed25519_key\n"
            "PasswordAuthentication no\nPermitRootLogin prohibit-password\nUsePAM no\n"
            "UseDNS no\nStrictModes no\nMaxSessions 100\nPrintMotd no\n"
            "Subsystem sftp internal-sftp\n"
            f"SetEnv PYTHONPATH=/run/nvscope/tree PYTHONPYCACHEPREFIX=/{bytecode.CACHE} "
            "PATH=/usr/local/bin:/usr/sbin:/usr/bin LC_ALL=C.UTF-8\n"
        ),
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, place in PLACES.items():
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copyfile(GUEST / name, target)
        target.chmod(0o755 if "/bin/" in place or "/sbin/" in place else 0o644)
    wanted = "etc/systemd/system/multi-user.target.wants/lab.service"
    (root / wanted).parent.mkdir(parents=True, exist_ok=True)
    links = (("usr/bin/awk", "gawk"), ("usr/bin/sh", "bash"), (wanted, "../lab.service"))
    for link, target_name in links:
        (root / link).unlink(missing_ok=True)
        (root / link).symlink_to(target_name)
    for folder in ("proc", "sys", "dev", "run", "tmp", "mnt", "root"):
        (root / folder).mkdir(exist_ok=True)
    (root / "root").chmod(0o700)


def _keys(folder: Path, root: Path) -> None:
    """A key pair for the guest, so that its identity is known, and one for us."""
    host_key = root / "etc/ssh/ssh_host_ed25519_key"
    for path, comment in ((host_key, "guest"), (folder / "id", "lab")):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], check=True
        )
    public = host_key.with_suffix(".pub").read_text().split()
    (folder / "known_hosts").write_text(f"nvscope-lab {public[0]} {public[1]}\n")
    authorized = root / "root/.ssh/authorized_keys"
    authorized.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    authorized.write_text((folder / "id.pub").read_text())


def _pack(root: Path, image: Path) -> None:
    with image.open("wb") as handle:
        handle.truncate(IMAGE_BYTES)
    subprocess.run(
        ["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", root, image],
        check=True,
        stdout=subprocess.DEVNULL,
    )
