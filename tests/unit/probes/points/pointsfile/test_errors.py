"""What is wrong in a points file, and what a kernel lacks for one."""

from __future__ import annotations

import pytest

from nvscope.probes.errors import InputError, LackError
from nvscope.probes.kernel.btf import Btf
from nvscope.probes.points.modes import TRACES
from nvscope.probes.points.planning import PlanRequest
from nvscope.probes.points.pointsfile import check
from nvscope.probes.points.pointsfile.read import MOST_BYTES
from tests.unit.probes.points.pointsfile.files import FOREIGN, Write

RECORD = '[revmap_record]\nfunction = "f"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[revmap_recrd]\n", "line 1: no table [revmap_recrd]; there are [revmap], [notifier_un"),
        ("revmap_record = 1\n", "line 1: revmap_record is a table: [revmap_record]"),
        ("[revmap\n", "my.toml: Expected ']'"),
        ("[revmap]\nkind = 'mapel'\n", "line 2: [revmap] kind: 'mapel' is not one of maple, track"),
        ("[revmap]\nkind = 1\n", "line 2: [revmap] kind: 1 is not one of maple, tracking"),
        ("[revmap]\nkinds = 'maple'\n", "line 2: [revmap] kinds: no such key; there are kind, bro"),
        ("[revmap]\nbroken = 'a->b'\n", "line 2: [revmap] broken: 'a->b' is no member of struct"),
        ("[revmap]\nbroken = 7\n", "line 2: [revmap] broken: 7 is no member of struct kvm_s2_mmu"),
        ("[revmap_record]\n", "line 1: [revmap_record] has no function: say which serves it, fun"),
        ("[tlbi_all]\nfunction = 'a b'\n", "line 2: [tlbi_all] function: 'a b' is no name of a"),
        ("[tlbi_all]\nfunction = 3\n", "line 2: [tlbi_all] function: 3 is no name of a function"),
        ("[tlbi_all]\nfunction='f'\nmmu='m'\n", "[tlbi_all] mmu: no such key; there are function"),
        (f"{RECORD}cannonical = 'x'\n", "line 3: [revmap_record] cannonical: no such key; there a"),
        (f"{RECORD}mmu = 'a+b'\n", "line 3: [revmap_record] mmu: 'a+b' is no parameter or path"),
        (f"{RECORD}mmu = 4\n", "line 3: [revmap_record] mmu: 4 is no parameter or path"),
        (f"{RECORD}size = true\n", "line 3: [revmap_record] size: True is no parameter or path"),
        (f"{RECORD}size = {{unit = 'page'}}\n", "[revmap_record] size: None is no parameter"),
        (
            f"{RECORD}mmu = {{value = 'm', unit = 'page'}}\n",
            "[revmap_record] mmu: no unit here; th",
        ),
        (f"{RECORD}size = {{value = 's', unit = 'mib'}}\n", "size: unit 'mib' is not one of byte"),
        (f"{RECORD}nested_ipa = {{value = 's', unit = 'order'}}\n", "is not one of byte, page"),
        (f"{RECORD}end = {{value = 'e', of = 'mmu'}}\n", "end: of 'mmu' is not one of canonical_"),
        (f"{RECORD}size = {{value = 'e', of = 'nested_ipa'}}\n", "size: no of here; there are va"),
        (f"{RECORD}size = 's'\nend = 'e'\n", "line 4: [revmap_record] end: there is size already"),
        (f"{RECORD}outcome = 'return'\n", "line 3: [revmap_record] outcome: it needs outcomes"),
        (f"{RECORD}[revmap_record.outcomes]\nstored=0\n", "outcomes: it needs outcome beside it"),
        (f"{RECORD}outcome = 'o'\noutcomes = 1\n", "line 4: [revmap_record] outcomes: 1 is no tab"),
        (
            f"{RECORD}outcome = 'o'\n[revmap_record.outcomes]\nlost = 0\n",
            "line 5: [revmap_record] lost: no such word; there are stored, unchanged, overlapped,",
        ),
        (f"{RECORD}outcome='o'\noutcomes = {{stored = 1.5}}\n", "stored: 1.5 is no number, name"),
        (f"{RECORD}outcome='o'\noutcomes = {{stored = '< 0'}}\n", "stored: '< 0' is no number, na"),
        (
            "[revmap_fallback]\nfunction = 'f'\nonly_in_notifier = 1\n",
            "line 3: [revmap_fallback] only_in_notifier: 1 is not true or false",
        ),
        (
            "[s2_fault]\nfunction = 'kvm_handle_guest_abort'\nnested = 'n'\n",
            "line 3: [s2_fault] nested: nothing reads it where that function is hooked",
        ),
        ("#" * (MOST_BYTES + 1), "is no points file: it is longer than 65,536 bytes"),
    ],
)
def test_a_bad_file_is_one_line(text: str, words: str, written: Write) -> None:
    with pytest.raises(InputError) as raised:
        written(text)
    assert words in raised.value.message
    assert "my.toml" in raised.value.message
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[revmap_record]\nfunction = "gone"\n',
            "line 1: [revmap_record] function: this kernel has no function gone",
        ),
        (
            '[revmap_record]\nfunction = "rmap_note"\nmmu = "mmu"\n',
            "line 3: [revmap_record] mmu: rmap_note() has no parameter mmu;"
            " it has (struct rmap_what *what, gfn_t gfn)",
        ),
        (
            '[revmap_record]\nfunction = "rmap_note"\n',
            "line 1: [revmap_record]: rmap_note() has no parameter that points to a struct"
            " kvm_s2_mmu; it has (struct rmap_what *what, gfn_t gfn)",
        ),
        (
            '[revmap_record]\nfunction = "rmap_note"\nmmu = "what->vcpu"\n',
            "line 3: [revmap_record] mmu: what->vcpu is a struct kvm_vcpu *, and has to be struct",
        ),
        (
            FOREIGN.replace('"rmap_said.RMAP_SAME"', '"RMAP_OLD"'),
            "line 16: [revmap_record] unchanged: this kernel has no RMAP_OLD in enum rmap_said",
        ),
        (
            FOREIGN.replace('"lost"', '"lots"'),
            "[revmap] broken: this kernel's struct kvm_s2_mmu has no member lots",
        ),
    ],
)
def test_what_this_kernel_lacks_is_one_line(
    text: str, words: str, foreign: Btf, written: Write
) -> None:
    file = written(text)
    wanted = PlanRequest(check.counted(file, TRACES), mode=TRACES, catalog=file.catalog())
    with pytest.raises(LackError) as raised:
        check.require(file, foreign, wanted)
    assert words in raised.value.message, raised.value.message
    assert raised.value.exit_code == 3


def test_what_is_not_wanted_is_not_missed(foreign: Btf, written: Write) -> None:
    file = written('[revmap_record]\nfunction = "gone"\n')
    check.require(file, foreign, PlanRequest(["s2_fault"]))
    check.require(None, foreign, PlanRequest(["s2_fault"]))
