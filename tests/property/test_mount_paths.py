"""Names of patients' folders and of files: safe, different for different things, and the same every time."""

import re
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet
from hypothesis import given
from hypothesis import strategies as st

from readingroom_hub.model.dataset import Instance, manifest_of
from readingroom_hub.model.ids import UID, DatasetName, ProjectId
from readingroom_hub.mount.paths import LONGEST, file_names, in_series, patient_folder
from readingroom_hub.mount.tables import GROUP, index_parquet
from readingroom_hub.mount.texts import patient_folders

PATIENTS = st.text(max_size=400) | st.sampled_from(
    ["", ".", "..", "a/b", "README.md", "index.csv", "_nameless", "1.2.3"]
)
IMAGE = Instance(UID("1.2.3"), UID("1.2.4"), UID("1.2.5"), UID("1.2.840.10008.5.1.4.1.1.2"), "CT", 1, 1, "0" * 64)


@given(st.sets(PATIENTS, max_size=20))
def test_each_patient_has_a_safe_folder_of_its_own(patients: set[str]) -> None:
    made = [replace(IMAGE, instance=UID(f"1.2.5.{n}"), patient=p) for n, p in enumerate(sorted(patients), 1)]
    folders = patient_folders(manifest_of(ProjectId("lung"), DatasetName("ct"), "profile", made))
    assert folders.keys() == patients
    assert len(set(folders.values())) == len(patients)
    for name in folders.values():
        assert re.fullmatch(r"[A-Za-z0-9_%][A-Za-z0-9._%~-]*", name)
        assert len(name) <= LONGEST
        assert name not in {"README.md", "index.csv", "index.parquet", "dataset.json", "1.2.3"}


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True))
def test_a_usual_pseudonym_is_its_own_name(patient: str) -> None:
    assert patient_folder(patient) == patient


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_files_are_numbered_by_instance_number_then_uid(numbers: list[int]) -> None:
    made = [replace(IMAGE, instance=UID(f"1.2.5.{n}"), number=number) for n, number in enumerate(numbers, 1)]
    (found,) = in_series(manifest_of(ProjectId("lung"), DatasetName("ct"), "profile", made))
    assert found == sorted(made, key=lambda i: (i.number, i.instance))
    names = file_names(found)
    assert names == sorted(set(names))
    assert [int(n.removesuffix(".dcm")) for n in names] == list(range(1, len(made) + 1))


def test_names_of_a_long_series_sort_as_numbers_do() -> None:
    names = file_names([IMAGE] * 12_345)
    assert names[0], names[-1] == ("00001.dcm", "12345.dcm")
    assert names == sorted(names)


def test_a_long_table_is_written_in_groups_and_the_same_every_time() -> None:
    rows = [(f"P-{n}", n) for n in range(GROUP + 5)]
    data = index_parquet(("patient", "number"), iter(rows))
    assert data == index_parquet(("patient", "number"), rows)
    file = pyarrow.parquet.ParquetFile(pa.BufferReader(data))
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [GROUP, 5]
    assert [tuple(row.values()) for row in file.read().to_pylist()] == rows


def test_a_table_of_nothing_has_its_columns() -> None:
    file = pyarrow.parquet.ParquetFile(pa.BufferReader(index_parquet(("patient", "number"), ())))
    assert file.schema_arrow.names == ["patient", "number"]
    assert file.metadata.num_rows == 0
