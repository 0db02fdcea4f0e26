"""No code recognizes anything by prose: `why` is read by people, what a program needs is `reason`.

A word of a sentence changes when somebody mends the sentence, or is in it by chance, as the name of
a host is. So every expression of the source in which a `why` is compared, searched or taken apart
is found here, in Python and in SQL.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "synergy"
# Methods of a text, a column or a pattern that look at what a text says.
LOOKS = {
    "startswith", "endswith", "removeprefix", "removesuffix", "split", "rsplit", "splitlines",
    "partition", "rpartition", "find", "rfind", "index", "rindex", "count", "replace",
    "like", "ilike", "not_like", "not_ilike", "contains", "icontains", "in_", "not_in",
    "regexp_match", "op", "match", "fullmatch", "search", "sub", "findall", "finditer",
}  # fmt: skip
IN_SQL = re.compile(r"\b(?:WHERE|WHEN|AND|OR)\b[^;]*\bwhy\s*(?:=|<>|!=|~|\b(?:NOT )?(?:LIKE|IN)\b)")


def is_why(node: ast.AST) -> bool:
    """Return whether an expression is some `why`: a name, an attribute or an entry."""
    match node:
        case ast.Name(id="why") | ast.Attribute(attr="why"):
            return True
        case ast.Subscript(slice=ast.Constant(value="why")):
            return True
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value="why"), *_]):
            return True
        case ast.Call(func=ast.Attribute(value=inner)):  # why.lower(), why.strip(), ...
            return is_why(inner)
        case ast.Call(func=ast.Name(id="str"), args=[inner]):
            return is_why(inner)
        case ast.Subscript(value=inner):
            return is_why(inner)
        case ast.BinOp() | ast.JoinedStr() | ast.FormattedValue():
            return any(is_why(part) for part in ast.iter_child_nodes(node))
    return False


def is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def compares(node: ast.AST) -> bool:
    """Return whether a node looks at what a `why` says."""
    match node:
        case ast.Compare(left=left, comparators=others):
            sides = [left, *others]
            return any(map(is_why, sides)) and not any(map(is_none, sides))
        case ast.Call(func=ast.Attribute(value=of, attr=name), args=args) if name in LOOKS:
            return is_why(of) or any(map(is_why, args))
        case ast.Match(subject=subject):
            return is_why(subject)
        case ast.Subscript(slice=key):  # TABLE[request.why], and why[:5] where it is looked at
            return is_why(key)
        case ast.Constant(value=str(text)):
            return bool(IN_SQL.search(text))
    return False


def places(source: str) -> list[int]:
    """The numbers of the lines of a source that look at what a `why` says."""
    found = (node for node in ast.walk(ast.parse(source)) if compares(node))
    return sorted({getattr(node, "lineno", 0) for node in found})


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_no_module_compares_prose(path: Path) -> None:
    assert [f"{path.name}:{line}" for line in places(path.read_text())] == []


@pytest.mark.parametrize(
    "source",
    [
        'request.why.startswith("lost: ")',
        'request.why == "held_by_admin"',
        "HELD != request.why",
        '"lost" in request.why',
        'why.split(":")[0]',
        'why.lower().partition(": ")',
        'why[:5] == "lost:"',
        'shown["why"].endswith("it")',
        'shown.get("why", "") == "x"',
        'text.replace(found["why"], "")',
        "REASONS[request.why]",
        're.match("lost", move.step.why)',
        'select(Row).where(Row.why.like("lost:%"))',
        'Row.why.in_(["held_by_user"])',
        "\"UPDATE requests SET a = 1 WHERE why LIKE 'lost:%'\"",
        'f"{one.why}" == "x"',
        "match request.why:\n  case 'x': pass",
    ],
)
def test_each_way_to_compare_prose_is_found(source: str) -> None:
    assert places(source) == [1]


@pytest.mark.parametrize(
    "source",
    [
        'if request.why: print(f"it is {request.why}")',
        "if why is None: pass",
        "transition(request, event, now, why=request.why, reason=reason)",
        'shown["why"] = one.why[:300]',
        "request.reason is Reason.LOST",
    ],
)
def test_prose_may_be_told_cut_and_be_missing(source: str) -> None:
    assert places(source) == []
