"""index.csv grouped to series, in memory that does not grow with instances."""

import tracemalloc

import pytest

from readingroom.errors import BadInput
from readingroom.index import series_of

HEAD = "path,patient,study_date,modality,description,body_part,rows,columns,frames,spacing,study,series,instance,new\n"


def write(folder, rows, head=HEAD):
    with (folder / "index.csv").open("w", encoding="utf-8") as file:
        file.write(head)
        file.writelines(rows)


def lines(series, instances):
    for s in range(series):
        for i in range(instances):
            yield f'P1/x.dcm,P1,20200101,CT,"a, ""b""",CHEST,512,256,2,0.5\\0.75,1.2.{s // 2},1.3.{s},1.4.{s}.{i},x\n'


def test_instances_are_counted_to_series_and_the_middle_one_is_known(tmp_path):
    write(tmp_path, lines(3, 5))
    found = series_of(tmp_path, "lung")
    assert [(r.study, r.series, r.n, r.shape, r.middle) for r in found] == [
        (f"1.2.{s // 2}", f"1.3.{s}", 5, (10, 512, 256), f"1.4.{s}.2") for s in range(3)
    ]
    assert (found[0].patient, found[0].description, found[0].body_part) == ("P1", 'a, "b"', "CHEST")
    assert found[0].modality is found[2].modality


def test_memory_grows_with_series_and_not_with_instances(tmp_path):
    peaks = []
    for instances in (100, 1000):
        write(tmp_path, lines(20, instances))
        tracemalloc.start()
        assert len(series_of(tmp_path, "lung")) == 20
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # One series' rows are held at a time: 20,000 of them would be 20 MB.
    assert peaks[1] < 3_000_000, peaks


def test_an_index_without_later_columns_leaves_them_empty(tmp_path):
    head = "path,study,series,modality,description,rows,columns,frames,spacing\n"
    write(tmp_path, ["a,1.2,1.3,SR,,0,0,0,\n"], head)
    (row,) = series_of(tmp_path, "lung")
    assert (row.patient, row.body_part, row.middle, row.shape) == ("", "", "", ())


@pytest.mark.parametrize("rows", [["a,b\n"], [next(lines(1, 1)).replace("512", "wide")]])
def test_rows_that_are_none_are_named(tmp_path, rows):
    write(tmp_path, rows)
    with pytest.raises(BadInput, match=r"index\.csv could not be understood"):
        series_of(tmp_path, "lung")


def test_a_folder_without_an_index_has_none(tmp_path):
    assert series_of(tmp_path, "lung") is None
