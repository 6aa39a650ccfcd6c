"""The receiver at the hospital's edge: the real process, real senders, its disk looked through."""

import io
import json
import subprocess
import sys

import psutil
import pydicom
import pytest
import requests
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dimse_primitives import C_STORE
from tests.support.dicom_objects import as_file, ct_image
from tests.support.edge_process import (
    ROOT,
    archive,
    association,
    certificates,
    edge,
    everything,
    opened,
    results,
    send,
    services,
    waiting,
)
from typer.testing import CliRunner

from readingroom_hub.cli.main import app
from readingroom_hub.deid.received import from_data_set

STUDIES = "1.2.276.99.20200101.1", "1.2.276.99.20200101.7"
NAMES = b"zwiebelturm", b"hannelore", b"okonjoreyes", b"cornelius", b"zt-990417", b"1.2.276.99"
REAL = [
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_bigendian.dcm",
    "emri_small.dcm",
    "rtdose.dcm",
    "image_dfl.dcm",
]


def image(number, **elements):
    elements = {"SOPInstanceUID": f"1.2.276.99.3.{number}", "InstanceNumber": number, **elements}
    return opened(as_file(ct_image(**elements)))


def planted():
    """Two people's studies; the first one's text names the second person."""
    other = {"PatientName": "Okonjoreyes^Cornelius", "PatientID": "OC-4711007", "StudyInstanceUID": STUDIES[1]}
    return [
        image(1, SeriesDescription="before Okonjoreyes' scan"),
        image(2),
        image(3, **other),
        image(4, **other, SOPClassUID="1.2.840.10008.5.1.4.1.1.66", PatientComments="of Zwiebelturm"),
    ]


def names_in(found):
    return [name for name in NAMES if name in found]


def _said(*argv):
    return " ".join(CliRunner().invoke(app, argv).output.split())  # lines break where paths are long


def test_studies_are_received_sealed_and_only_results_go_on(tmp_path):
    folder = tmp_path / "edge"
    with edge(folder, "--settle", "3600") as running:
        with association(running.port) as made:
            assert made.send_c_echo().Status == 0
        assert send(running.port, *planted()) == [0, 0, 0, 0]
        running.told("sent 4 objects")
        assert len(waiting(folder)) == 4
        assert names_in(everything(folder)) == []
        assert results(folder) == {}
        running.kill()
    with edge(folder, "--settle", "0.2") as running:
        running.told("4 objects of 2 studies were waiting")
        running.told("objects de-identified", times=2)
        running.told("1 in quarantine")
        assert waiting(folder) == []
        assert names_in(everything(folder)) == []
        assert {str(p).count("/") for p in results(folder)} == {2}
        assert {opened(d).get("SeriesDescription") for d in results(folder).values()} == {"before REMOVED' scan", None}
        assert send(running.port, image(5, PatientName="Late^Larry")) == [0]
        running.told("objects de-identified", times=3)
        running.kill(15)
        assert running.process.returncode == 0
        assert names_in(running.text().lower().encode()) == []
    assert len(results(folder)) == 4
    assert len({p.split("/")[0] for p in results(folder)}) == 2
    reports = [json.loads(p.read_text()) for p in (folder / "spool" / "reports").glob("*.json")]
    left = [o for r in reports for o in r["left_out"]]
    assert [o["reason"] for o in left] == ["Raw Data: its content is private to its maker"]
    assert [p.name for p in (folder / "spool" / "quarantine").glob("*[!n]")] == [left[0]["file"]]
    look = ["quarantine", "--spool", f"{folder}/spool", "--spool-key", f"{folder}/key.spool"]
    listed = CliRunner().invoke(app, ["edge", *look, "--json", "--export", str(tmp_path / "look")])
    assert json.loads(listed.stdout) == [{"object": left[0]["file"], "reason": left[0]["reason"]}]
    exported = tmp_path / "look" / f"{left[0]['file']}.dcm"
    assert exported.stat().st_mode & 0o777 == 0o600
    assert pydicom.dcmread(exported) == planted()[3]
    look[-1] = f"{folder}/key"
    assert "another key" in _said("edge", *look)
    look[-1] = f"{folder}/missing"
    assert "holds no key" in _said("edge", *look)
    assert not (folder / "missing").exists()


def test_killed_before_the_end_the_next_run_ends_the_same(tmp_path):
    """With real processes; every single step is in `tests/property`."""
    objects = planted()
    undisturbed = tmp_path / "undisturbed"
    fill(undisturbed, objects)
    assert work_off(undisturbed, "never") == 0
    wanted = results(undisturbed)
    assert len(wanted) == 3
    for moment in ("noted",):
        folder = tmp_path / moment
        folder.mkdir()
        for key in ("key", "key.spool"):
            (folder / key).write_text((undisturbed / key).read_text())
            (folder / key).chmod(0o600)
        fill(folder, objects)
        assert work_off(folder, moment) == -9
        assert work_off(folder, "never") == 0
        assert results(folder) == wanted, moment
        assert waiting(folder) == [], moment
        assert len(list((folder / "spool" / "quarantine").glob("*.reason"))) == 1, moment
        assert names_in(everything(folder)) == []


def fill(folder, objects):
    spool, _ = services(folder)
    for one in objects:
        spool.receive(arrived(one))
    spool.close()


def arrived(one):
    syntax = one.file_meta.TransferSyntaxUID
    data = as_file(one, syntax)
    return from_data_set(data[data.index(b"\x08\0\x16\0UI") :], syntax, one.SOPClassUID, one.SOPInstanceUID)


def work_off(folder, moment):
    argv = [sys.executable, "-m", "tests.support.edge_process", str(folder), moment]
    return subprocess.run(argv, cwd=ROOT, timeout=60, check=False).returncode


def test_the_same_object_again_is_not_done_twice_and_another_one_waits_for_a_person(tmp_path):
    folder = tmp_path / "edge"
    with edge(folder, "--settle", "0.3") as running:
        out = folder / "out"
        out.rename(folder / "away")
        out.write_text("no folder")
        assert send(running.port, image(1), image(1)) == [0, 0]
        running.told("nothing is lost, and it will be tried again: results cannot be written")
        out.unlink()
        (folder / "away").rename(out)
        running.told("1 objects de-identified")
        before = results(folder)
        assert send(running.port, image(1)) == [0]
        running.told("1 had been done before")
        changed = image(1, PatientComments="other")
        assert send(running.port, changed) == [0]
        running.told("1 in quarantine")
        assert results(folder) == before
        assert waiting(folder) == []
    reasons = [p.read_text() for p in (folder / "spool" / "quarantine").glob("*.reason")]
    assert reasons == ["another object with a SOP Instance UID that came before\n"]


def test_real_files_in_many_transfer_syntaxes(tmp_path):
    folder = tmp_path / "edge"
    objects = [pydicom.dcmread(get_testdata_file(n, download=False)) for n in REAL]
    for one in objects:
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    with edge(folder, "--settle", "0.5") as running:
        assert send(running.port, *objects) == [0] * len(objects)
        running.told("objects de-identified", times=len({o.StudyInstanceUID for o in objects}))
    found = [opened(d) for d in results(folder).values()]
    assert [p.read_text() for p in (folder / "spool" / "quarantine").glob("*.reason")] == []
    assert images(found) == images(objects)


def images(objects):
    return sorted((o.file_meta.TransferSyntaxUID, o.pixel_array.tobytes()) for o in objects)


def test_who_is_not_allowed_is_rejected(tmp_path):
    with edge(tmp_path / "edge", "--settle", "3600", "--allow", "CT1,MR1") as running:
        for title, called, established in (
            ("CT1", "READINGROOM", True),
            ("EVE", "READINGROOM", False),
            ("CT1", "PACS", False),
        ):
            with association(running.port, image(1), title=title, called=called) as made:
                assert made.is_established == established
                assert made.is_rejected == (not established)
        running.told("rejected an association of EVE")


def test_what_is_too_large_is_refused_and_leaves_nothing(tmp_path):
    folder = tmp_path / "edge"
    large = image(1, Rows=1024, Columns=600, PixelData=bytes(1024 * 600 * 2))
    with edge(folder, "--settle", "3600", "--max-object-mb", "1") as running:
        assert send(running.port, large, image(2)) == [0xA700, 0]
        running.told("sent 1 objects, 1 more were refused")
        assert len(waiting(folder)) == 1
        # A disk that is full: the kernel lets no file of this process grow any more.
        process = psutil.Process(running.process.pid)
        process.rlimit(psutil.RLIMIT_FSIZE, (50_000, -1))
        before = everything(folder / "spool")
        one = image(3, Rows=256, Columns=256, PixelData=bytes(256 * 256 * 2))
        assert send(running.port, one) == [0xA700]
        assert everything(folder / "spool") == before
        process.rlimit(psutil.RLIMIT_FSIZE, (-1, -1))
        assert send(running.port, one) == [0]
        running.told("make room there")
    assert len(waiting(folder)) == 2


def test_a_data_set_that_cannot_be_read_goes_to_quarantine(tmp_path):
    folder = tmp_path / "edge"
    with edge(folder, "--settle", "0.3") as running:
        broken = image(1)
        with association(running.port, broken) as made:
            assert store_raw(made, broken, b"\x10\0\x10\0PN\xff\xffZwiebelturm and nothing else") == 0
        running.told("0 objects de-identified, 1 in quarantine")
        odd = image(6, StudyDate="Zwiebelturm", StudyInstanceUID="1.2.Zwiebelturm", Rows=3)
        with association(running.port, odd) as made:
            data = as_file(odd)
            assert store_raw(made, odd, data[data.index(b"\x08\0\x16\0UI") :]) == 0
        running.told("0 objects de-identified, 1 in quarantine", times=2)
        liar = image(2)
        with association(running.port, liar) as made:
            data = as_file(image(3), ExplicitVRLittleEndian)
            assert store_raw(made, liar, data[data.index(b"\x08\0\x16\0UI") :]) == 0xA900
        running.told("sent 0 objects, 1 more were refused")
    reason = next((folder / "spool" / "quarantine").glob("*.reason")).read_text()
    assert reason.strip()
    assert names_in(everything(folder)) == []
    assert results(folder) == {}


def store_raw(made, one, data):
    """C-STORE with bytes that no data set of pydicom would give."""
    request = request_for(one, data)
    made._reactor_checkpoint.clear()
    try:
        made.dimse.send_msg(request, made.accepted_contexts[0].context_id)
        _, answer = made.dimse.get_msg(block=True)
    finally:
        made._reactor_checkpoint.set()
    return answer.Status


def request_for(one, data):
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    request.DataSet = io.BytesIO(data)
    return request


def test_peers_that_talk_nonsense_end_their_own_association_only(tmp_path):
    import socket

    with edge(tmp_path / "edge", "--settle", "3600") as running:
        for nonsense in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x01\0\xff\xff\xff\xff" + bytes(64),
            b"\x04\0\0\0\0\x08" + bytes(8),
        ):
            with socket.create_connection(("127.0.0.1", running.port), timeout=20) as peer:
                peer.sendall(nonsense)
                while peer.recv(4096):
                    pass
        assert send(running.port, image(1)) == [0]
        assert running.process.poll() is None


def test_what_cannot_work_is_said_at_the_start(tmp_path):
    def refused(*options):
        done = CliRunner().invoke(app, ["edge", "--port", "0", *options])
        assert done.exit_code == 1
        return " ".join(done.output.split())

    def said(*options):
        argv = [sys.executable, "-m", "readingroom_hub.cli.main", "edge", "--port", "0", *options]
        done = subprocess.run(argv, cwd=ROOT, timeout=60, check=False, capture_output=True, text=True)
        assert done.returncode == 1
        return " ".join(done.stderr.split())

    folders = ["--spool", f"{tmp_path}/spool", "--to", f"{tmp_path}/out"]
    key = ["--key", f"{tmp_path}/key"]
    assert "anybody could send" in refused(*key, *folders, "--bind", "0.0.0.0")
    assert "keep it elsewhere" in refused("--key", f"{tmp_path}/spool/key", *folders)
    assert "keep it elsewhere" in refused(*key, "--spool", f"{tmp_path}/out/spool", "--to", f"{tmp_path}/out")
    assert "write HOST:PORT/AETITLE" in refused(*key, *folders, "--forward", "archive")
    assert "needs both --tls-cert and --tls-key" in refused(*key, *folders, "--tls-cert", "x.crt")
    assert "--forward-tls needs" in refused(*key, *folders, "--forward-tls")
    assert list(tmp_path.iterdir()) == []
    with edge(tmp_path, "--settle", "3600") as running:
        assert send(running.port, image(1)) == [0]
        assert "in use by another process" in said("--key", f"{tmp_path}/key", *folders)
    assert "another key" in said("--key", f"{tmp_path}/other", *folders)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_an_object_is_the_same_whichever_way_it_came(syntax):
    from readingroom_hub.deid.received import from_file

    one = opened(as_file(ct_image(), syntax))
    data = as_file(one, syntax)
    by_file = from_file(data)
    start = len(data) - (len(by_file.data) - by_file.data.index(b"\x08\0\x16\0"))
    by_store = from_data_set(data[start:], syntax, one.SOPClassUID, one.SOPInstanceUID)
    assert by_file == by_store
    assert by_file.study == one.StudyInstanceUID
    assert pydicom.dcmread(pydicom.filebase.DicomBytesIO(by_file.data).parent) == one


def multipart(*bodies, kind="application/dicom"):
    body = (
        b"".join(b"--part\r\nContent-Type: " + kind.encode() + b"\r\n\r\n" + b + b"\r\n" for b in bodies) + b"--part--"
    )
    return {"data": body, "headers": {"Content-Type": f'multipart/related; type="{kind}"; boundary=part'}}


def sequence(answer, tag):
    return [{k: v.get("Value", [None])[0] for k, v in item.items()} for item in answer.get(tag, {}).get("Value", [])]


def test_store_instances_over_http(tmp_path):
    folder = tmp_path / "edge"
    with edge(folder, "--settle", "1", "--http-port", "0", "--max-object-mb", "1") as running:
        url = running.told(r"POST to (\S+)")[1]
        authorized = requests.Session()
        authorized.headers["Authorization"] = "Bearer " + (folder / "key.token").read_text().strip()
        assert (folder / "key.token").stat().st_mode & 0o777 == 0o600
        one, large = image(1), image(9, Rows=1024, Columns=600, PixelData=bytes(1024 * 600 * 2))
        for wrong in ({}, {"Authorization": "Bearer " + "0" * 64}, {"Authorization": "Basic Og=="}):
            refused = requests.post(url, timeout=20, **with_headers(multipart(as_file(one)), wrong))
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert waiting(folder) == []

        stored = authorized.post(url, timeout=20, **multipart(as_file(one), as_file(image(2))))
        assert stored.status_code == 200
        assert stored.headers["Content-Type"] == "application/dicom+json"
        assert stored.json()["00081190"] == {"vr": "UR"}
        wanted = {"00081150": one.SOPClassUID, "00081155": one.SOPInstanceUID, "00081190": None}
        assert sequence(stored.json(), "00081199")[0] == wanted
        assert "00081198" not in stored.json()
        assert names_in(everything(folder)) == []

        some = authorized.post(
            f"{url}/{STUDIES[1]}", timeout=20, **multipart(as_file(one), as_file(image(3, StudyInstanceUID=STUDIES[1])))
        )
        assert some.status_code == 202
        assert [i["00081155"] for i in sequence(some.json(), "00081199")] == ["1.2.276.99.3.3"]
        assert [(i["00081155"], i["00081197"]) for i in sequence(some.json(), "00081198")] == [
            (one.SOPInstanceUID, 0xA900)
        ]

        nothing = authorized.post(url, timeout=20, **multipart(b"no DICOM", as_file(large)))
        assert nothing.status_code == 409
        assert [i["00081197"] for i in sequence(nothing.json(), "0008119A")] == [0xC000, 0xA700]
        assert authorized.post(url, timeout=20, **multipart(as_file(large))).status_code == 413
        assert authorized.post(url, timeout=20, **multipart(b"{}", kind="application/dicom+json")).status_code == 415
        assert authorized.post(url, timeout=20, **with_headers(multipart(), {"Accept": "text/html"})).status_code == 406
        cut = multipart(as_file(image(4)))
        assert authorized.post(url, timeout=20, data=cut["data"][:-20], headers=cut["headers"]).status_code == 400
        assert authorized.get(url, timeout=20).status_code == 405
        assert authorized.get(url.removesuffix("studies"), timeout=20).status_code == 404

        running.told("objects de-identified", times=2)
        # The same object by the other door is the same object.
        assert send(running.port, image(1)) == [0]
        running.told("1 had been done before")
        assert len(results(folder)) == 3
        assert names_in(everything(folder)) == []
        running.kill(15)


def with_headers(request, more):
    return request | {"headers": request["headers"] | more}


def test_results_are_sent_on_and_wait_for_a_receiver_that_is_down(tmp_path):
    folder = tmp_path / "edge"
    with archive() as (port, _):
        pass  # somewhere where nobody listens now
    with edge(folder, "--settle", "0.3", "--forward", f"127.0.0.1:{port}/ARCHIVE") as running:
        assert send(running.port, image(1), image(2), planted()[2]) == [0, 0, 0]
        running.told("objects de-identified", times=2)
        running.told("results wait to be sent on: 127.0.0.1:.*/ARCHIVE does not answer")
        running.kill()
    wanted = results(folder)
    assert len(wanted) == 3
    with (
        archive(port, statuses=(0, 0xA700)) as (_, got),
        edge(folder, "--settle", "0.3", "--forward", f"127.0.0.1:{port}/ARCHIVE") as running,
    ):
        running.told("has no room")
        while len(got) < 3:
            running.told("results sent on")
        running.told("[12] results sent on", times=2)
        assert {f"{uid}.dcm" for uid in got} == {p.split("/")[-1] for p in wanted}
        assert all(any(d.endswith(one) for d in wanted.values()) for one in got.values())
        assert names_in(b"".join(got.values()).lower()) == []
        mr = image(7, SOPClassUID="1.2.840.10008.5.1.4.1.1.4", Modality="MR", SeriesDescription="late")
        assert send(running.port, mr) == [0]
        running.told("0 results sent on, 1 refused")
        running.kill(15)
    refused = [json.loads(p.read_text()) for p in (folder / "spool" / "outbox").iterdir()]
    assert "does not take SOP class 1.2.840.10008.5.1.4.1.1.4" in refused[0][0]["reason"]
    assert refused[0][0]["file"] in results(folder)
    assert len(refused) == 1


def test_over_tls_only_with_a_certificate_of_the_authority(tmp_path):
    import ssl

    cert, key, ca = certificates(tmp_path / "tls")
    stranger, stranger_key, _ = certificates(tmp_path / "other")
    files = ("--tls-cert", str(cert), "--tls-key", str(key), "--tls-ca", str(ca))
    folder = tmp_path / "edge"
    with edge(folder, "--settle", "3600", "--http-port", "0", *files) as running:

        def context(*chain):
            made = ssl.create_default_context(cafile=str(ca))
            if chain:
                made.load_cert_chain(*chain)
            return made, "127.0.0.1"

        assert send(running.port, image(1), tls_args=context(cert, key)) == [0]
        for chain in ((), (stranger, stranger_key)):
            with association(running.port, image(2), tls_args=context(*chain)) as made:
                assert not made.is_established
        with association(running.port, image(2)) as made:
            assert not made.is_established
        url = running.told(r"POST to (https://\S+)")[1]
        bearer = {"Authorization": "Bearer " + (folder / "key.token").read_text().strip()}
        request = with_headers(multipart(as_file(image(2))), bearer)
        ours, theirs = (str(cert), str(key)), (str(stranger), str(stranger_key))
        assert requests.post(url, timeout=20, verify=str(ca), cert=ours, **request).status_code == 200
        with pytest.raises(requests.ConnectionError):
            requests.post(url, timeout=20, verify=str(ca), cert=theirs, **request)
        assert len(waiting(folder)) == 2
        running.kill(15)
    assert names_in(everything(folder)) == []


def test_memory_of_senders_that_break_off_is_given_back(tmp_path):
    """Twice the largest object may be on its way at once; three halves that never end would be more."""
    from pynetdicom.dimse_messages import C_STORE_RQ

    half = image(1, Rows=512, Columns=900, PixelData=bytes(512 * 900 * 2))
    with edge(tmp_path / "edge", "--settle", "3600", "--max-object-mb", "1", "--associations", "3") as running:
        for _ in range(3):
            with association(running.port, half) as made:
                message = C_STORE_RQ()
                message.primitive_to_message(request_for(half, as_file(half)))
                *most, _last = message.encode_msg(made.accepted_contexts[0].context_id, 16384)
                for fragment in most:
                    made.dul.send_pdu(fragment)
                made.abort()
        assert send(running.port, half) == [0]
        open_ones = [association(running.port, half) for _ in range(4)]
        established = [made.__enter__().is_established for made in open_ones]
        for made in open_ones:
            made.__exit__(None, None, None)
        assert established == [True, True, True, False]
        assert send(running.port, image(2)) == [0]
