from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.domain.checks import ConfigError
from pipeline.search.search_space import SearchSpace, on_step


def space(*arguments: str, **params: Any) -> SearchSpace:
    return SearchSpace.parse(params, arguments)


@pytest.mark.parametrize(
    ("sweep", "distribution"),
    [
        ("choice(auto,node-a)", CategoricalDistribution(["auto", "node-a"])),
        ("auto,2,0.5,true,null", CategoricalDistribution(["auto", 2, 0.5, True, "null"])),
        ("[a,b],[c]", CategoricalDistribution(["[a,b]", "[c]"])),
        ("range(1,4)", IntDistribution(1, 3)),
        ("range(1,8,3)", IntDistribution(1, 7, step=3)),
        ("range(4,1,-1)", IntDistribution(2, 4)),
        ("range(0,1,0.25)", FloatDistribution(0, 0.75, step=0.25)),
        ("tag(log,range(1,9))", IntDistribution(1, 8, log=True)),
        ("interval(0,1)", FloatDistribution(0, 1)),
        ("tag(log,interval(1e-3,1))", FloatDistribution(1e-3, 1, log=True)),
        ("int(interval(1,8))", IntDistribution(1, 8)),
    ],
)
def test_grammar_becomes_a_distribution(sweep: str, distribution: BaseDistribution) -> None:
    assert space(f"key={sweep}").distributions() == {"key": distribution}


def test_command_line_overrides_params_key_by_key() -> None:
    both = space(
        "stages=2", "+weight=interval(0,1)", **{"stages": "range(1,4)", "device": "choice(a,b)", "n": 3}
    )
    assert list(both.dimensions) == ["device", "weight"]
    assert both.overrides({"device": "a", "weight": 0.25}) == ["stages=2", "n=3", "device=a", "+weight=0.25"]


def test_grid_is_the_product_with_the_last_dimension_fastest() -> None:
    points = list(space("a=1,2", "b=range(0,3)", "model=resnet50").grid())
    assert points == [{"a": a, "b": b} for a in (1, 2) for b in (0, 1, 2)]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ("range(0.1,0.4,0.1)", [0.1, 0.2, 0.3]),  # Hydra: 0.1, 0.2, 0.30000000000000004, 0.4
        ("range(0,1,0.3)", [0.0, 0.3, 0.6, 0.9]),
        ("range(0.7,0.1,-0.2)", [0.7, 0.5, 0.3]),
        ("range(1e-3,4e-3,1e-3)", [0.001, 0.002, 0.003]),
        ("float(range(1,3))", [1.0, 2.0]),
        ("range(1,8,3)", [1, 4, 7]),
    ],
)
def test_a_range_has_the_decimal_numbers_that_are_written_and_ends_before_its_stop(
    numbers: str, expected: list[float]
) -> None:
    found = [point["key"] for point in space(f"key={numbers}").grid()]
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))
    assert space("key=0,1").points("enqueue", {"key": numbers}) == [
        {"key": value} for value in expected if value in (0, 1)
    ]


@pytest.mark.filterwarnings("error")
def test_a_range_of_a_study_ends_where_that_of_a_grid_does() -> None:
    """Optuna left out 0.9, which Hydra's floats made 0.8999999999999999, with a warning of its own."""
    (dimension,) = space("key=range(0,1,0.3)").distributions().values()
    assert dimension == FloatDistribution(0, 0.9, step=0.3)
    assert [on_step(dimension, 0.3 * steps) for steps in range(4)] == [0, 0.3, 0.6, 0.9]
    with pytest.raises(ConfigError, match=r"key=range\(.*: its numbers have too many digits for a study"):
        space("key=range(-1,1000,0.012345678901234567)").distributions()


def test_grid_of_nothing_is_one_job() -> None:
    assert list(space("model=resnet50").grid()) == [{}]
    assert list(space("model=resnet50").probes()) == [{}]


def test_grid_refuses_an_interval_by_name() -> None:
    with pytest.raises(ConfigError, match=r"carbon_weight=interval\(0,1\).*cannot enumerate an interval"):
        list(space("carbon_weight=interval(0,1)").grid())


def test_probes_show_every_choice_once_and_no_more() -> None:
    probes = list(space("a=x,y,z", "b=p,q", "n=range(0,1000)", "w=interval(0.5,1)").probes())
    assert [probe["a"] for probe in probes] == ["x", "y", "z"]
    assert {probe["b"] for probe in probes} == {"p", "q"}
    assert {(probe["n"], probe["w"]) for probe in probes} == {(0, 0.5)}


def test_points_multiply_choices_and_leave_out_what_the_space_rules_out() -> None:
    study = space("stages=range(1,4)", "device=choice(auto,a,b)", "weight=0.5")
    assert study.points("enqueue", {"stages": 1, "device": "choice(a,b,gone)", "weight": 0.5}) == [
        {"stages": 1, "device": "a"},
        {"stages": 1, "device": "b"},
    ]
    assert study.points("enqueue", {"stages": 4}) == []
    assert study.points("enqueue", {"stages": 1, "weight": 0.6}) == []
    assert study.points("enqueue", {"device": None}) == []


def test_points_refuse_a_key_that_does_not_vary() -> None:
    with pytest.raises(ConfigError, match=r"sweep.enqueue: 'stagse' is no dimension .*stages"):
        space("stages=range(1,4)").points("sweep.enqueue", {"stagse": 1})


@pytest.mark.parametrize("bad", [
        "range(3,3)", "interval(1,0)", "tag(log,interval(0,1))", "choice(", "range(1,3,0)", "range(0.5,1,0)",
        "range(0,inf)", "interval(0,inf)", "interval(-inf,0)", "interval(nan,1)", "int(interval(1,inf))",
    ],
)  # fmt: skip
def test_bad_sweeps_are_config_errors_that_name_the_key(bad: str) -> None:
    with pytest.raises(ConfigError, match="key="):
        space(f"key={bad}").distributions()


def test_points_keep_to_the_steps_of_a_range() -> None:
    study = space("cut=range(0.1,1,0.1)", "stages=range(1,8,3)")
    assert study.points("enqueue", {"cut": "choice(0.05,0.1,0.25,0.3,0.9)"}) == [
        {"cut": 0.1},
        {"cut": 0.3},
        {"cut": 0.9},
    ]
    assert study.points("enqueue", {"stages": "choice(1,3,4,7)"}) == [{"stages": s} for s in (1, 4, 7)]


def test_families_are_the_first_words_of_what_varies() -> None:
    study = space("model=a,b", "+fleet/net@fleet.net=x,y", "scheduler.carbon_weight=0.5", "grid.zone=a,b")
    assert study.families == {"model", "fleet", "grid"}


@pytest.mark.parametrize("setting", ["sweep.seed=1,2", "sweep=pareto,none", "+sweep.compare.green=a,b"])
def test_a_setting_of_the_sweep_does_not_vary_within_it(setting: str) -> None:
    with pytest.raises(ConfigError, match="a setting of the sweep cannot vary within it"):
        space(setting)


# --- conditions -----------------------------------------------------------------------------------

CUTS = {"cut": {"stages": [2, 3]}, "second": {"stages": [3]}}


def conditional(*arguments: str) -> SearchSpace:
    return SearchSpace.parse({"second": "p,q", "cut": "x,y", "stages": "range(1,4)"}, arguments, None, CUTS)


def test_a_grid_has_each_point_once_where_a_dimension_hangs_on_another() -> None:
    """One stage: 1; two: x, y; three: x, y times p, q."""
    points = list(conditional().grid())
    assert len(points) == 1 + 2 + 4
    assert {tuple(sorted(point)) for point in points if point["stages"] == 2} == {("cut", "stages")}
    assert next(iter(conditional().dimensions)) == "stages"


def test_a_condition_may_hang_on_what_is_fixed_and_says_nothing_of_what_does_not_vary() -> None:
    assert [len(point) for point in conditional("stages=2").grid()] == [1, 1]
    assert list(conditional("stages=1").grid()) == [{}]
    assert len(list(conditional("second=p", "cut=x").grid())) == 3


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"cut": 3}, "sweep.conditions.cut: must be lists of values by key"),
        ({"cut": {"stages": 3}}, "must be lists of values by key"),
        ({"cut": {"fleet": ["a"]}}, "sweep.conditions.cut: fleet must vary without a condition of its own"),
        ({"cut": {"second": ["p"]}, "second": {"stages": [3]}}, "sweep.conditions.cut: second must vary"),
    ],
)
def test_a_condition_that_says_nothing_is_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSpace.parse({"second": "p,q", "cut": "x,y", "stages": "range(1,4)"}, (), None, bad)


@pytest.mark.parametrize(
    "values", ["shuffle(choice(x,y,z,u,v,w))", "shuffle(range(5,15))", "shuffle(4,5,6,7,8)"]
)
def test_a_shuffle_is_drawn_once(values: str) -> None:
    """A sweep that went on drew its grid anew: of 30 trials 25 points were distinct."""
    one, again = (SearchSpace.parse({}, [f"a={values}", "b=shuffle(1,2,3)"]) for _ in range(2))
    points = list(one.grid())
    assert points == list(again.grid())
    assert one.distributions() == again.distributions()
    plain = list(SearchSpace.parse({}, [f"a={values[8:-1]}", "b=1,2,3"]).grid())
    assert points != plain
    assert sorted(map(repr, points)) == sorted(map(repr, plain))
