"""Model lists have the shape of the family that asks, and their pages add up."""

from __future__ import annotations

from anthropic.types import ModelInfo
from google.genai.types import Model as GeminiModel
from openai.types import Model as OpenAIModel
from twisted.trial.unittest import SynchronousTestCase

from llmux.web.model_lists import LISTS, MODELS, anthropic_list, family, gemini_list, openai_list

SERVED = [(f"m{n}", "p") for n in range(5)]


class ListTests(SynchronousTestCase):
    def test_theSdksOwnTypesAcceptEveryModel(self) -> None:
        OpenAIModel.model_validate(openai_list(SERVED, {})["data"][0])
        ModelInfo.model_validate(anthropic_list(SERVED, {})["data"][0])
        model = gemini_list(SERVED, {})["models"][0]
        actions = model.pop("supportedGenerationMethods")  # the SDK reads it under the name of its own field
        self.assertEqual(GeminiModel.model_validate({**model, "supportedActions": actions}).name, "models/m0")

    def test_anEmptyListIsAList(self) -> None:
        self.assertEqual(openai_list([], {}), {"object": "list", "data": []})
        self.assertEqual(anthropic_list([], {})["has_more"], False)
        self.assertEqual(gemini_list([], {}), {"models": []})

    def test_anthropicPagesForwardVisitEveryModelOnce(self) -> None:
        seen: list[str] = []
        query = {"limit": "2"}
        for _ in range(5):
            page = anthropic_list(SERVED, query)
            seen += [model["id"] for model in page["data"]]
            if not page["has_more"]:
                break
            query["after_id"] = page["last_id"]
        self.assertEqual(seen, [name for name, _ in SERVED])

    def test_anthropicPagesBackwardEndBeforeTheGivenId(self) -> None:
        page = anthropic_list(SERVED, {"limit": "2", "before_id": "m3"})
        self.assertEqual(([model["id"] for model in page["data"]], page["has_more"]), (["m1", "m2"], True))

    def test_geminiPagesVisitEveryModelOnce(self) -> None:
        seen: list[str] = []
        query = {"pageSize": "2"}
        while True:
            page = gemini_list(SERVED, query)
            seen += [model["name"] for model in page["models"]]
            if "nextPageToken" not in page:
                break
            query["pageToken"] = page["nextPageToken"]
        self.assertEqual(seen, [f"models/{name}" for name, _ in SERVED])

    def test_nonsenseInAQueryMeansTheDefault(self) -> None:
        for query in ({"limit": "-1"}, {"limit": "x"}, {"limit": "٣"}, {"limit": "9" * 40}):
            self.assertEqual(len(anthropic_list(SERVED, query)["data"]), 5)
        self.assertEqual(len(gemini_list(SERVED, {"pageToken": "x", "pageSize": ""})["models"]), 5)

    def test_theCallersHeadersTellTheFamily(self) -> None:
        self.assertEqual(family({b"x-goog-api-key": b"k", b"anthropic-version": b"v"}, {}), "gemini")
        self.assertEqual(family({}, {"key": "k"}), "gemini")
        self.assertEqual(family({b"anthropic-version": b"v"}, {}), "anthropic")
        self.assertEqual(family({b"authorization": b"Bearer k"}, {}), "openai")

    def test_everyFamilyHasAListAndAModel(self) -> None:
        self.assertEqual(set(LISTS), set(MODELS))
