"""The language of --fail-if: what is said in it, what is wrong in it, and what it decides."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvscope.analysis.compare.conditions import DOUBT, NO, YES, Condition, parse
from nvscope.analysis.compare.metrics import UNITS, Estimate, MetricRow
from tests.unit.analysis.profiles import PROFILE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p99 > 1.1x", ((), "p99", True, "ratio", 1.1)),
        ("p99>50us", ((), "p99", True, "b", 50e3)),
        ("p99.9 < 2 ms", ((), "p99.9", False, "b", 2e6)),
        ("p50 > 0.5µs", ((), "p50", True, "b", 500)),
        ("mean > +1s", ((), "mean", True, "difference", 1e9)),
        ("mean < -10us", ((), "mean", False, "difference", -10e3)),
        ("count > 100", ((), "count", True, "b", 100)),
        ("count > -100", ((), "count", True, "difference", -100)),
        ("rate > 20/s", ((), "rate", True, "b", 20)),
        ("lost > 0", ((), "lost", True, "b", 0)),
        ("vm=alpha: p99 > 2x", ((("vm", "alpha"),), "p99", True, "ratio", 2)),
        ('vm="a: b,c" : p99 > 2x', ((("vm", "a: b,c"),), "p99", True, "ratio", 2)),
        (
            "vm=a-1, stage = shadow: rate < 2x",
            ((("vm", "a-1"), ("stage", "shadow")), "rate", False, "ratio", 2),
        ),
        ("count=5: count > 1x", ((("count", "5"),), "count", True, "ratio", 1)),
    ],
)
def test_what_is_said(text: str, expected: tuple[object, ...]) -> None:
    found = parse(text)
    assert (found.labels, found.metric, found.above, found.form, found.limit) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "column 1, at the end: a metric is wanted: count, rate, mean, p50, "),
        ("p98 > 1x", "column 1, at 'p98 > 1x': a metric is wanted"),
        ("p99x > 1x", "column 1, at 'p99x > 1x': a metric is wanted"),
        ("p99", "column 4, at the end: > or < is wanted"),
        ("p99 >= 1x", "column 6, at '= 1x': a bound is wanted, such as 1.1x, 50us or +10us"),
        ("p99 > 50", "column 7, at '50': a bound is wanted, such as 1.1x, 50us or +10us"),
        ("p99 > 50/s", "column 7, at '50/s': a bound is wanted"),
        ("p99 > 50min", "column 7, at '50min': a bound is wanted"),
        ("p99 > +1.1x", "column 7, at '+1.1x': a bound is wanted"),
        ("p99 > 1e3us", "column 7, at '1e3us': a bound is wanted"),
        ("p99 > nan", "column 7, at 'nan': a bound is wanted"),
        ("count > 5us", "column 9, at '5us': a bound is wanted, such as 1.1x, 50 or +10"),
        ("rate > 5", "column 8, at '5': a bound is wanted, such as 1.1x, 50/s or +10/s"),
        ("p99 > 1x p99 > 2x", "column 10, at 'p99 > 2x': nothing more is wanted"),
        ("vm=alpha p99 > 1x", "column 10, at 'p99 > 1x': a : is wanted after the labels"),
        ("vm=: p99 > 1x", "column 4, at ': p99 > 1x': the value of vm is wanted"),
        ("vm=a, p99 > 1x", "column 11, at '> 1x': LABEL=VALUE is wanted"),
        ("vm=a,vm=b: p99 > 1x", "column 9, at 'b: p99 > 1x': vm is there twice"),
        ("vm=alpha: lost > 0", "column 11, at 'lost > 0': lost is of a whole run"),
        ("p99 > " + "9" * 400 + "us", "column 7, at '99999999999999999999': a bound is wanted"),
    ],
)
def test_what_is_wrong_and_where(text: str, error: str) -> None:
    with pytest.raises(ValueError, match="column") as caught:
        parse(text)
    assert str(caught.value).startswith(error)
    assert "\n" not in str(caught.value)


@PROFILE
@given(st.text(alphabet=' vmp9.=:,"<>+-x1us/µ\n\0é', max_size=30) | st.text(max_size=30))
def test_any_text_is_a_condition_or_a_value_error(text: str) -> None:
    try:
        found = parse(text)
    except ValueError as error:
        assert str(error).startswith("column ")
    else:
        assert math.isfinite(found.limit)


names = st.from_regex(r"[a-z]\w{0,8}", fullmatch=True)
values = st.text(st.characters(exclude_characters='"'), max_size=10)


@PROFILE
@given(
    labels=st.dictionaries(names, values, max_size=3),
    metric=st.sampled_from([m for m in UNITS if m != "lost"]),
    sign=st.sampled_from("<>"),
    limit=st.decimals(0, 10**9, places=3),
)
def test_what_is_written_is_read(
    labels: dict[str, str], metric: str, sign: str, limit: object
) -> None:
    given = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    found = parse(f"{given}{': ' if given else ''}{metric} {sign} {limit}x")
    assert dict(found.labels) == labels
    assert (found.metric, found.above, found.form) == (metric, sign == ">", "ratio")
    assert found.limit == float(str(limit))


def row(value: float, low: float, high: float) -> MetricRow:
    nothing = Estimate(math.nan, 0, math.inf)
    return MetricRow("p99", nothing, nothing, nothing, Estimate(value, low, high))


@pytest.mark.parametrize(
    ("text", "ratio", "holds", "by_estimate"),
    [
        ("p99 > 1.1x", (1.5, 1.2, 2), YES, True),
        ("p99 > 1.1x", (1.5, 1.1, 2), DOUBT, True),
        ("p99 > 1.1x", (1.05, 0.5, 2), DOUBT, False),
        ("p99 > 1.1x", (1.05, 1, 1.1), NO, False),
        ("p99 > 1.1x", (3, 2, math.inf), YES, True),
        ("p99 > 1.1x", (math.nan, 0, math.inf), DOUBT, True),
        ("p99 < 1.1x", (1, 0.9, 1.09), YES, True),
        ("p99 < 1.1x", (1, 0.9, 1.1), DOUBT, True),
        ("p99 < 1.1x", (1.1, 1.1, 1.1), NO, False),
    ],
)
def test_what_it_decides(
    text: str, ratio: tuple[float, float, float], holds: str, by_estimate: bool
) -> None:
    condition = parse(text)
    assert condition.holds(row(*ratio)) == holds
    assert condition.holds_by_estimate(row(*ratio)) == by_estimate


def test_which_groups_it_is_about() -> None:
    of_alpha, of_all = parse("vm=alpha: p99 > 1x"), parse("p99 > 1x")
    assert of_alpha.of((("vm", "alpha"), ("stage", "shadow")))
    assert not of_alpha.of((("vm", "beta"),))
    assert not of_alpha.of(())
    assert of_all.of((("vm", "beta"),))
    assert of_all.of(())
    assert isinstance(of_all, Condition)
