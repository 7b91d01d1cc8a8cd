"""Summing."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from swarm_persistence.demo.measures import MeasuredFunction, Measures
from swarm_persistence.demo.totals import MOST_COMPLEX, sum_modules, sum_totals

counts = st.integers(0, 50)


@st.composite
def modules(draw: st.DrawFn) -> list[Measures]:
    names = draw(st.lists(st.sampled_from([f"m{number}" for number in range(40)]), unique=True))
    return [
        Measures(
            module=name,
            lines=draw(counts),
            functions=draw(counts),
            classes=draw(counts),
            branches=draw(counts),
            longest_function=draw(st.none() | st.builds(MeasuredFunction, st.just(name), st.just("f"), counts, counts)),
            imports=draw(st.lists(st.sampled_from(["os", "re", "sys"]), unique=True)),
            problem=draw(st.none() | st.just("cannot be parsed")),
        )
        for name in names
    ]


@given(modules(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_order_and_grouping_do_not_change_the_sum(measured: list[Measures], random: Random, n: int) -> None:
    shuffled = list(measured)
    random.shuffle(shuffled)
    groups = [sum_modules(shuffled[start::n]) for start in range(n)]
    assert sum_totals(groups) == sum_modules(measured)


def test_sums_are_of_all_modules() -> None:
    one = Measures(module="a", lines=10, functions=2, classes=1, branches=3, imports=["os", "re"])
    two = Measures(module="b", lines=5, imports=["os"], problem="cannot be parsed")
    total = sum_modules([one, two])
    assert (total.modules, total.unparsed, total.lines) == (2, 1, 15)
    assert (total.functions, total.classes, total.branches) == (2, 1, 3)
    assert total.imports == {"os": 2, "re": 1}


def test_the_most_complex_come_first_and_equal_ones_by_name() -> None:
    measured = [Measures(module=f"m{number:02}", branches=number // 2) for number in range(30)]
    ranked = sum_modules(measured).most_complex
    assert [module.module for module in ranked[:4]] == ["m28", "m29", "m26", "m27"]
    assert len(ranked) == MOST_COMPLEX
