"""Parameters of a rerun: only names that the cell tagged `parameters` assigns, since papermill runs names as code."""

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from readingroom.errors import RerunRefused

_TAG = "parameters"


def parsed(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value is JSON where it parses as JSON, else text. Raises RerunRefused."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise RerunRefused(f"-p {pair!r} is not NAME=VALUE.")
        if name in found:
            raise RerunRefused(f"The parameter {name!r} is given twice.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def declared(notebook: Mapping[str, Any]) -> frozenset[str]:
    """Names that the cell tagged `parameters` assigns at its top level, by its syntax tree. Raises RerunRefused."""
    cells = [
        cell
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and _TAG in cell.get("metadata", {}).get("tags", [])
    ]
    if len(cells) > 1:
        raise RerunRefused("The notebook has several cells tagged `parameters`; leave the tag on one.")
    if not cells:
        return frozenset()
    try:
        tree = ast.parse(cells[0]["source"])
    except SyntaxError as error:
        raise RerunRefused(f"The cell tagged `parameters` is not plain Python: {error}.") from error
    return frozenset(name for statement in tree.body for name in _assigned(statement))


def _assigned(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    return []


def check(given: Mapping[str, Any], notebook: Mapping[str, Any]) -> None:
    """Raise RerunRefused unless every given name is declared by the notebook."""
    known = declared(notebook)
    for name in given:
        if not name.isidentifier() or name not in known:
            raise RerunRefused(
                f"The notebook declares no parameter {name[:80]!r}; its cell tagged `parameters` declares: "
                f"{', '.join(sorted(known)) or 'none'}."
            )
