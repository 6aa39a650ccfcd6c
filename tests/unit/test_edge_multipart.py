"""A multipart body, in whatever pieces it comes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readingroom_hub.adapters.edge_multipart import Content, End, Head, Multipart, media_type
from readingroom_hub.errors import BadInput

BOUNDARY = "b=_0'x"


def taken(pieces):
    parts, reader = [], Multipart(BOUNDARY)
    for piece in pieces:
        for event in reader.feed(piece):
            match event:
                case Head(media_type=kind):
                    parts.append([kind, b"", False])
                case Content(data=data):
                    assert data
                    parts[-1][1] += data
                case End():
                    parts[-1][2] = True
    reader.close()
    assert all(whole for _, _, whole in parts)
    return [(kind, data) for kind, data, _ in parts]


# Content that looks like the beginning, or nearly the whole, of a delimiter.
content = st.lists(
    st.sampled_from([b"\r\n", b"--", b"\r\n--b=_0'", b"\r\n--b=_0'x9", b"\0", b"DICM", b"-"]) | st.binary(max_size=9),
    max_size=9,
).map(b"".join)


@given(
    parts=st.lists(st.tuples(st.sampled_from(["application/dicom", "text/plain", ""]), content), max_size=4),
    before=st.sampled_from([b"", b"a preamble\r\n"]),
    padding=st.sampled_from([b"", b" \t"]),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_any_cutting_gives_the_same_parts(parts, before, padding, cuts):
    delimiter = b"--" + BOUNDARY.encode()
    if any(b"\r\n" + delimiter in b"\r\n" + data + b"\r\n" and _ends_line(data, delimiter) for _, data in parts):
        return  # such content may not stand in a body with this boundary
    body = before
    for kind, data in parts:
        header = f"Content-Type: {kind}\r\nX-Other: 1\r\n".encode() if kind else b""
        body += delimiter + padding + b"\r\n" + header + b"\r\n" + data + b"\r\n"
    body += delimiter + b"--\r\nan epilogue"
    places = sorted({min(c, len(body)) for c in cuts} | {0, len(body)})
    pieces = [body[a:b] for a, b in pairwise(places)]
    if not parts:
        assert taken(pieces) == []
    else:
        assert taken(pieces) == parts
    assert taken([bytes([b]) for b in body]) == taken([body])


def _ends_line(data, delimiter):
    import re

    return re.search(rb"\r\n" + re.escape(delimiter) + rb"(--|[ \t]*\r\n)", b"\r\n" + data + b"\r\n") is not None


@pytest.mark.parametrize("body", [b"", b"--b=_0'x\r\n\r\ncut", b"no boundary at all", b"--b=_0'x\r\n" + b"h" * 20000])
def test_what_is_no_whole_body_is_refused(body):
    with pytest.raises(BadInput):
        taken([body])


def test_media_types():
    kind, named = media_type('Multipart/Related; type="application/dicom"; Boundary=x-y')
    assert (kind, named) == ("multipart/related", {"type": "application/dicom", "boundary": "x-y"})
    for boundary in ("", "a" * 71, "a\r\nb", "ends with blank "):
        with pytest.raises(BadInput):
            Multipart(boundary)
