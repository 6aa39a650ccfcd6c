"""Canonical JSON for leaves: the one byte string of a record (RFC 8785).

The values allowed are those for which RFC 8785 needs no number rules: strings, integers below 2^53, booleans, lists and
maps with ASCII keys. For these, sorting by code point is sorting by UTF-16 code unit (section 3.2.3), and the standard
library's compact form is the canonical one (section 3.2.2.2); the tests hold it to the `rfc8785` package. Verifiers use
this module; what is stored was encoded by another one, `seal`, so that neither is checked by itself."""

import json
from collections.abc import Mapping
from typing import Any

from readingroom_hub.errors import BadInput

MAX_LEAF = 65_535
"""Bytes. A C2SP tlog-tiles entry has a 16-bit length."""
_MAX_INTEGER = 2**53 - 1
_MAX_DEPTH = 16

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


def check_values(value: object, where: str = "record", depth: int = 0) -> None:
    """Raises BadInput naming the first place in `value` that a leaf cannot hold."""
    if depth > _MAX_DEPTH:
        raise BadInput(f"{where} is nested too deep: an audit record has at most {_MAX_DEPTH} levels")
    if type(value) is int and -_MAX_INTEGER <= value <= _MAX_INTEGER:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise BadInput(f"{where} has the key {key!r}: an audit record has ASCII text as keys")
            if not isinstance(inner, str):  # most are: a call for each would be most of the cost
                check_values(inner, key, depth + 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            if not isinstance(inner, str):
                check_values(inner, where, depth + 1)
    else:
        _check_scalar(value, where)


def _check_scalar(value: object, where: str) -> None:
    if isinstance(value, int):
        if abs(value) > _MAX_INTEGER:
            raise BadInput(f"{where} is {value}: an audit record holds integers below 2^53 only")
    elif not isinstance(value, str):
        kind = type(value).__name__
        raise BadInput(f"{where} is of type {kind}: an audit record holds text, integers, booleans, lists and maps")


def canonical(value: Mapping[str, Any], limit: int = MAX_LEAF) -> bytes:
    """The canonical bytes of a checked value. Raises BadInput for text that is not Unicode, or too many bytes."""
    try:
        leaf = _encode(value).encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"the audit record holds text that is not Unicode: {error.reason}") from error
    if len(leaf) > limit:
        raise BadInput(f"the audit record is {len(leaf)} bytes long: at most {limit} are stored. Name fewer objects")
    return leaf


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key occurs twice")
    return row


_decode = json.JSONDecoder(object_pairs_hook=_no_duplicates).decode


def decode(leaf: bytes) -> dict[str, Any]:
    """A map that a leaf may hold, in any spelling: the caller compares. Raises BadInput."""
    try:
        value = _decode(leaf.decode())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the leaf is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadInput("the leaf is no JSON object")
    check_values(value)
    return value


def parse(leaf: bytes, limit: int) -> dict[str, Any]:
    """Parse strictly. Raises BadInput for what is not the canonical form of a map, or more than `limit` bytes."""
    value = decode(leaf)
    if canonical(value, limit) != leaf:
        raise BadInput("the leaf is not in canonical form")
    return value


def from_leaf(leaf: bytes) -> dict[str, Any]:
    """Parse a leaf or a record. Raises BadInput."""
    return parse(leaf, MAX_LEAF)
