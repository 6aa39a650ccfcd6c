"""Encapsulated PDF, a page at a time. It is drawn here, in the sandbox: no browser runs what lies in it."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pypdfium2
import traitlets

from readingroom.errors import BadInput
from readingroom.objects import read_object, undecodable
from readingroom.viewers.sheet import Control, Drawing, Sheet

CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
"""Encapsulated PDF Storage."""
_LONGEST = 1600
"""Pixels of a page's longer side, whatever its size in the file."""


class PagesView(Sheet):
    """The pages of the documents of one series. Each look at a page reads its file again."""

    file = traitlets.Int(0, help="Which document of the series, from 0.").tag(sync=True)
    page = traitlets.Int(0, help="Which page, from 0.").tag(sync=True)

    def __init__(self, paths: Sequence[Path], dataset: str, **traits: Any) -> None:
        """Raises BadInput where one holds no PDF, AccessEnded, Damaged, NotFound."""
        self.counts = [self._count(path, dataset) for path in paths]
        """Pages of each document."""
        super().__init__(
            "Document",
            paths,
            dataset,
            [
                Control("page", "Page", 0, max(self.counts) - 1, 1, ("PageUp", "PageDown")),
                Control("file", "Document", 0, len(paths) - 1, 1, ("[", "]")),
            ],
            **traits,
        )

    @traitlets.validate("file", "page")
    def _valid(self, proposal: Any) -> Any:
        return self._within(proposal)

    def _draw(self, at: Mapping[str, Any], dark: bool) -> Drawing:  # noqa: ARG002  # see below
        """See Sheet. A PNG; paper is white, in the dark too."""
        path, count = self._paths[at.get("file", 0)], self.counts[at.get("file", 0)]
        number = min(at.get("page", 0), count - 1)
        document = self._open(path, self._dataset)
        try:
            page = document[number]
            picture = page.render(scale=_LONGEST / max(*page.get_size(), 1.0)).to_pil()
        except (pypdfium2.PdfiumError, ValueError, MemoryError) as error:
            raise undecodable(path, self._dataset) from error
        finally:
            document.close()
        png = io.BytesIO()
        picture.save(png, "PNG")
        return Drawing("image/png", png.getvalue(), f"Page {number + 1} of {count} of {path.name}")

    @staticmethod
    def _open(path: Path, dataset: str) -> pypdfium2.PdfDocument:
        found = read_object(path, dataset)
        said = str(found.get("MIMETypeOfEncapsulatedDocument") or "no type")
        if found.get("SOPClassUID") != CLASS or "EncapsulatedDocument" not in found:
            raise BadInput(f"{path.name} of {dataset} encapsulates no PDF but {said}.")
        try:
            return pypdfium2.PdfDocument(bytes(found.EncapsulatedDocument))
        except (pypdfium2.PdfiumError, ValueError, TypeError) as error:
            raise undecodable(path, dataset) from error

    def _count(self, path: Path, dataset: str) -> int:
        document = self._open(path, dataset)
        try:
            count = len(document)
        finally:
            document.close()
        if not count:
            raise BadInput(f"{path.name} of {dataset} has no pages.")
        return count
