"""Reruns with papermill and a sealed kernel, as processes."""

import json
import socket
import subprocess
import sys

import nbformat
import nbformat.v4 as nb
import pytest
from tests.support.dicom_series import VERSION, ct, phantom, write_series

from readingroom.rerun import seal
from readingroom.rerun.cli import main

WANTED = f"chest-ct-demo@{VERSION[7:19]}"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_series(root, "chest-ct-demo", list(ct(phantom(8))))
    write_series(root, "brain-mr-demo", list(ct(phantom(2))))
    return root


def write(path, sources):
    made = [nb.new_code_cell("n = 1\nlabel = 'a=b'", metadata={"tags": ["parameters"]})]
    nbformat.write(nb.new_notebook(cells=made + [nb.new_code_cell(source) for source in sources]), path)
    return path


@pytest.fixture
def rerun(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("READINGROOM_DATA", str(root))
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "sesame")

    def run(cells, *options, wanted=WANTED):
        if isinstance(cells, list):
            cells = write(tmp_path / "in.ipynb", cells)
        command = [sys.executable, "-m", "readingroom.rerun.cli", str(cells), "--dataset", wanted, *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    return run


def report(tmp_path, name="in-rerun"):
    return json.loads((tmp_path / name / "rerun.json").read_text())


def outputs(tmp_path, name="in-rerun"):
    executed = nbformat.read(tmp_path / name / "executed.ipynb", as_version=4)
    return ["".join(o.get("text", "") for o in c.get("outputs", [])) for c in executed.cells]


PROBE = """
import os, pathlib, socket, subprocess, json, ctypes
def tried(f):
    try:
        return str(f())
    except OSError as error:
        return type(error).__name__ + str(error.errno)
hub = socket.socket(socket.AF_UNIX)
found = {
    "ipv4": tried(lambda: socket.socket()),
    "ipv6": tried(lambda: socket.socket(socket.AF_INET6)),
    "netlink": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "datagram": tried(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)),
    "hub": tried(lambda: hub.connect(HUB)),
    "child": subprocess.run(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/80"], stderr=subprocess.DEVNULL).returncode,
    "io_uring": ctypes.CDLL(None).syscall(425, 1, None),
    "token": str([v for v in os.environ.values() if "sesame" in v]),
    "parent": tried(lambda: open(f"/proc/{os.getppid()}/environ").read()),
    "home": os.environ["HOME"],
    "notebook": tried(lambda: open(NOTEBOOK).read()),
    "write": tried(lambda: open(NOTEBOOK, "w")),
    "other": tried(lambda: sorted(pathlib.Path(OTHER).iterdir())),
    "signal": tried(lambda: os.kill(os.getppid(), 0)),
}
print(json.dumps(found))
"""


def test_the_sealed_kernel_reaches_the_dataset_and_nothing_else(rerun, root, tmp_path):
    hub = tmp_path / "hub.sock"
    names = f"HUB = {str(hub)!r}\nNOTEBOOK = {str(tmp_path / 'in.ipynb')!r}\nOTHER = {str(root / 'brain-mr-demo')!r}\n"
    data = (
        "import readingroom\nprint([d.name for d in readingroom.datasets()], "
        "readingroom.datasets()[0].series()[0].volume().array.sum(), n, label)"
    )
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(hub))
        listening.listen()
        ended = rerun([names + PROBE, data, "open('result.csv', 'w').write('1')"], "-p", "n=41")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    _, _, probed, read, _ = outputs(tmp_path)
    found = json.loads(probed)
    assert found["ipv4"] == found["ipv6"] == "OSError101"
    assert found["netlink"] == "OSError95"
    assert found["datagram"] == found["hub"] == "PermissionError13"
    assert found["child"] == 1
    assert found["io_uring"] == -1
    assert found["token"] == "[]"
    assert found["home"].startswith("/tmp/rerun-")
    assert read == f"['chest-ct-demo'] {phantom(8).sum()} 41 a=b\n"
    assert (tmp_path / "in-rerun" / "files" / "result.csv").read_text() == "1"
    if seal.landlock_abi():
        assert {found[k] for k in ("parent", "notebook", "write", "other")} == {"PermissionError13"}
    if seal.landlock_abi() >= 6:
        assert found["signal"] == "PermissionError1"
    said = report(tmp_path)
    assert (said["format"], said["version"], said["attested"]) == ("readingroom-rerun/1", VERSION, False)
    assert said["outcome"]["ending"] == "complete"
    assert said["parameters"] == {"n": 41}
    assert said["comparison"] is None
    assert ("NOT sealed" in said["seal"]["files"]) == (seal.landlock_abi() == 0)


def test_a_rerun_of_its_own_result_is_reproduced_and_a_changed_output_is_not(rerun, tmp_path):
    plot = "%matplotlib inline\nimport matplotlib.pyplot as plt\n_ = plt.plot(volume.array.mean((1, 2)))"
    mean = "import readingroom\nvolume = readingroom.datasets()[0].series()[0].volume()\nprint(volume.array.mean())"
    show = "readingroom.view(volume)"
    assert rerun([mean, plot, show], "--output", "first").returncode == 0
    first = tmp_path / "first" / "executed.ipynb"
    text = first.read_text()
    assert '"status"' not in text
    assert '"widgets"' not in text
    assert rerun(first, "--output", "second").returncode == 0
    compared = report(tmp_path, "second")["comparison"]
    assert compared["verdict"] == "identical"
    assert compared["reproduced"] is True
    assert len(compared["cells"]) == 4
    changed = nbformat.read(first, as_version=4)
    printed = next(c for c in changed.cells if "array.mean())" in c.source)
    printed.outputs[0].text = "-98.0\n"
    nbformat.write(changed, tmp_path / "changed.ipynb")
    ended = rerun(tmp_path / "changed.ipynb", "--output", "third")
    assert ended.returncode == 0
    compared = report(tmp_path, "third")["comparison"]
    assert [c["verdict"] for c in compared["cells"]].count("differs") == 1
    assert compared["reproduced"] is False
    page = (tmp_path / "third" / "rerun.html").read_text()
    assert "-98.0 was stored" in page


@pytest.mark.parametrize(
    ("source", "ending", "options"),
    [
        ("import os\nos.kill(os.getpid(), 9)", "kernel-died", ()),
        ("import sys\nsys.exit(0)", "ended-early", ()),
        ("1 / 0", "error", ()),
        ("while True: pass", "timeout", ("--timeout", "1")),
    ],
)
def test_a_run_that_did_not_end_well_says_so_and_where(rerun, tmp_path, source, ending, options):
    ended = rerun(["print('before')", source, "print('after')"], *options)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    said = report(tmp_path)
    assert (said["outcome"]["ending"], said["outcome"]["cell"]) == (ending, 3)
    assert "ell 3" in ended.stdout
    executed = nbformat.read(tmp_path / "in-rerun" / "executed.ipynb", as_version=4)
    counts = [c.execution_count for c in executed.cells]
    # A killed kernel may not have lived to announce the third.
    assert counts in ([1, 2, 3, None], [1, 2, None, None])
    assert executed.cells[1].outputs[0].text == "before\n"
    assert not any("papermill" in c.metadata for c in executed.cells)
    assert len(executed.cells) == 4


def test_ending_in_the_last_cell_is_not_complete(rerun, tmp_path):
    assert rerun(["raise SystemExit"]).returncode == 1
    assert report(tmp_path)["outcome"]["ending"] == "ended-early"


@pytest.mark.parametrize(
    ("wanted", "options", "says"),
    [
        ("chest-ct-demo@000000000000", (), f"/data holds chest-ct-demo@{VERSION}, but chest-ct-demo@000000000000"),
        ("lung@3f2a91bc04de", (), "is not there"),
        ("chest-ct-demo", (), "is not NAME@VERSION"),
        ("../chest@3f2a91bc04de", (), "is not NAME@VERSION"),
        ("chest-ct-demo@3f2a", (), "at least 12"),
        (WANTED, ("-p", "y=1; print('PWNED'); z"), "declares no parameter"),
        (WANTED, ("-p", "other=1"), "declares: label, n"),
        (WANTED, ("--output", "."), "is there already"),
    ],
)
@pytest.mark.usefixtures("rerun")
def test_refusals_name_what_is_wrong_and_write_nothing(tmp_path, capsys, wanted, options, says):
    path = write(tmp_path / "in.ipynb", ["print(1)"])
    assert main([str(path), "--dataset", wanted, *options]) == 2
    assert says in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.ipynb"]


@pytest.mark.usefixtures("rerun")
def test_what_is_no_notebook_is_refused(tmp_path, capsys):
    (tmp_path / "x.ipynb").write_text("{")
    assert main([str(tmp_path / "x.ipynb"), "--dataset", WANTED]) == 2
    assert "cannot be read as a notebook" in capsys.readouterr().err
