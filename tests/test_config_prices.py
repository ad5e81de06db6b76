"""The user's own price list."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.config import ConfigError
from llmux.config.prices import Price, PriceList, load_prices


class PriceListTests(SynchronousTestCase):
    def complaints(self, data: bytes) -> list[str]:
        error = self.assertRaises(ConfigError, load_prices, data, "p.yaml")
        return [str(each).removeprefix("llmux: p.yaml:") for each in error.all]

    def test_pricesAreReadInTheOrderOfTheFile(self) -> None:
        text = (
            b"currency: EUR\nmodels:\n"
            b"  - {model: claude-*, input: 5, output: 25, cached: 0.5, cache-write: 6.25, provider: anthropic}\n"
            b"  - {model: '*', input: 1, output: 2}\n"
        )
        self.assertEqual(
            load_prices(text, "p.yaml"),
            PriceList(
                "EUR", (Price("claude-*", 5.0, 25.0, 0.5, 6.25, "anthropic"), Price("*", 1.0, 2.0, None, None, None))
            ),
        )

    def test_everyProblemHasItsPlace(self) -> None:
        self.assertEqual(
            self.complaints(b"models:\n  - {model: x, input: cheap, outputs: 3}\n  - {input: 1, output: -1}\n"),
            [
                "1:1: currency: is missing",
                "2:5: models[0].output: is missing",
                "2:23: models[0].input: expected a number of units of currency, without a unit",
                "2:30: models[0].outputs: unknown key; did you mean output?",
                "3:5: models[1].model: is missing",
                "3:24: models[1].output: must be between 0 and 1e+06 units of currency",
            ],
        )

    def test_otherThingsThanAListOfPricesAreRefused(self) -> None:
        self.assertEqual(self.complaints(b"\xff"), ["1:1: file: is not in UTF-8"])
        self.assertIn("the file is empty", self.complaints(b"")[0])
        self.assertIn("expected", self.complaints(b"currency: x\nmodels: 3\n")[0])
