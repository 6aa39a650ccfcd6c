import errno
import subprocess
import sys

import numpy as np
import pytest
from tests.support.dicom_series import VERSION, ct, instance, phantom, write_index, write_series

from readingroom.data import dataset, datasets
from readingroom.errors import AccessEnded, BadInput, Damaged, NotAVolume, NotFound, NotNow
from readingroom.files import DatasetCard, reading


@pytest.fixture
def root(tmp_path):
    write_series(tmp_path, "chest-ct-demo", list(ct(phantom(6))))
    write_series(
        tmp_path, "brain-mr-demo", [instance(np.zeros((4, 4), np.uint16), modality="MR", description="T1 <b>")]
    )
    return tmp_path


def test_datasets_are_listed_with_their_versions(root):
    found = datasets(root)
    assert [d.name for d in found] == ["brain-mr-demo", "chest-ct-demo"]
    assert found[1].version == VERSION
    assert found[1].label in repr(found)
    assert "<td>chest-ct-demo</td>" in found._repr_html_()


def test_the_setting_names_the_folder(root, monkeypatch):
    monkeypatch.setenv("READINGROOM_DATA", str(root))
    assert len(datasets()) == 2


def test_a_series_tells_its_shape_from_one_header(root):
    (series,) = dataset("chest-ct-demo", root).series()
    assert (series.modality, series.description, series.n) == ("CT", "Phantom", 6)
    assert series.shape == (6, 64, 48)
    assert series.spacing == (0.5, 0.75)
    # The others were not read: with the first alone damaged files go unnoticed.
    for path in series.files[1:]:
        path.write_bytes(b"")
    assert dataset("chest-ct-demo", root).series()[0].modality == "CT"


def test_the_index_tells_what_a_series_is_without_opening_an_image(root):
    (series,) = dataset("chest-ct-demo", root).series()
    told = (series.modality, series.description, series.n, series.shape, series.spacing)
    write_index(root, "chest-ct-demo")
    for path in series.files:
        path.write_bytes(b"")
    (again,) = dataset("chest-ct-demo", root).series()
    assert (again.modality, again.description, again.n, again.shape, again.spacing) == told
    assert again.files == series.files


def test_an_index_that_is_not_one_is_named(root):
    (root / "chest-ct-demo" / "index.csv").write_text("path,study\n1,2\n")
    with pytest.raises(BadInput, match=r"index\.csv could not be understood"):
        dataset("chest-ct-demo", root).series()


def test_tables_escape_what_headers_say(root):
    page = dataset("brain-mr-demo", root).series()._repr_html_()
    assert "T1 &lt;b&gt;" in page
    assert "<b>" not in page


def test_long_listings_read_only_what_they_show(tmp_path):
    for _ in range(52):
        write_series(tmp_path, "many", [instance(np.zeros((2, 2), np.uint16))])
    shown = dataset("many", tmp_path).series()
    shown[51].files[0].write_bytes(b"damaged")
    assert "and 2 more series" in repr(shown)
    assert len(shown[:10]) == 10


def test_an_unknown_dataset_names_those_there_are(root):
    with pytest.raises(NotFound, match="brain-mr-demo, chest-ct-demo"):
        dataset("lung", root)


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.EACCES, AccessEnded, "Access to chest was withdrawn or has ended; see /data/README.txt; ask your data"),
        (errno.EIO, Damaged, "damaged, or its key cannot be had; see /data/README.txt"),
        (errno.ETIMEDOUT, NotNow, r"its store, the catalogue or the audit record does not answer. Try again in a"),
        (errno.ENOENT, NotFound, "is not there"),
        (errno.ENOTCONN, Damaged, "mounted again"),
        (errno.EMFILE, NotNow, r"x\.dcm of chest was not given out: this session holds as many files open as it may"),
        (errno.EDQUOT, NotNow, r"Go on in a minute; or ask the operator"),
        (errno.EAGAIN, NotNow, r"does not answer. Try again in some seconds"),
    ],
)
def test_refusals_of_the_mount_are_plain_sentences(tmp_path, number, kind, says):
    with pytest.raises(kind, match=says) as caught, reading(tmp_path / "x.dcm", "chest"):
        raise OSError(number, "as the mount says")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_truncated_file_is_damaged(root):
    (series,) = dataset("chest-ct-demo", root).series()
    path = series.files[2]
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(Damaged, match=r"could not be decoded.*tell your data steward"):
        series.volume()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format":"readingroom-dataset/2"}'])
def test_a_card_of_another_form_is_refused(root, text):
    (root / "chest-ct-demo" / "dataset.json").write_text(text)
    with pytest.raises(BadInput, match=r"dataset\.json"):
        DatasetCard.read(root, "chest-ct-demo")


def test_a_series_without_images_says_so(tmp_path):
    report = instance(np.zeros((2, 2), np.uint16), modality="SR")
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(report, keyword)
    write_series(tmp_path, "reports", [report])
    (series,) = dataset("reports", tmp_path).series()
    assert series.shape == ()
    assert "no images" in repr(series)
    with pytest.raises(NotAVolume, match="holds no images"):
        series.view()


def test_import_is_quick_and_pulls_in_nothing():
    code = "import sys, readingroom; print(sorted({'pydicom', 'numpy', 'anywidget', 'papermill'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_names_work_in_any_order():
    code = (
        "import readingroom; readingroom.view; assert callable(readingroom.datasets) and callable(readingroom.dataset)"
        "; assert callable(readingroom.session); assert callable(readingroom.datasets)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
