"""How the fixtures of kernels are made: the same answers with less, and symbols out of an Image."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from nvscope.probes.kernel.btf import Btf
from tests.unit.probes.kernel.btfs import Blob, kernel
from tests.unit.probes.kernels import asked, btftypes, image, make, prune


def parsed(path: Path) -> list[btftypes.Type]:
    return btftypes.parse(path.read_bytes())


@pytest.fixture(params=["none", "maple", "tracking"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return kernel(tmp_path / "whole", revmap=request.param)


def test_types_are_written_as_they_were_read(whole: Path) -> None:
    types = parsed(whole)
    assert btftypes.parse(btftypes.write(types[1:])) == types


@pytest.mark.parametrize("data", [b"", b"\x9f\xeb", b"\x7fELF" + bytes(60), bytes(64)])
def test_what_is_no_btf(data: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        btftypes.parse(data)


def test_a_fixture_answers_the_same(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "less").write_bytes(make.fixture(whole.read_bytes()))
    told = asked.answers(Btf(tmp_path / "less"))
    assert told == asked.answers(Btf(whole))
    assert told["kvm_stage2_unmap_range"] is not None


def test_a_fixture_is_all_of_itself(whole: Path) -> None:
    once = make.fixture(whole.read_bytes())
    assert make.fixture(once) == once


def test_a_fixture_that_answers_differently_is_refused(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = prune.pruned
    monkeypatch.setattr(prune, "pruned", lambda types: right(types)[:-1])
    with pytest.raises(ValueError, match="answers differently"):
        make.fixture(whole.read_bytes())


@pytest.fixture
def rich(tmp_path: Path) -> list[btftypes.Type]:
    """A kernel whose struct kvm has members of each kind; the fixture's types."""
    blob = Blob()
    u64, s32 = blob.integer("unsigned long", 8), blob.integer("int", 4)
    secret = blob.struct("secret", 24, ("inside", u64, 0))
    hidden = blob.struct("", 8, ("userspace_pid", s32, 0), ("other", s32, 4))
    members = (("locks", secret, 0), ("list", blob.pointer(secret), 24), ("", hidden, 32))
    kvm = blob.struct("kvm", 40, *members)
    blob.function("not_hooked", s32, ("kvm", blob.pointer(kvm)))
    blob.function("kvm_arch_destroy_vm", 0, ("kvm", blob.pointer(blob.const(kvm))), ("how", s32))
    return btftypes.parse(make.fixture(blob.write(tmp_path / "rich").read_bytes()))


def test_all_members_of_a_struct_stay_in_place(rich: list[btftypes.Type]) -> None:
    kvm = next(each for each in rich if each.name == "kvm" and each.kind == btftypes.STRUCT)
    assert [(item.name, item.words[1] // 8) for item in kvm.items] == [
        ("locks", 0),
        ("list", 24),
        ("", 32),
    ]
    locks, pointer, hidden = (rich[item.words[0]] for item in kvm.items)
    assert (locks.kind, locks.size, locks.items) == (btftypes.STRUCT, 24, ())
    assert (pointer.kind, pointer.size) == (btftypes.PTR, 0)  # to void
    assert [item.name for item in hidden.items] == ["userspace_pid", "other"]


def test_nothing_else_stays(rich: list[btftypes.Type]) -> None:
    assert not {each.name for each in rich} & {"secret", "inside", "not_hooked"}


def test_hooked_symbols_are_kept_as_the_compiler_left_them() -> None:
    symbols = ["kvm_free_stage2_pgd.isra.0", "handle_alle1is", "printk", "xhandle_alle1is"]
    assert make.hooked(symbols) == ["handle_alle1is", "kvm_free_stage2_pgd.isra.0"]


# ---- an Image


NAMES = [f"function_{number}" for number in range(600)] + ["long_" + "x" * 200, "f.isra.0"]


def tables(padding: int) -> bytes:
    """kallsyms' tables as scripts/kallsyms.c writes them; `fun` and `ction_` are tokens."""
    tokens = [bytes([code]) for code in range(256)]
    tokens[0], tokens[1] = b"fun", b"ction_"
    tokens[ord(":")] = b"Tlong_"
    names, markers = bytearray(), []
    for number, name in enumerate(NAMES):
        if number % 256 == 0:
            markers.append(len(names))
        text = b"t" + name.encode()
        coded = text.replace(b"fun", b"\x00").replace(b"ction_", b"\x01")
        length = len(coded)
        names += bytes([length] if length < 128 else [length & 0x7F | 0x80, length >> 7]) + coded
    counts = struct.pack("<I", len(NAMES)) + bytes(padding)
    aligned = bytes(names) + bytes(-len(names) % 4)
    texts = b"".join(token + b"\0" for token in tokens)
    starts = [sum(len(token) + 1 for token in tokens[:number]) for number in range(256)]
    index = bytes(-len(texts) % 4) + struct.pack("<256H", *starts)
    packed = struct.pack(f"<{len(markers)}I", *markers)
    return counts + aligned + packed + bytes(padding) + texts + index


@pytest.mark.parametrize("padding", [0, 4])
def test_symbols_of_an_image(padding: int) -> None:
    others = b"".join(bytes([code, 0]) for code in range(256))  # a table of something else
    before = b"\xff" * (1 << 16)
    assert list(image.symbols(before + others + before + tables(padding))) == NAMES


def test_an_image_without_tables() -> None:
    with pytest.raises(ValueError, match="no table"):
        list(image.symbols(bytes(1000)))
    with pytest.raises(ValueError, match="no type information"):
        image.type_information(bytes(1000))


def test_types_of_an_image(whole: Path) -> None:
    data = whole.read_bytes()
    decoy = data[:8] + b"\xff" * 16
    assert image.type_information(b"\0" * 100 + decoy + data + b"rest") == data
