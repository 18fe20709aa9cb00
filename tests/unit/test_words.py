"""What people read is plain English: no word of the list, no sentence that is too long."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.texts import Text, files, markdown_texts, python_texts, sentences

ROOT = Path(__file__).parents[2]
MOST_WORDS = 35
PAGES: Final = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
UNREAD_PAGES: Final = ()
PYTHON_FOLDERS: Final = ("headrace", "app", "agents", "tables", "web")

# A pattern, and what to write instead.
BANNED: Final = {
    r"\banew\b": "again; or recreate, restart",
    r"\bmended\b": "fixed",
    r"\blikewise\b": "also",
    r"\bshall\b": "must, will",
    r"\btold\b": "reported, listed, said",
    r"\btells\b": "reports, shows, names",
    r"\bfelt\b": "injected",
    r"\bunder ?way\b": "in flight, running",
    r"\bfor ?ever\b": "indefinitely, until …",
    r"\bminds?\b": "is affected",
    r"\bas ops wants\b": "by ops",
    r"\bin front\b": "the load balancer",
    r"\b(?:goes|go|going|gone|went) on\b": "continues, resumes",
    r"\bbegins? again\b": "restarts",
    r"\b(?:comes?|came) to\b(?! (?:\d|light))": "reaches, is",
    r"\bcome again\b(?! and)": "try again",
    r"\blook(?:s|ed|ing)?\b(?! up\b)": "checks, polls, reads",
    r"\btakes\b(?! (?:over|effect|place|part|precedence|about|at (?:least|most)|up to|longer|too long|\d"
    r"|two|three|four|five|seconds|note|an? \w*lock))(?![.,;])": "accepts, reads, receives",
    r"\b(?:it|that|this) is not so\b": "say what is the case",
    r"\bones\b": "name the thing",
    r"\bone's\b": "your, its",
    r"\bone (?:that|which|who|whose|with|without)\b": "name the thing",
    r"\b(?:the|this|that|each|every|another|such|new|old|first|next|last|only|other) one"
    r"(?=$|[,.;:)]| (?:is|was|has|in)\b)": "name the thing",
    r"\bso long after\b": "how long after",
    r"\bnot heard\b": "no messages",
    r"\bbreaks? itself\b": "fails",
}
PATTERNS: Final = {re.compile(pattern, re.IGNORECASE): better for pattern, better in BANNED.items()}
# A phrase with a real meaning, and why it is right: it is left out before the words are compared.
ALLOWED: Final = {
    r"\bkeep in mind\b": "an idiom, not somebody who minds",
}
MEANT: Final = [re.compile(phrase, re.IGNORECASE) for phrase in ALLOWED]


def findings(texts: Iterable[Text]) -> Iterator[str]:
    """A line for each fault: where it is, what it is, and the sentence."""
    for sentence in sentences(texts):
        text = sentence.text
        for phrase in MEANT:
            text = phrase.sub("", text)
        where = f"{sentence.file}:{sentence.line}"
        for pattern, better in PATTERNS.items():
            for found in pattern.finditer(text):
                yield f"{where}: “{found[0]}” (better: {better}): {sentence.text}"
        if sentence.words > MOST_WORDS:
            yield f"{where}: {sentence.words} words: {sentence.text}"


def pages() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        yield page, (ROOT / page).read_text("utf-8")
    for page, text in files(ROOT, ["docs"], ".md"):
        if page not in UNREAD_PAGES:
            yield page, text


def test_pages_are_plain_english() -> None:
    found = [line for page, text in pages() for line in findings(markdown_texts(page, text))]
    assert found == [], "\n" + "\n".join(found)


def test_code_is_plain_english() -> None:
    found = [line for file, text in files(ROOT, PYTHON_FOLDERS, ".py") for line in findings(python_texts(file, text))]
    assert found == [], "\n" + "\n".join(found)


LONG = " ".join(["word"] * MOST_WORDS)


@pytest.mark.parametrize(
    ("page", "line", "fault"),
    [
        ("It is\nmade\nanew.", 1, "anew"),
        ("Fine.\n\n- fine\n- Shall\n  we?", 4, "Shall"),
        ("| a | b |\n| --- | --- |\n| fine | goes on |", 3, "goes on"),
        ("Fine here.\nThis takes events.", 2, "takes"),
        ("# What it tells", 1, "tells"),
        ("Retry the old one.", 1, "old one"),
        (f"{LONG}\nmore.", 1, f"{MOST_WORDS + 1} words"),
    ],
)
def test_a_planted_fault_of_a_page_is_found(page: str, line: int, fault: str) -> None:
    (found,) = findings(markdown_texts("page.md", page))
    assert found.startswith(f"page.md:{line}: ")
    assert fault in found


@pytest.mark.parametrize(
    "page",
    [
        "Fine.\n\n```\nanew\n```\n\n`anew` is code. So is `shall\nit`.",
        "[fine](anew.md), <https://example.org/anew>",
        "<!-- anew -->",
        "It takes 5 s, takes over, and takes a lock. Look up the only one left.",
        f"{LONG}. {LONG}!\n\n- {LONG}\n- {LONG}",
        f"| {LONG} | {LONG} |",
        "Use it, e.g. for this. Keep in mind that one relay is active.",
    ],
)
def test_a_page_without_faults_has_none(page: str) -> None:
    assert list(findings(markdown_texts("page.md", page))) == []


@pytest.mark.parametrize(
    ("source", "line", "fault"),
    [
        ('"""Told."""', 1, "Told"),
        ('class A:\n    b: int\n    """So it\n    is mended."""', 3, "mended"),
        ('log.warning("Relay %s: it begins anew", name)', 1, "anew"),
        ('raise StartError(f"{name} goes " f"on with {count}")', 1, "goes on"),
        ("x = 1\n# A reason,\n# likewise.\ny = 2", 3, "likewise"),
        ("x = 1  # noqa: S101 - felt by all", 1, "felt"),
        (f'help = "{LONG} more"', 1, f"{MOST_WORDS + 1} words"),
    ],
)
def test_a_planted_fault_of_a_module_is_found(source: str, line: int, fault: str) -> None:
    (found,) = findings(python_texts("web/module.py", source))
    assert fault in found
    assert abs(int(found.split(":")[1]) - line) <= 1


@pytest.mark.parametrize(
    "source",
    [
        'FIND = """\nSELECT anew, shall, told FROM it"""',
        'find(f"UPDATE {table} SET felt = shall")',
        'told = {"told": "anew"}',
        '"""Fine.\n\n>>> told = 1 + anew\n"""',
        '"""`anew` is code."""  # type: ignore[anew]',
    ],
)
def test_a_module_without_faults_has_none(source: str) -> None:
    assert list(findings(python_texts("tables/module.py", source))) == []
