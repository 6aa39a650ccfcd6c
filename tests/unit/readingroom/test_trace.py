"""Waveforms: values against pydicom's, paper against its millimetres."""

import os
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from tests.support.dicom_objects import as_file

from readingroom.errors import AccessEnded, BadInput, Damaged
from readingroom.viewers.trace import TraceView, _path
from readingroom.waveforms import waveforms_of

SAMPLE = Path(get_testdata_file("waveform_ecg.dcm", download=False))


@pytest.fixture
def ecg(tmp_path):
    def changed(change=lambda _: None):
        found = pydicom.dcmread(SAMPLE)
        change(found)
        path = tmp_path / "ecg.dcm"
        path.write_bytes(as_file(found))
        return path

    return changed


def test_values_are_in_the_channels_units():
    rhythm, beat = waveforms_of(SAMPLE, "d")
    expected = pydicom.dcmread(SAMPLE)
    np.testing.assert_allclose(rhythm.values.T, expected.waveform_array(0))
    np.testing.assert_allclose(beat.values.T, expected.waveform_array(1))
    assert (rhythm.label, rhythm.rate, rhythm.seconds, set(rhythm.units)) == ("RHYTHM", 1000.0, 10.0, {"uV"})
    table = rhythm.to_frame()
    assert (table.index[-1], list(table.columns)[:2]) == (9.999, ["Lead I (Einthoven)", "Lead II"])


def test_padding_is_a_gap_and_a_baseline_is_added(ecg):
    def change(found):
        group = found.WaveformSequence[0]
        group.add_new("WaveformPaddingValue", "OW", group.WaveformData[:2])
        group.ChannelDefinitionSequence[1].ChannelBaseline = 7
        del group.ChannelDefinitionSequence[2].ChannelSensitivity

    (first, *_), (before, *_) = waveforms_of(ecg(change), "d"), waveforms_of(SAMPLE, "d")
    assert np.isnan(first.values[0, 0])
    there = np.isfinite(first.values)
    np.testing.assert_allclose(first.values[1][there[1]], before.values[1][there[1]] + 7)
    np.testing.assert_allclose(first.values[2][there[2]], before.values[2][there[2]] / 1.25)
    assert first.units[:3] == ("uV", "uV", "")


def test_big_endian_samples_are_the_same(tmp_path):
    found = pydicom.dcmread(SAMPLE)
    for group in found.WaveformSequence:
        group.WaveformData = np.frombuffer(group.WaveformData, "<i2").astype(">i2").tobytes()
    found.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    path = tmp_path / "big.dcm"
    pydicom.dcmwrite(path, found, implicit_vr=False, little_endian=False)
    np.testing.assert_array_equal(waveforms_of(path, "d")[0].values, waveforms_of(SAMPLE, "d")[0].values)


def cut_short(found):
    found.WaveformSequence[0].WaveformData = b"\0\0"


def without_rate(found):
    found.WaveformSequence[0].SamplingFrequency = 0


def sound(found):
    found.WaveformSequence[0].WaveformSampleInterpretation = "MB"


@pytest.mark.parametrize("change", [cut_short, without_rate, sound])
def test_what_cannot_be_drawn_is_named(ecg, change):
    with pytest.raises(Damaged, match=r"ecg\.dcm of d could not be decoded"):
        waveforms_of(ecg(change), "d")


def test_a_file_without_waveforms_is_named(ecg):
    with pytest.raises(BadInput, match=r"ecg\.dcm of d holds no waveform"):
        waveforms_of(ecg(lambda found: found.__delitem__("WaveformSequence")), "d")


def test_a_millivolt_is_ten_millimetres_and_a_second_twenty_five(ecg):
    """One channel steps from 0 to 1 mV at 1 s: the step is as high as 0.4 s are wide."""

    def change(found):
        group = found.WaveformSequence[0]
        samples = np.zeros((10000, 12), "<i2")
        samples[1000:, 0] = 800  # of 1.25 uV
        group.WaveformData = samples.tobytes()

    for gain in (1.0, 2.0):
        svg = TraceView([ecg(change)], "d", seconds=4.0, gain=gain).draw().data.decode()
        path = re.search(r'<path d="(M0\.0 [^"HV]+)"', svg)[1]
        points = [tuple(map(float, point.split())) for point in re.split("[ML]", path)[1:]]
        low, high = points[0][1], points[-1][1]
        assert low - high == pytest.approx(gain * 0.4 * 960 / 4, abs=0.2)
        assert next(x for x, y in points if y == high) == pytest.approx(960 / 4, abs=1)
        assert f"large square: 0.2 s, {0.5 / gain:g} mV" in svg


@given(st.lists(st.floats(-1e3, 1e3) | st.just(float("nan")), min_size=1, max_size=8000))
def test_thinning_keeps_every_peak(values):
    y = np.array(values)
    numbers = [float(p.split()[1]) for p in re.split("[ML]", _path(np.arange(len(y), dtype=float), y))[1:]]
    seen = y[np.isfinite(y)]
    assert bool(numbers) == bool(seen.size)
    if numbers:
        assert (min(numbers), max(numbers)) == pytest.approx((seen.min(), seen.max()), abs=0.06)


def test_names_are_no_markup_and_many_channels_are_told(ecg):
    def change(found):
        found.WaveformSequence[0].ChannelDefinitionSequence[0].ChannelLabel = "<script>"

    view = TraceView([ecg(change)], "d")
    drawn = view.draw()
    assert b"<script" not in drawn.data
    assert b"&lt;script&gt;" in drawn.data
    assert drawn.words.startswith("RHYTHM, 0 to 10 s of 10 s: <script>, Lead II")


def test_traits_stay_within_what_there_is(ecg):
    view = TraceView([ecg()], "d", start=99, gain=0)
    assert (view.start, view.gain, view.seconds) == (10.0, 0.25, 10.0)
    view.group = 7
    assert view.waveform.label == "MEDIAN BEAT"
    assert view.draw().words.startswith("MEDIAN BEAT, 0 to 1.2 s of 1.2 s")
    with pytest.raises(BadInput, match="no speed: it has start, seconds, gain, group, file"):
        TraceView([ecg()], "d", speed=50)


def test_what_may_no_longer_be_read_is_not_drawn(ecg, monkeypatch):
    view = TraceView([ecg()], "d")
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(AccessEnded):
        view.draw()
    data, _ = view._repr_mimebundle_()
    assert "withdrawn" in data["text/plain"]
    assert "image/svg+xml" not in data


def test_a_saved_page_keeps_a_picture_or_none(ecg):
    kept, _ = TraceView([ecg()], "d")._repr_mimebundle_()
    assert kept["image/svg+xml"].startswith("<svg")
    none, _ = TraceView([ecg()], "d", static="none")._repr_mimebundle_()
    assert "image/svg+xml" not in none
