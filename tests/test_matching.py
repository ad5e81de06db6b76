"""Route table and matcher: the ranking on its own, and the table's answer for real paths."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.web.matching import Matcher, MethodNotAllowed, NotFound
from llmux.web.routes import GET, POST, ROUTES, Route


def route(pattern: str, handler: str = "x", methods: tuple[str, ...] = GET) -> Route:
    return Route(methods, pattern, "passthrough", handler)


class MatcherTests(SynchronousTestCase):
    def test_aLiteralBeatsAParameterWhateverTheOrder(self) -> None:
        matcher = Matcher([route("/a/:b", "parameter"), route("/a/b", "literal")])
        self.assertEqual(matcher.match("GET", b"/a/b").route.handler, "literal")

    def test_anyParameterPatternBeatsAnyWildcardPattern(self) -> None:
        matcher = Matcher([route("/x/lit/*rest", "wild"), route("/x/:p/y", "parameter")])
        self.assertEqual(matcher.match("GET", b"/x/lit/y").route.handler, "parameter")

    def test_theMethodFiltersBeforeTheRanking(self) -> None:
        matcher = Matcher([route("/a/b", "literal", POST), route("/a/:b", "parameter")])
        self.assertEqual(matcher.match("GET", b"/a/b").route.handler, "parameter")

    def test_aParameterTakesOneNonEmptySegment(self) -> None:
        matcher = Matcher([route("/a/:b/c")])
        for path in (b"/a//c", b"/a/x/y/c", b"/a/c"):
            self.assertRaises(NotFound, matcher.match, "GET", path)

    def test_anEncodedSlashStaysInsideItsSegment(self) -> None:
        matcher = Matcher([route("/a/:b/c")])
        self.assertEqual(matcher.match("GET", b"/a/x%2Fy/c").params, {"b": "x/y"})

    def test_aWildcardTakesNothingToo(self) -> None:
        matcher = Matcher([route("/a/*rest")])
        self.assertEqual(matcher.match("GET", b"/a").params, {"rest": ""})
        self.assertEqual(matcher.match("GET", b"/a/").params, {"rest": ""})

    def test_theLongerOfTwoWildcardsWins(self) -> None:
        matcher = Matcher([route("/p/*a", "short"), route("/p/q/*b", "long")])
        self.assertEqual(matcher.match("GET", b"/p/q/r").route.handler, "long")

    def test_theFirstOfTwoEqualPatternsWins(self) -> None:
        matcher = Matcher([route("/p/:a", "first"), route("/p/:b", "second")])
        self.assertEqual(matcher.match("GET", b"/p/q").route.handler, "first")

    def test_aWrongMethodNamesTheRightOnes(self) -> None:
        error = self.assertRaises(MethodNotAllowed, Matcher([route("/a")]).match, "PUT", b"/a")
        self.assertEqual(error.allow, ("GET", "HEAD"))

    def test_pathsAreCaseSensitive(self) -> None:
        self.assertRaises(NotFound, Matcher([route("/Api")]).match, "GET", b"/api")


class TableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.matcher = Matcher(ROUTES)

    def handler(self, method: str, path: bytes) -> str:
        return self.matcher.match(method, path).route.handler

    def test_oneTrailingSlashIsToleratedOnModelAndListRoutesOnly(self) -> None:
        self.assertEqual(self.handler("POST", b"/v1/messages/"), "anthropic.messages")
        self.assertEqual(self.handler("GET", b"/api/provider/x/v1/models/"), "models.list")
        self.assertRaises(NotFound, self.handler, "GET", b"/healthz/")
        for path in (b"/v1beta/models/", b"/api/provider/x/v1beta/models/"):
            self.assertEqual(self.handler("GET", path), "models.gemini", path)
            self.assertEqual(self.handler("POST", path), "gemini.generate", path)
        self.assertEqual(self.handler("GET", b"/v1/models/"), "models.by_headers")
        for method, path, params in (
            ("GET", b"/v1/models/org/m/", {"model": "org/m"}),
            ("GET", b"/v1beta/models/m/", {"action": "m"}),
            ("POST", b"/v1/models/m:generateContent/", {"action": "m:generateContent"}),
        ):
            self.assertEqual(self.matcher.match(method, path).params, params)
        self.assertRaises(NotFound, self.handler, "GET", b"/v1/models//")

    def test_aSlashTooMuchMakesNoOtherMethodRight(self) -> None:
        for path, allow in ((b"/v1beta/models/", ("GET", "HEAD", "POST")), (b"/v1/models/", ("GET", "HEAD"))):
            self.assertEqual(self.assertRaises(MethodNotAllowed, self.handler, "PUT", path).allow, allow)

    def test_aGeminiActionBelowV1NeedsAVerb(self) -> None:
        self.assertEqual(self.handler("POST", b"/v1/models/m:generateContent"), "gemini.generate")
        error = self.assertRaises(MethodNotAllowed, self.handler, "POST", b"/v1/models/m")
        self.assertEqual(error.allow, ("GET", "HEAD"))

    def test_theBridgeIsAModelRequestOnlyWithAModelInItsPath(self) -> None:
        root = b"/api/provider/google/v1beta1/"
        self.assertEqual(self.handler("POST", root + b"publishers/google/models/m:generateContent"), "gemini.bridge")
        self.assertEqual(self.handler("POST", root + b"models/m:generateContent"), "gemini.bridge")
        self.assertEqual(self.handler("POST", root + b"mymodels/m:generateContent"), "upstream.proxy")
        self.assertEqual(self.handler("GET", root + b"publishers/google/models/m"), "upstream.proxy")

    def test_namesAreWholeSegments(self) -> None:
        self.assertRaises(NotFound, self.handler, "GET", b"/api/userland")
