"""The texts that people read: the prose of Markdown pages; docstrings, messages and comments of Python modules."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

LEAST_WORDS = 3
ITEM = re.compile(r"^\s*(?:[-*+]|\d{1,2}\.)\s+")
TABLE_RULE = re.compile(r"\s*\|?[\s:|-]+\|[\s:|-]*$")
FENCE = re.compile(r"\s*(?:```|~~~)")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
INLINE = (
    (re.compile(r"``.+?``|`[^`]+`", re.DOTALL), "Code"),
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"<?\b[a-z][a-z0-9+.-]*://\S*"), "Address"),
)
SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!etc)(?<=[.!?])[)\"'*_”]*\s+")
SQL = re.compile(r"\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|DROP|FROM|WHERE|AND|JOIN|ORDER BY|CASE|SET)\b")
PRAGMA = re.compile(r"^(?:!|type:|mypy:|pragma:|fmt:|ruff:).*|noqa(?:: [A-Z0-9, ]+)?(?: - )?")


class Text(NamedTuple):
    """A paragraph, heading, list item, table cell, docstring, message or comment."""

    file: str
    line: int
    """Where it begins, counted from 1."""
    text: str
    """Its lines; inline code and addresses are single words, so that they count as such."""


class Sentence(NamedTuple):
    """A sentence of a text, on one line."""

    file: str
    line: int
    text: str

    @property
    def words(self) -> int:
        """How many words it has; what has neither letter nor digit is none."""
        return sum(any(char.isalnum() for char in word) for word in self.text.split())


def sentences(texts: Iterable[Text]) -> Iterator[Sentence]:
    """The sentences of each text, in order."""
    for file, line, text in texts:
        begin = 0
        for end in [*SENTENCE_END.finditer(text), None]:
            sentence = text[begin : end.start() if end else None]
            if sentence.strip():
                yield Sentence(file, line + text.count("\n", 0, begin), " ".join(sentence.split()))
            begin = end.end() if end else begin


def markdown_texts(file: str, source: str, *, first_line: int = 1) -> Iterator[Text]:
    """The prose of a page, without code blocks and HTML comments."""
    source = COMMENT.sub(lambda match: "\n" * match[0].count("\n"), source)
    block: list[str] = []
    begin, fenced = first_line, False
    for number, line in enumerate([*source.split("\n"), ""], start=first_line):
        fence = FENCE.match(line) is not None
        row = line.lstrip().startswith("|")
        if block and (not line.strip() or fence or row or line.startswith("#") or ITEM.match(line)):
            yield Text(file, begin, plain("\n".join(block)))
            block = []
        if fence:
            fenced = not fenced
        elif fenced or not line.strip() or TABLE_RULE.match(line):
            continue
        elif row:
            for cell in re.split(r"(?<!\\)\|", line.strip().strip("|")):
                yield Text(file, number, plain(cell))
        else:
            begin = begin if block else number
            block.append(ITEM.sub("", line.lstrip("#"), count=1))


def plain(text: str) -> str:
    """The text with its inline code, links and addresses as words."""
    for pattern, word in INLINE:
        text = pattern.sub(word, text)
    return text


def python_texts(file: str, source: str) -> Iterator[Text]:
    """Docstrings, strings of three or more words that are not SQL, and comments."""
    module = ast.parse(source, file)
    sql = {id(part) for node in ast.walk(module) if _is_sql_constant(file, node) for part in ast.walk(node)}
    inside = {id(part) for node in ast.walk(module) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
        id(node) for node in ast.walk(module) if isinstance(node, ast.JoinedStr)
    }
    docstrings = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if id(node) in sql or id(node) in inside or not isinstance(node, ast.Constant | ast.JoinedStr):
            continue
        if id(node) in docstrings and isinstance(node, ast.Constant) and isinstance(node.value, str):
            kept = re.sub(r"^\s*(?:>>>|\.\.\.).*$", "", node.value, flags=re.MULTILINE)
            yield from markdown_texts(file, kept, first_line=node.lineno)
        else:
            yield from _message_texts(file, node)
    yield from _comments(file, source)


def _is_sql_constant(file: str, node: ast.AST) -> bool:
    """Whether it assigns to an upper-case name in tables/: SQL, by the project's rules."""
    if not file.startswith("tables/") or not isinstance(node, ast.Assign | ast.AnnAssign):
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return all(isinstance(target, ast.Name) and target.id.strip("_").isupper() for target in targets)


def _message_texts(file: str, node: ast.Constant | ast.JoinedStr) -> Iterator[Text]:
    """Each line of it that has enough words."""
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        text = "".join(map(str, parts))
    elif isinstance(node.value, str):
        text = node.value
    else:
        return
    if SQL.match(text):
        return
    for offset, line in enumerate(text.split("\n")):
        if len(re.findall(r"(?<!\S)[\"'(]?[A-Za-z%{]", line)) >= LEAST_WORDS:
            yield Text(file, node.lineno + offset, plain(line))


def _comments(file: str, source: str) -> Iterator[Text]:
    """Comments; those that stand on lines of their own, one below the other, are one text."""
    block: list[str] = []
    begin = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, alone = token.start[0], token.line.lstrip().startswith("#")
        if block and not (alone and line == last + 1):
            yield Text(file, begin, plain("\n".join(block)))
            block = []
        begin = begin if block else line
        block.append(PRAGMA.sub("", token.string.lstrip("# ")))
        last = line if alone else 0
    if block:
        yield Text(file, begin, plain("\n".join(block)))


def files(root: Path, folders: Iterable[str], ending: str) -> Iterator[tuple[str, str]]:
    """The files of these folders with their texts, by path from the root."""
    for folder in folders:
        for path in sorted((root / folder).rglob(f"*{ending}")):
            yield path.relative_to(root).as_posix(), path.read_text("utf-8")
