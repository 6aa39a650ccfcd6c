"""What a researcher starts from: datasets below /data, their series, and from there volumes and views."""

import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from readingroom import headers, settings, suv
from readingroom.errors import BadInput, NotFound
from readingroom.files import DatasetCard, dicom_files, folders
from readingroom.index import SeriesRow, series_of
from readingroom.objects import read_object
from readingroom.phases import Phase, phases_of
from readingroom.planes import Header, read_header
from readingroom.viewers import DatasetBrowser, MprView, SeriesView, kinds
from readingroom.viewers.header_table import HeaderTable
from readingroom.viewers.mpr import in_slabs
from readingroom.viewers.oblique import oblique
from readingroom.viewers.presented import presented
from readingroom.viewers.rendering import VolumeView
from readingroom.volume import Frames, Volume

T = TypeVar("T")
_SHOWN_ROWS = 50


class Series:
    """One DICOM series: its files, read when asked for. `row`: what the dataset's index.csv says of it, where there is
    one; else the header of its first file tells the same."""

    def __init__(self, folder: Path, dataset: str, row: SeriesRow | None = None) -> None:
        self.folder = folder
        self.dataset = dataset
        self._row = row

    @property
    def uid(self) -> str:
        """The Series Instance UID."""
        return self.folder.name

    @property
    def study(self) -> str:
        """The Study Instance UID."""
        return self.folder.parent.name

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Its files, in no meaningful order. Raises AccessEnded, Damaged, NotFound."""
        return tuple(dicom_files(self.folder, self.dataset))

    @cached_property
    def _first(self) -> Header:
        if not self.files:
            raise NotFound(f"Series {self.uid} of {self.dataset} holds no files. Tell your data steward.")
        return read_header(self.files[0], self.dataset)

    @property
    def modality(self) -> str:
        """For example CT, MR, US."""
        return self._row.modality if self._row else self._first.modality

    @property
    def description(self) -> str:
        """Series Description, or an empty text."""
        return self._row.description if self._row else self._first.description

    @property
    def n(self) -> int:
        """How many files (SOP Instances) it holds."""
        return self._row.n if self._row else len(self.files)

    @property
    def shape(self) -> tuple[int, ...]:
        """(pictures, rows, columns) as index or first header let expect; empty where the series holds no images."""
        if self._row:
            return self._row.shape
        planes = self._first.planes
        return (self.n * len(planes), planes[0].rows, planes[0].columns) if planes else ()

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Pixel Spacing (between rows, between columns) in mm by index or first header, or None.

        The distance between slices follows from all positions: see `volume().spacing`."""
        if self._row:
            row, _, column = self._row.spacing.partition("\\")
            return (float(row), float(column)) if column else None
        planes = self._first.planes
        return planes[0].spacing if planes else None

    def frames(self) -> Frames:
        """The pictures in display order, decoded one at a time when indexed."""
        return Frames.of_files(self.files, self.dataset)

    def volume(self) -> Volume:
        """The whole series as one array with its place in the patient. Raises NotAVolume, which says why not."""
        return self.frames().volume()

    def phases(self) -> list[Phase]:
        """Where images share their places: by time, echo, diffusion weighting or the like, one image a place in each.

        Raises NotAVolume, which says why they cannot be told apart; AccessEnded, Damaged, NotFound."""
        return phases_of(self.frames())

    def suv(self, kind: str = "bw") -> Volume:
        """A PET series as standardised uptake values, by QIBA's vendor-neutral pseudo-code.

        `kind`: bw (body weight, g/ml), lbm (lean body mass by James, g/ml), lbmjanma (by Janmahasatian), ibw (ideal
        body weight, g/ml), bsa (body surface area, cm2/ml). Raises BadInput, which names the attributes that are
        missing; NotAVolume."""
        return suv.volume(self.files, self.dataset, kind)

    def view(self, **traits: Any) -> Any:
        """A SeriesView: it decodes the slice on the screen, and holds no volume. `traits`: index, window, invert;
        static="none" keeps no picture in a saved page.

        A series without pictures: a StructuredReport, a TraceView of waveforms, or a PagesView of documents. A whole
        slide: a SlideView, whose traits are centre, field, path and plane.
        Raises NotAVolume for what has no viewer; AccessEnded, Damaged, NotFound."""
        other = self.modality == "SM" or not self.shape
        if other and self.files and (found := kinds.view_of(self.files, self.dataset, **traits)) is not None:
            return found
        return SeriesView(self.frames(), **traits)

    def present(self, path: str | Path, **traits: Any) -> SeriesView:
        """A viewer of the pictures that a presentation state (GSPS) refers to, as it shows them: windowed, turned, with
        its graphics and words. `path`: the state's file. What of it is not followed stands below the picture.

        Raises BadInput, which says why it cannot be shown here; AccessEnded, Damaged, NotFound."""
        pictures = presented(self.frames(), Path(path))
        return SeriesView(pictures, **pictures.shown_area() | traits)

    def header(self, other: "Series | None" = None, file: int = 0) -> HeaderTable:
        """All that one file says but its pixels, as a table to search in; with `other`, beside the same file of another
        series, and what differs. `file`: its number in `files`, from 0.

        Raises BadInput where there is no such file, AccessEnded, Damaged, NotFound."""
        both = [self] if other is None else [self, other]
        for one in both:
            if not 0 <= file < len(one.files):
                raise BadInput(f"There is no file {file}: series {one.uid} has {len(one.files)}, counted from 0.")
        found = [read_object(one.files[file], one.dataset, pixels=False) for one in both]
        return HeaderTable(
            headers.rows_of(*found), [f"{one.modality} {one.description} ...{one.uid[-12:]}" for one in both]
        )

    def mpr(self, slab: float = 0.0, how: str = "max", static: str | None = None) -> MprView:
        """Axial, coronal and sagittal with a linked crosshair: reads the whole series.

        `slab`: mm of thickness that each picture shows at once, as `how`: max, min or mean. `static`: see view.
        Raises NotAVolume, which says why the series has no other planes; BadInput."""
        return MprView(self.volume(), slab, how, static=static)

    def oblique(
        self, normal: Sequence[float], slab: float = 0.0, how: str = "max", spacing: float | None = None, **traits: Any
    ) -> SeriesView:
        """A viewer of planes across `normal` (x, y, z in the patient, LPS): reads the whole series, and interpolates.

        `slab`, `how`: see mpr. `spacing`: mm between planes and pixels; the finest of the series where it is left out.
        Raises NotAVolume, BadInput."""
        return SeriesView(in_slabs(oblique(self.volume(), normal, spacing), slab, how), **traits)

    def render(self, preset: str | None = None, **traits: Any) -> VolumeView:
        """The series as a volume drawn whole, seen from any side: reads it whole.

        `preset`: a transfer function, see `VolumeView.presets`. `traits`: azimuth, elevation, zoom, static. An edge of
        more than 256 voxels is drawn by the averages of blocks. Raises NotAVolume, which says why the series forms no
        volume; BadInput; AccessEnded, Damaged, NotFound."""
        return VolumeView(self.volume(), **({"preset": preset} if preset else {}), **traits)

    def __repr__(self) -> str:
        return f"Series({self.modality} {self.description!r}, {_times(self.shape) or 'no images'}, ...{self.uid[-12:]})"

    def _repr_html_(self) -> str:
        return Listing([self], "series", _SERIES_COLUMNS)._repr_html_()


class Dataset:
    """One approved dataset version, as this session may read it."""

    def __init__(self, root: Path, name: str) -> None:
        self.folder = root / name
        self.name = name

    @cached_property
    def card(self) -> DatasetCard:
        """Its dataset.json. Raises AccessEnded, Damaged, NotFound."""
        return DatasetCard.read(self.folder.parent, self.name)

    @cached_property
    def _index(self) -> list[SeriesRow] | None:
        return series_of(self.folder, self.name)

    @property
    def version(self) -> str:
        """The manifest's digest, which names this version for ever."""
        return self.card.version

    @property
    def label(self) -> str:
        """NAME@VERSION, short, as people write it."""
        return self.card.label

    def series(self) -> "Listing[Series]":
        """Its series, sorted by study and series UID. Reads index.csv, and no image."""
        if self._index:
            return self._listed(self._index)
        studies = folders(self.folder, self.name)
        return Listing(
            [Series(folder, self.name) for study in studies for folder in folders(study, self.name)],
            "series",
            _SERIES_COLUMNS,
        )

    def browse(self, static: str | None = None) -> DatasetBrowser:
        """A grid of thumbnails with filters, which opens a series below it. Reads index.csv, and the middle image of
        each series that comes to rest on the screen. `static`: see Series.view.

        Raises NotFound where the dataset has no index, AccessEnded, Damaged, BadInput."""
        if self._index is None:
            raise NotFound(f"{self.name} has no index.csv to browse by: use series().")
        return DatasetBrowser(self.folder, self.name, self.label, self._index, self._listed, static)

    def _listed(self, rows: Sequence[SeriesRow]) -> "Listing[Series]":
        return Listing(_Indexed(self.folder, self.name, rows), "series", _SERIES_COLUMNS)

    def __repr__(self) -> str:
        return f"Dataset({self.label}, {self.card.series} series, {self.card.instances} instances)"

    def _repr_html_(self) -> str:
        return Listing([self], "datasets", _DATASET_COLUMNS)._repr_html_()


@dataclass(frozen=True, slots=True)
class _Indexed(Sequence[Series]):
    """The series of an index, each made when it is asked for."""

    folder: Path
    dataset: str
    rows: Sequence[SeriesRow]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _Indexed(self.folder, self.dataset, self.rows[index])
        row = self.rows[index]
        return Series(self.folder / row.study / row.series, self.dataset, row)


@dataclass(frozen=True)
class Listing(Sequence[T], Generic[T]):
    """A list that shows itself as a table. Only the rows that are shown are read."""

    items: Sequence[T]
    noun: str
    columns: Sequence[tuple[str, Callable[[Any], str]]]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Listing(self.items[index], self.noun, self.columns)
        return self.items[index]

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def _rows(self) -> Iterable[list[str]]:
        for i, item in enumerate(self.items[:_SHOWN_ROWS]):
            yield [str(i), *(cell(item) for _, cell in self.columns)]

    @property
    def _rest(self) -> str:
        return f"and {len(self) - _SHOWN_ROWS} more {self.noun}" if len(self) > _SHOWN_ROWS else ""

    def __repr__(self) -> str:
        if not self.items:
            return f"no {self.noun}"
        table = [["", *(name for name, _ in self.columns)], *self._rows()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table]
        return "\n".join([*lines, self._rest] if self._rest else lines)

    def _repr_html_(self) -> str:
        if not self.items:
            return f"<p>no {self.noun}</p>"
        head = "".join(
            f'<th scope="col">{html.escape(name)}</th>' for name in ("", *(name for name, _ in self.columns))
        )
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self._rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{self._rest}</p>"


def _times(numbers: Iterable[float]) -> str:
    return " x ".join(f"{n:.4g}" for n in numbers)


_SERIES_COLUMNS: Sequence[tuple[str, Callable[[Series], str]]] = (
    ("modality", lambda s: s.modality),
    ("description", lambda s: s.description),
    ("files", lambda s: str(s.n)),
    ("shape", lambda s: _times(s.shape)),
    ("pixel spacing (mm)", lambda s: _times(s.spacing or ())),
    ("series UID", lambda s: s.uid),
)
_DATASET_COLUMNS: Sequence[tuple[str, Callable[[Dataset], str]]] = (
    ("dataset", lambda d: d.name),
    ("version", lambda d: d.label),
    ("studies", lambda d: str(d.card.studies)),
    ("series", lambda d: str(d.card.series)),
    ("instances", lambda d: str(d.card.instances)),
    ("size", lambda d: f"{d.card.size / 1e6:.1f} MB"),
)


def datasets(root: Path | None = None) -> Listing[Dataset]:
    """The datasets that this session may read. `root` is /data unless the setting READINGROOM_DATA says otherwise."""
    root = root or settings.data_root()
    return Listing([Dataset(root, folder.name) for folder in folders(root, "/data")], "datasets", _DATASET_COLUMNS)


def dataset(name: str, root: Path | None = None) -> Dataset:
    """One dataset by its name. Raises NotFound with the names there are, AccessEnded, Damaged."""
    found = datasets(root)
    for item in found:
        if item.name == name:
            return item
    raise NotFound(
        f"No dataset {name!r} in this session; there are: {', '.join(d.name for d in found) or 'none'}. "
        "Ask your data steward for access."
    )
