"""Charts: what stands where, and that nothing but shapes and escaped text comes out."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.web.charts import HEIGHT, WIDTH, Chart, Series, lines, nice, stacked
from tests.markup import HOSTILE, Tree


def chart(*values: list[Any], highest: float = 10.0, name: str = "n") -> Chart:
    places = len(values[0])
    series = [Series(f"{name}{number}", f"c{number}", each) for number, each in enumerate(values)]
    names = [f"{name}{place}" for place in range(places)]
    return Chart(name, series, names, names, "top", highest, 2)


def bars(svg: str) -> list[dict[str, float]]:
    found = Tree(svg).all("rect", lambda attributes: "class" in attributes)
    return [{name: float(bar[name]) for name in ("x", "y", "width", "height")} for bar in found]


class ScaleTests(SynchronousTestCase):
    def test_scalesEndAtRoundNumbers(self) -> None:
        for highest, expected in (
            (0, 1),
            (1, 1),
            (3, 3),
            (7, 8),
            (9.5, 10),
            (11, 15),
            (101, 150),
            (0.7, 0.8),
            (0.0021, 0.003),
            (999, 1000),
            (21_000, 25_000),
        ):
            self.assertAlmostEqual(nice(highest), expected, msg=str(highest))

    @settings(max_examples=100, deadline=None)
    @given(st.floats(min_value=1e-6, max_value=1e15))
    def test_noValueIsAboveItsScaleAndNoneFarBelow(self, highest: float) -> None:
        self.assertGreaterEqual(nice(highest), highest)
        self.assertLessEqual(nice(highest), highest * 2.0001)


class BarTests(SynchronousTestCase):
    def test_barsAreAsHighAsTheirValues(self) -> None:
        first, second = bars(stacked(chart([10, 5])))
        self.assertEqual((first["y"], first["height"]), (0, HEIGHT))
        self.assertEqual((second["y"], second["height"]), (HEIGHT / 2, HEIGHT / 2))
        self.assertGreater(second["x"], first["x"] + first["width"])

    def test_barsStandOnEachOther(self) -> None:
        below, above = bars(stacked(chart([4], [2])))
        self.assertAlmostEqual(above["y"] + above["height"], below["y"], places=2)

    def test_nothingHasNoBarAndAlmostNothingHasOne(self) -> None:
        self.assertEqual(bars(stacked(chart([0, None]))), [])
        self.assertGreaterEqual(bars(stacked(chart([0.0001])))[0]["height"], 1)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.lists(st.integers(0, 10**9), min_size=24, max_size=24), min_size=1, max_size=4))
    def test_barsStayInside(self, values: list[list[int]]) -> None:
        highest = nice(max(map(sum, zip(*values, strict=True))))
        for bar in bars(stacked(chart(*values, highest=highest))):
            self.assertGreaterEqual(bar["x"], 0)
            self.assertLessEqual(bar["x"] + bar["width"], WIDTH + 0.01)
            self.assertGreaterEqual(bar["y"], 0)
            self.assertGreaterEqual(bar["height"], 0)
            self.assertLessEqual(bar["y"] + bar["height"], HEIGHT + 0.02)

    def test_aChartWithoutPlacesIsEmpty(self) -> None:
        for draw in (stacked, lines):
            self.assertEqual(bars(draw(chart([]))), [])


class LineTests(SynchronousTestCase):
    def points(self, values: list[Any], highest: float = 10.0) -> list[list[tuple[float, float]]]:
        return [
            [(float(x), float(y)) for x, y in (pair.split(",") for pair in line["points"].split())]
            for line in Tree(lines(chart(values, highest=highest))).all("polyline")
        ]

    def test_aLineGoesThroughTheMiddleOfItsPlaces(self) -> None:
        self.assertEqual(self.points([0, 10]), [[(WIDTH / 4, HEIGHT), (WIDTH * 3 / 4, 0)]])

    def test_aGapInterruptsIt(self) -> None:
        first, second = self.points([1, 2, None, 3, 4])
        self.assertEqual((len(first), len(second)), (2, 2))
        self.assertEqual(self.points([None, None]), [])

    def test_aValueAloneCanBeSeen(self) -> None:
        ((left, right),) = self.points([None, 5, None])
        self.assertEqual(left[1], right[1])
        self.assertGreater(right[0], left[0])

    def test_aValueAboveTheScaleStaysInside(self) -> None:
        self.assertEqual(self.points([99, 99])[0][0][1], 0)


class TextTests(SynchronousTestCase):
    def test_hostileTextStaysText(self) -> None:
        for draw in (stacked, lines):
            tree = Tree(draw(chart([1], name=HOSTILE)))
            self.assertEqual(tree.dangers(), [])
            self.assertIn(HOSTILE + "0", tree.texts("title"))
            self.assertEqual(tree.all("svg")[0]["aria-label"], HOSTILE)

    def test_everyPlaceSaysWhatItIsAndSomeAreLabelled(self) -> None:
        tree = Tree(stacked(chart([1, 2, 3, 4])))
        self.assertEqual(tree.texts("title"), ["n0", "n1", "n2", "n3"])
        self.assertEqual(tree.texts("span"), ["top", "n0", "n2"])
