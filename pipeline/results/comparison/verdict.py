"""Why the carbon of two runs differs, in a few sentences. Pure."""

from __future__ import annotations

from pipeline.carbon.coefficients import unbounded
from pipeline.carbon.decomposition import EFFECTS, effects
from pipeline.results.comparison.side import Side
from pipeline.results.units import number


def verdict(a: Side, b: Side, bounds: tuple[float, float] | None) -> str:
    """The change of carbon, its causes, and whether the order can change within the coefficients' ranges.

    bounds: see `change_bounds`.
    """
    if not a.footprint.total_g:
        return f"{a.name} emits nothing, and {b.name} {number(b.footprint.total_g)} g per inference."
    sentences = [
        _change(a, b),
        _cleaner_electricity(a, b),
        _different_runs(a, b),
        _different_devices(a, b),
        _unbounded(a, b) if bounds is None else _within(bounds, a),
    ]
    return " ".join(filter(None, sentences))


def _change(a: Side, b: Side) -> str:
    before_g = a.footprint.total_g
    found = effects(a.footprint, b.footprint)
    by = ", ".join(f"{key} {found[key] / before_g:+.1%}" for key in EFFECTS if found[key])
    change_g = b.footprint.total_g - before_g
    order = (
        f"{abs(change_g) / before_g:.1%} {'less' if change_g < 0 else 'more'} than"
        if change_g
        else "as much as"
    )
    return f"{b.name} emits {order} {a.name}: {by or 'no effect differs'}."


def _cleaner_electricity(a: Side, b: Side) -> str:
    """A warning where intensity explains more than the whole saving, because energy rose."""
    before, after = a.footprint, b.footprint
    change_g = after.total_g - before.total_g
    intensity_g = effects(before, after)["intensity"]
    if not (intensity_g < change_g < 0 and after.energy_j > before.energy_j):
        return ""
    return (
        f"Cleaner electricity explains {intensity_g / change_g:.0%} of the saving, "
        f"more than the whole: energy per inference rose by {after.energy_j / before.energy_j - 1:.1%}."
    )


def _different_runs(a: Side, b: Side) -> str:
    differ = [key for key in a.about if key in b.about and a.about[key] != b.about[key]]
    return f"The runs also differ in: {', '.join(differ)}." if differ else ""


def _different_devices(a: Side, b: Side) -> str:
    """A warning where each run counts the idle power and the manufacture of its own devices only."""
    reserved = [each.reserved for each in (a, b)]
    if (
        a.accounting is None
        or a.accounting.reserved == "fleet"
        or reserved[0] == reserved[1]
        or not all(reserved)
    ):
        return ""
    lists = " and ".join(
        f"{side.name} of {', '.join(own)}" for side, own in zip((a, b), reserved, strict=True)
    )
    return (
        f"Idle power and manufacture count on the devices that each used only: {lists}; if the others are on "
        "too, account both again with accounting.reserved=fleet."
    )


def _unbounded(a: Side, b: Side) -> str:
    """Why there are no bounds, where ranges are given."""
    sides = [(side.fleet, side.accounting) for side in (a, b) if side.fleet and side.accounting]
    names = dict.fromkeys(name for fleet, rules in sides for name in unbounded(fleet, rules))
    if not names:
        return ""
    return f"The ranges bound nothing, as active_w is idle_w for {', '.join(names)}: state it a little above."


def _within(bounds: tuple[float, float], a: Side) -> str:
    low, high = (end / a.footprint.total_g for end in bounds)
    order = "the order holds." if low > 0 or high < 0 else "it is uncertain which of the two emits less."
    of = f"of what {a.name} emits as stated, which may itself be more"
    return f"Within the coefficients' ranges the change is {low:+.1%} to {high:+.1%} {of}: {order}"
