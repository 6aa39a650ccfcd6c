"""Fuzzing of the de-identifier: real files with planted people, mutated; no crash, no hang, nobody's name in a result.

    python -m tests.support.fuzz [--minutes N] [--seed N] [--keep FOLDER]

Each case follows from its number alone, so `--seed` of a finding shows it again. Cases run in a process of their own
a core, since a fault in a decoder ends a process: the case it was at is a finding too. Findings are kept as files."""

import argparse
import io
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

from readingroom_hub.deid import engine, policy_file
from readingroom_hub.deid.cleaner import Others
from readingroom_hub.deid.engine import Deidentifier
from readingroom_hub.deid.identifiers import Identifiers
from readingroom_hub.deid.part10 import CannotDeidentify

FAMILY, GIVEN, DOCTOR, NUMBER, PLACE = "Zwiebelturm", "Hannelorchen", "Quastenflosser", "ZT99041773", "Dachsteinblick 7"
TOKENS = [t.lower().encode() for t in (FAMILY, GIVEN, DOCTOR, NUMBER, PLACE)]
_LARGEST_SEED, _SECONDS, _MEMORY = 64 << 10, 30, 3 << 30
_HEAD = re.compile(rb"[\x02-\x7f]\0..(AE|AS|CS|DA|DS|DT|IS|LO|LT|OB|OW|PN|SH|SQ|ST|TM|UC|UI|UL|UN|US|UT)", re.DOTALL)
_VRS = [b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"OB", b"OW", b"PN", b"SH", b"SQ", b"ST", b"UI"]
_VRS += [b"UL", b"UN", b"US", b"UT", b"XX", b"\0\0"]
_ODD = [
    b"\0",
    b"\xff",
    b"\\",
    b"^",
    b"=",
    b"\x1b$B",
    b"\x1b(B",
    b"\xfe\xff\xdd\xe0\0\0\0\0",
    b"\xfe\xff\x00\xe0",
    b"%s",
]
_CHARACTER_SETS = ["", "ISO_IR 100", "ISO_IR 192", "GB18030", "\\ISO 2022 IR 87", "\\ISO 2022 IR 149", "ISO_IR 999"]
_TAGS = [t for t in DicomDictionary if t >> 16 in {0x0008, 0x0010, 0x0018, 0x0020, 0x0028, 0x0032, 0x0040}]


@dataclass(frozen=True)
class Finding:
    case: int
    what: str
    data: bytes


def plant(ds: Dataset) -> Dataset:
    """The invented patient, doctor and hospital, where such things stand and where they should not."""
    ds.PatientName, ds.PatientID, ds.OtherPatientIDs = f"{FAMILY}^{GIVEN}", NUMBER, NUMBER
    ds.ReferringPhysicianName, ds.InstitutionName = f"{DOCTOR}^Kunigunde", f"Klinik {PLACE}"
    ds.InstitutionAddress, ds.AccessionNumber = PLACE, NUMBER
    ds.StudyDescription, ds.ImageComments = f"Follow-up of {FAMILY}", f"seen by Dr {DOCTOR}, MRN {NUMBER}"
    item = Dataset()
    item.ScheduledProcedureStepDescription, item.RequestedProcedureID = f"{GIVEN} {FAMILY}: CT head", NUMBER
    ds.RequestAttributesSequence = [item]
    block = ds.private_block(0x0009, "ACME", create=True)
    block.add_new(1, "LO", f"{FAMILY}, {GIVEN}")
    return ds


def seeds() -> list[bytes]:
    """pydicom's own small files with the people planted in them, where the basic policy takes them."""
    found = []
    take = Deidentifier(policy_file.load("basic"), b"f" * 32)
    for path in sorted(Path(str(get_testdata_file("CT_small.dcm"))).parent.glob("*.dcm")):
        if path.stat().st_size > _LARGEST_SEED:
            continue
        try:
            buffer = io.BytesIO()
            plant(pydicom.dcmread(path)).save_as(buffer)
            take(buffer.getvalue())
        except Exception:  # noqa: BLE001  # what pydicom cannot write, or the policy leaves out, is no seed
            continue
        found.append(buffer.getvalue())
    return found


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """One to six changes: of bits, lengths, VRs, tags, character sets; cuts, copies, splices, nesting."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        data = rng.choice(_MUTATIONS)(data, others, rng)
    return data


def _at(data: bytes, rng: random.Random) -> int:
    """Somewhere, mostly in the header."""
    return rng.randrange(max(1, min(len(data), 4096 if rng.random() < 0.8 else len(data))))


def _flip(data: bytes, _o: list[bytes], rng: random.Random) -> bytes:
    new = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 64))):
        if new:
            new[_at(data, rng) % len(new)] ^= 1 << rng.randrange(8)
    return bytes(new)


def _insert(data: bytes, _o: list[bytes], rng: random.Random) -> bytes:
    at, what = _at(data, rng), rng.choice([*_ODD, rng.randbytes(rng.randrange(1, 40)), *TOKENS])
    return data[:at] + what + data[at + rng.choice((0, len(what))) :]


def _cut(data: bytes, _o: list[bytes], rng: random.Random) -> bytes:
    at, size = _at(data, rng), rng.choice((1, 2, 8, 100, 1 << 30))
    return data[:at] + data[at + size :]


def _copy(data: bytes, _o: list[bytes], rng: random.Random) -> bytes:
    at, size, to = _at(data, rng), rng.randrange(1, 300), _at(data, rng)
    return data[:to] + data[at : at + size] * rng.choice((1, 1, 50)) + data[to:]


def _splice(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    return data[: _at(data, rng)] + (other := rng.choice(others))[_at(other, rng) :]


def _element(data: bytes, rng: random.Random) -> int | None:
    found = [m.start() for m in _HEAD.finditer(data[:8192])]
    return rng.choice(found) if found else None


def _length(data: bytes, _o: list[bytes], rng: random.Random) -> bytes:
    if (at := _element(data, rng)) is None:
        return data
    value = rng.choice((0, 1, 2, 7, 0x7FFF, 0xFFFE, 0xFFFF, rng.randrange(65536)))
    long = rng.random() < 0.3
    place = slice(at + 8, at + 12) if long else slice(at + 6, at + 8)
    new = bytearray(data)
    new[place] = (0xFFFFFFFF if value == 0xFFFF and long else value).to_bytes(4 if long else 2, "little")
    return bytes(new)


def _vr(data: bytes, _o: list[bytes], rng: random.Random) -> bytes:
    at = _element(data, rng)
    return data if at is None else data[: at + 4] + rng.choice(_VRS) + data[at + 6 :]


def _tag(data: bytes, _o: list[bytes], rng: random.Random) -> bytes:
    if (at := _element(data, rng)) is None:
        return data
    tag = rng.choice(_TAGS) if rng.random() < 0.8 else rng.getrandbits(32)
    return data[:at] + (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + data[at + 4 :]


def _character_set(data: bytes, _o: list[bytes], rng: random.Random) -> bytes:
    value = rng.choice(_CHARACTER_SETS).encode()
    value += b" " * (len(value) % 2)
    at = data.find(b"\x08\0\5\0CS")
    element = b"\x08\0\5\0CS" + len(value).to_bytes(2, "little") + value
    return data if at < 0 else data[:at] + element + data[at + 8 + int.from_bytes(data[at + 6 : at + 8], "little") :]


def _syntax(data: bytes, _o: list[bytes], rng: random.Random) -> bytes:
    new = rng.choice((b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.4.50"))
    return re.sub(
        rb"1\.2\.840\.10008\.1\.2[.0-9]*\0?", lambda m: new.ljust(len(m[0]), b"\0")[: len(m[0])], data, count=1
    )


def _nest(data: bytes, _o: list[bytes], rng: random.Random) -> bytes:
    at, depth = _element(data, rng), rng.choice((2, 30, 3000))
    head = b"\x40\0\x75\2SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    return data if at is None else data[:at] + head * depth + data[at:]


_MUTATIONS = (_flip, _flip, _insert, _cut, _copy, _splice, _length, _length, _vr, _tag, _character_set, _syntax, _nest)


class Fuzzer:
    """Runs cases. The batch knows the planted people, as it knows everybody from the first pass over its files."""

    def __init__(self) -> None:
        self.seeds = seeds()
        self._policies = [policy_file.load("basic"), policy_file.load("research")]
        people = Identifiers()
        for data in self.seeds:
            people |= engine.survey(io.BytesIO(data), self._policies[0].options).people
        self._deidentify = [Deidentifier(p, b"f" * 32, Others(people)) for p in self._policies]
        self.results = 0

    def run(self, case: int, *, ocr: bool = True) -> Finding | None:
        """One case; None where all is well."""
        data, rng = case_of(case, self.seeds)
        which = int(ocr and rng.random() < 0.05)  # OCR is slow: one case in twenty looks for text
        signal.alarm(_SECONDS)
        try:
            done = self._deidentify[which](data)
        except CannotDeidentify as error:
            told = leaked(str(error).encode(), own=True)
            return Finding(case, f"the reason names {told}", data) if told else None
        except Exception as error:  # noqa: BLE001  # anything else is what is looked for
            return Finding(case, f"{type(error).__name__}: {error}", data)
        finally:
            signal.alarm(0)
        self.results += 1
        own = engine.survey(io.BytesIO(data), self._policies[which].options).people
        known = FAMILY.lower() in own.names, PLACE.lower() in own.phrases
        if told := leaked(done.data, own=known[0], place=known[1]):
            return Finding(case, f"{told} in the result", data)
        return self._readable(case, data, done.data)

    def _readable(self, case: int, data: bytes, result: bytes) -> Finding | None:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(io.BytesIO(result))
            try:
                list(ds.iterall())
            except AttributeError:
                pass  # a VR that depends on an attribute that the original does not have either
            except Exception as error:  # noqa: BLE001
                return Finding(case, f"the result cannot be read: {type(error).__name__}: {error}", data)
        return (
            None
            if ds.get("PatientIdentityRemoved") == "YES"
            else Finding(case, "PatientIdentityRemoved is not YES", data)
        )


def leaked(result: bytes, *, own: bool, place: bool = True) -> str:
    """The first planted value that `result` holds: as a word, or inside others where it is its own patient's."""
    text = result.lower()
    for token in TOKENS if place else TOKENS[:-1]:  # places of others are not hunted in what is no text
        if re.search(rb"(?<![0-9a-z])" + token + rb"(?![0-9a-z])", text) or (own and TOKENS[0] in text):
            return token.decode()
    return ""


def _hang(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"no end after {_SECONDS} s")


def child(first: int, step: int, until: float) -> None:
    """Cases `first`, `first + step` and so on until the time `until`; tells each number before it runs."""
    signal.signal(signal.SIGALRM, _hang)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    fuzzer, case = Fuzzer(), first
    while time.time() < until:
        print(f"at {case} {fuzzer.results}", flush=True)
        if found := fuzzer.run(case):
            print(f"found {case} {found.what[:300]!r}", flush=True)
        case += step
    print(f"end {case} {fuzzer.results}", flush=True)


def told(process: subprocess.Popen[str]) -> Iterator[tuple[str, int, str]]:
    assert process.stdout is not None
    for line in process.stdout:
        word, case, rest = line.rstrip("\n").split(" ", 2)
        yield word, int(case), rest


def case_of(number: int, of: list[bytes]) -> tuple[bytes, random.Random]:
    """The file of one case, and where its random numbers go on."""
    rng = random.Random(number)
    return mutate(rng.choice(of), of, rng), rng


def watch(worker: int, workers: int, seed: int, until: float, found: dict[int, str]) -> tuple[int, int]:
    """One worker's cases, started again behind a case that ended its process. How many cases, how many results."""
    start = case = seed + worker
    results = 0
    while time.time() < until:
        command = [sys.executable, "-W", "ignore", "-m", "tests.support.fuzz", "--child", f"{case},{workers},{until}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        last = "0"
        for word, case, rest in told(process):
            if word == "found":
                found[case] = rest
            else:
                last = rest
        results += int(last)
        if code := process.wait():
            found[case] = f"ended its process ({code})"
            case += workers
    return (case - start) // workers, results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        first, step, until = options.child.split(",")
        child(int(first), int(step), float(until))
        return
    from concurrent.futures import ThreadPoolExecutor

    found: dict[int, str] = {}
    until = time.time() + 60 * options.minutes
    with ThreadPoolExecutor(options.workers) as pool:
        runs = [pool.submit(watch, w, options.workers, options.seed, until, found) for w in range(options.workers)]
        cases, results = (sum(n) for n in zip(*(r.result() for r in runs), strict=True))
    print(f"{cases} cases, {results} results, {len(found)} findings in {options.minutes:g} minutes")
    of = seeds() if found else []
    for case, what in sorted(found.items()):
        options.keep.mkdir(exist_ok=True)
        (options.keep / f"{case}.dcm").write_bytes(case_of(case, of)[0])
        print(f"{case}: {what}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
