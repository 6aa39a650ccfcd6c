"""The folders and files of one dataset version, as the kernel sees them: immutable, and shared by all sessions.

An inode number is (40 bits of the version's digest, 24 bits of place): the same in every session and after a restart,
and never that of something else, so no FORGET has to be counted."""

import os
import stat
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, groupby

from readingroom_hub.errors import SystemUnfit
from readingroom_hub.model.dataset import DatasetVersion, Instance, Manifest
from readingroom_hub.mount import messages as m
from readingroom_hub.mount import protocol as p
from readingroom_hub.mount.paths import file_names, in_series
from readingroom_hub.mount.tables import index_parquet
from readingroom_hub.mount.texts import (
    COLUMNS,
    INDEX_NAME,
    JSON_NAME,
    PARQUET_NAME,
    README_NAME,
    dataset_json,
    index_csv,
    index_rows,
    patient_folders,
    readme_md,
)
from readingroom_hub.services.reading import Series

Studies = dict[str, dict[str, list[tuple[bytes, p.Attr]]]]
"""Of one patient: study -> series -> names of files."""
PLACE_BITS = 24
PLACE_MASK = (1 << PLACE_BITS) - 1
FOLDER_PLACE = 0
FOREVER = 86_400
"""Seconds for which the kernel may believe what never changes; revocation invalidates it actively."""


def volume_of(version: DatasetVersion) -> int:
    """The upper 40 bits of this version's inode numbers, never 0."""
    return int(version.digest.removeprefix("sha256:")[:10], 16) | 1 << 39


def folder_ino(version: DatasetVersion) -> int:
    """The inode number of the version's top folder."""
    return volume_of(version) << PLACE_BITS | FOLDER_PLACE


def attributes(ino: int, size: int | None, seconds: int) -> p.Attr:
    """A read-only file of `size` bytes, or a folder where `size` is None, last changed at `seconds`."""
    mode, nlink = (stat.S_IFDIR | 0o555, 2) if size is None else (stat.S_IFREG | 0o444, 1)
    size = size or 0
    return p.Attr(
        ino,
        size,
        (size + 511) // 512,
        seconds,
        seconds,
        seconds,
        0,
        0,
        0,
        mode,
        nlink,
        os.getuid(),
        os.getgid(),
        0,
        4096,
        0,
    )


@dataclass(frozen=True, slots=True)
class File:
    """One instance with the series that an intent for it covers."""

    series: Series
    instance: Instance


@dataclass(frozen=True, slots=True)
class Text:
    """A generated file. `table`: its name, where it tells about single patients, so that its opening is recorded."""

    data: bytes
    table: str


class Listing:
    """A folder's entries, packed once for READDIR and READDIRPLUS. Offsets are places in the list, from 1."""

    def __init__(
        self, entries: list[tuple[bytes, p.Attr]], valid: int = FOREVER, unlisted: Iterable[tuple[bytes, p.Attr]] = ()
    ) -> None:
        """`unlisted`: names that can be looked up, and are not shown."""
        self.names = dict(unlisted) | dict(entries)
        self.entries = entries
        self._valid = valid
        self._packed: dict[bool, tuple[bytes, list[int]]] = {}

    def read(self, offset: int, size: int, plus: bool) -> bytes:
        """As many whole entries from `offset` on as fit `size` bytes; nothing at the end."""
        if plus not in self._packed:
            self._packed[plus] = self._pack(plus)
        data, ends = self._packed[plus]
        start = 0 if offset == 0 else ends[min(offset, len(ends)) - 1] if ends else 0
        stop = bisect_right(ends, start + size)
        return data[start : ends[stop - 1]] if stop > offset else b""

    def _pack(self, plus: bool) -> tuple[bytes, list[int]]:
        rows = [
            m.direntplus(attr, i, name, self._valid) if plus else m.dirent(attr, i, name)
            for i, (name, attr) in enumerate(self.entries, 1)
        ]
        return b"".join(rows), list(accumulate(len(r) for r in rows))


class Tree:
    """/<patient>/<study>/<series>/<n>.dcm and the generated files of one version; /<study>/<series>/<instance>.dcm is
    not listed and names the same images.

    Places: folder, generated files, then in the manifest's order each study, each series and its instances by number;
    last the patients' folders. A folder has one place for each of its names, since Linux knows a folder by one only."""

    def __init__(self, version: DatasetVersion, manifest: Manifest) -> None:
        self.version = version
        self._seconds = int(version.published_at.timestamp())
        self._volume = volume_of(version) << PLACE_BITS
        self._next = FOLDER_PLACE + 1
        self._files: dict[int, File] = {}
        self._folders: dict[int, Listing] = {}
        self._by_uid: dict[int, range] = {}
        self._texts: dict[int, Text] = {}
        top = [
            self._text(JSON_NAME, dataset_json(version)),
            self._text(README_NAME, readme_md(version, manifest)),
            self._text(INDEX_NAME, index_csv(manifest), table=True),
            self._text(PARQUET_NAME, index_parquet(COLUMNS, index_rows(manifest)), table=True),
        ]
        patients: dict[str, Studies] = {}
        studies: list[tuple[bytes, p.Attr]] = []
        for study, found in groupby(in_series(manifest), key=lambda series: series[0].study):
            place = self._take()
            studies.append((study.encode(), self._attr(place, None)))
            self._folders[place] = Listing([self._series(series, patients) for series in found])
        names = patient_folders(manifest)
        in_order = sorted(patients, key=names.__getitem__)
        top += [(names[patient].encode(), self._patient(patients[patient])) for patient in in_order]
        self._folders[FOLDER_PLACE] = Listing(top, unlisted=studies)

    def _text(self, name: bytes, data: bytes, table: bool = False) -> tuple[bytes, p.Attr]:
        place = self._take()
        self._texts[place] = Text(data, name.decode() if table else "")
        return name, self._attr(place, len(data))

    def _take(self) -> int:
        if self._next > PLACE_MASK:
            raise SystemUnfit(
                f"{self.version.label} has {self.version.instances} instances: more than a mount can name"
            )
        self._next += 1
        return self._next - 1

    def _attr(self, place: int, size: int | None) -> p.Attr:
        return attributes(self._volume | place, size, self._seconds)

    def _series(self, instances: list[Instance], patients: dict[str, Studies]) -> tuple[bytes, p.Attr]:
        """Give each instance its place, and its name in its patient's folder."""
        first = instances[0]
        series = Series(self.version, first.study, first.series, len(instances), sum(i.size for i in instances))
        folder = self._take()
        for instance, name in zip(instances, file_names(instances), strict=True):
            place = self._take()
            self._files[place] = File(series, instance)
            of_study = patients.setdefault(instance.patient, {}).setdefault(instance.study, {})
            of_study.setdefault(instance.series, []).append((name.encode(), self._attr(place, instance.size)))
        self._by_uid[folder] = range(self._next - len(instances), self._next)
        return first.series.encode(), self._attr(folder, None)

    def _patient(self, studies: Studies) -> p.Attr:
        return self._folder(
            [
                (study.encode(), self._folder([(uid.encode(), self._folder(files)) for uid, files in series.items()]))
                for study, series in studies.items()
            ]
        )

    def _folder(self, entries: list[tuple[bytes, p.Attr]]) -> p.Attr:
        place = self._take()
        self._folders[place] = Listing(entries)
        return self._attr(place, None)

    def folder(self, place: int) -> Listing | None:
        """The entries of a folder, or None where `place` is none."""
        found = self._folders.get(place)
        if found is None and place in self._by_uid:  # made when asked for: most are never looked into by UID
            rows = [(at, self._files[at].instance) for at in self._by_uid[place]]
            named = [(i.instance.encode() + b".dcm", self._attr(at, i.size)) for at, i in rows]
            found = self._folders[place] = Listing(named)
        return found

    def file(self, place: int) -> File | None:
        """The instance at `place`, or None where there is none."""
        return self._files.get(place)

    def text(self, place: int) -> Text | None:
        """The generated file at `place`, or None where there is none."""
        return self._texts.get(place)

    def following(self, place: int, count: int) -> list[File]:
        """The next `count` instances of the same series, fewer at its end."""
        series = self._files[place].series
        files = (self._files.get(p) for p in range(place + 1, place + 1 + count))
        return [f for f in files if f is not None and f.series is series]

    def attr(self, place: int) -> p.Attr | None:
        """The attributes at `place`, or None where nothing is."""
        if place in self._folders or place in self._by_uid:
            return self._attr(place, None)
        text = self._texts.get(place)
        if text is not None:
            return self._attr(place, len(text.data))
        file = self._files.get(place)
        return None if file is None else self._attr(place, file.instance.size)
