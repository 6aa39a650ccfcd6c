"""What a cell shows when a read below /data is refused."""

import errno

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from readingroom import plain_errors
from readingroom.errors import NotAVolume


@pytest.fixture
def data(tmp_path, monkeypatch):
    (tmp_path / "mount" / "chest").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "mount")
    (tmp_path / "data" / "README.txt").write_text(
        "Project lung: Nodules\n/data/brain  readable until 2030-01-01 00:00 UTC\n\nRefused in this session:\n"
        "2026-11-25 10:00 UTC  Access to chest was withdrawn on 2026-11-25. Ask a data steward.\n"
    )
    monkeypatch.setattr(plain_errors, "DATA", tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_refused_read_is_one_sentence_and_what_the_mount_says_of_it(data, number):
    said = plain_errors.sentence(OSError(number, "x", str(data / "chest" / "1.dcm")), data)
    assert said.startswith("Access to chest was withdrawn or has ended;")
    assert said.endswith("2026-11-25 10:00 UTC  Access to chest was withdrawn on 2026-11-25. Ask a data steward.")


def test_names_by_way_of_links_are_understood(data, tmp_path):
    (tmp_path / "home").symlink_to(data)
    said = plain_errors.sentence(OSError(errno.EIO, "x", str(tmp_path / "home" / "brain" / "1.dcm")), data)
    assert said.startswith("1.dcm of brain could not be read")
    assert "readable until" not in said


LOST = "2026-11-25 10:01 UTC  Your home folder was away for a moment and is back. Files must be opened again."


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOTCONN, "not connected", "/project/x"), "/project/x: not connected. Open the file again;"),
        (OSError(errno.EIO, "I/O error", "/home/researcher/x"), "/home/researcher/x: I/O error. Open the file again;"),
        (OSError(errno.EROFS, "read-only", "x"), "x: read-only. Open the file again;"),
        (OSError(errno.EIO, "I/O error"), "I/O error. Open the file again;"),
        (OSError(errno.ECONNABORTED, "aborted"), "aborted. Open the file again;"),
    ],
)
def test_a_folder_that_was_lost_is_what_the_mount_says_of_it(data, error, words):
    before = plain_errors.sentence(error, data)
    assert before is None or "a dataset that was open" in before
    with (data / "README.txt").open("a") as file:
        file.write(f"{LOST}\n")
    said = plain_errors.sentence(error, data)
    assert said.startswith(words)
    assert said.endswith(f"restart this kernel.\n{LOST}")
    assert plain_errors.sentence(OSError(errno.EIO, "x", str(data / "chest" / "1.dcm")), data).startswith("1.dcm of")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "x", "/root/x"),
        OSError(errno.ENOENT, "x", "/data/x"),
        OSError(errno.EACCES, "x", 7),
        OSError(errno.ENOTCONN, "x"),
        OSError("x"),
        OSError(errno.EACCES, "x", "a\0b"),
        ValueError("x"),
    ],
)
def test_other_errors_are_shown_as_ever(data, error):
    assert plain_errors.sentence(error, data) is None


def test_what_this_package_raises_is_a_sentence_already(data):
    assert plain_errors.sentence(NotAVolume("two slices at one place"), data) == "two slices at one place"


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    yield InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    InteractiveShell.clear_instance()


NO_GRID = """
from readingroom.errors import NotAVolume
def deep():
    raise NotAVolume("no grid")
deep()
"""


def test_a_cell_fails_with_the_sentence_alone_and_tb_shows_the_frames(shell, capsys):
    plain_errors.load_ipython_extension(shell)
    done = shell.run_cell(
        "from readingroom.errors import NotAVolume\ndef deep():\n    raise NotAVolume('no grid')\ndeep()"
    )
    assert isinstance(done.error_in_exec, NotAVolume)
    said = "".join(capsys.readouterr())
    assert "no grid" in said
    assert "deep" not in said
    shell.run_line_magic("tb", "")
    assert "deep" in "".join(capsys.readouterr())


def test_a_cell_that_fails_otherwise_shows_its_frames(shell, capsys):
    plain_errors.load_ipython_extension(shell)
    shell.run_cell("def deep():\n    open('/no/such/file')\ndeep()")
    said = "".join(capsys.readouterr())
    assert "deep" in said
    assert "FileNotFoundError" in said
