"""Waveforms: channels in their own units over seconds (PS3.3 C.10.9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pydicom
from pydicom.waveforms.numpy_handler import multiplex_array

from readingroom.errors import BadInput
from readingroom.objects import read_object, undecodable

# Sample interpretations that are numbers on a line (PS3.3 C.10.9.1.5); MB and AB are companded sound.
_LINEAR = frozenset({"SB", "UB", "SS", "US", "SL", "UL", "SV", "UV"})


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """One multiplex group: channels that were sampled together."""

    label: str
    """For example RHYTHM or MEDIAN BEAT; may be empty."""
    rate: float
    """Samples a second."""
    names: tuple[str, ...]
    units: tuple[str, ...]
    """By UCUM, for example uV; empty where the channel has no sensitivity: its values are as stored then."""
    values: npt.NDArray[np.float64]
    """(channels, samples). NaN where the file says that there is no sample."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return float(self.values.shape[1] / self.rate)

    def to_frame(self) -> pd.DataFrame:
        """A column a channel, a row a sample, by seconds."""
        index = pd.Index(np.arange(self.values.shape[1]) / self.rate, name="seconds")
        return pd.DataFrame(self.values.T, index, list(self.names))


def waveforms_of(path: Path, dataset: str) -> list[Waveform]:
    """The multiplex groups of one file. Raises BadInput where it holds none, AccessEnded, Damaged, NotFound."""
    found = read_object(path, dataset)
    groups: Sequence[pydicom.Dataset] = found.get("WaveformSequence") or ()
    if not groups:
        raise BadInput(f"{path.name} of {dataset} holds no waveform.")
    try:
        return [_waveform(found, number) for number in range(len(groups))]
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError) as error:
        raise undecodable(path, dataset) from error


def _waveform(found: pydicom.Dataset, number: int) -> Waveform:
    group = found.WaveformSequence[number]
    if group.WaveformSampleInterpretation not in _LINEAR:
        raise ValueError(f"samples of {group.WaveformSampleInterpretation} are companded sound")
    rate = float(group.SamplingFrequency)
    if not 0 < rate < float("inf"):
        raise ValueError(f"{rate} samples a second")
    stored = multiplex_array(found, number, as_raw=True).T
    if found.original_encoding[1] is False:  # pydicom takes the bytes as little endian, whatever the transfer syntax
        stored = stored.byteswap()
    channels = list(group.ChannelDefinitionSequence)
    values = np.array([_measured(channel, line) for channel, line in zip(channels, stored, strict=True)], np.float64)
    if padding := group.get("WaveformPaddingValue"):
        missing = np.frombuffer(padding, stored.dtype, 1)[0]
        values[stored == (missing.byteswap() if found.original_encoding[1] is False else missing)] = np.nan
    return Waveform(
        label=str(group.get("MultiplexGroupLabel") or ""),
        rate=rate,
        names=_unique([_name(channel, n) for n, channel in enumerate(channels, 1)]),
        units=tuple(_unit(channel) for channel in channels),
        values=values,
    )


def _measured(channel: pydicom.Dataset, stored: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """In the channel's unit: value times sensitivity times correction factor, plus baseline (PS3.3 C.10.9.1.4.2)."""
    if channel.get("ChannelSensitivity") is None:
        return stored.astype(np.float64)
    factor = channel.get("ChannelSensitivityCorrectionFactor")
    scale = float(channel.ChannelSensitivity) * (1.0 if factor is None else float(factor))
    return stored * scale + float(channel.get("ChannelBaseline") or 0.0)


def _name(channel: pydicom.Dataset, number: int) -> str:
    source = channel.get("ChannelSourceSequence")
    said = channel.get("ChannelLabel") or (source[0].get("CodeMeaning") if source else "")
    return str(said or f"channel {number}")


def _unit(channel: pydicom.Dataset) -> str:
    unit = channel.get("ChannelSensitivityUnitsSequence")
    return str(unit[0].get("CodeValue") or "") if unit and channel.get("ChannelSensitivity") is not None else ""


def _unique(names: list[str]) -> tuple[str, ...]:
    return tuple(f"{name} ({n})" if names.count(name) > 1 else name for n, name in enumerate(names, 1))
