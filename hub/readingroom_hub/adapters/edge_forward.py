"""Results sent on by C-STORE (PS3.4 Annex B, as SCU), byte for byte as they lie in their folder."""

import logging
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association

from readingroom_hub.errors import BadInput, StoreUnavailable
from readingroom_hub.ports.forward import Forward

_SECONDS = 30.0
_MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: odd numbers of one byte
_NO_ROOM = 0xA7  # PS3.4 Table B.2-1: A7xx
_WARNING = 0xB


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who gets results. `called` is its AE title, `calling` ours."""

    host: str
    port: int
    called: str
    calling: str
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        """As it is written on the command line."""
        return f"{self.host}:{self.port}/{self.called}"


def parse(text: str) -> tuple[str, int, str]:
    """HOST:PORT/AET. Raises BadInput."""
    address, _, title = text.partition("/")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16 or not title.strip():
        raise BadInput(f"{text!r} is no receiver: write HOST:PORT/AETITLE")
    return host.strip("[]"), int(port), title.strip()


class DicomForward(Forward):
    """One receiver; an association for each study."""

    def __init__(self, receiver: Receiver) -> None:
        _config.LOG_HANDLER_LEVEL = "none"
        _config.STORE_SEND_CHUNKED_DATASET = True  # reads a file in pieces and changes none of its bytes
        logging.getLogger("pynetdicom").disabled = True
        self._receiver = receiver
        try:
            self._entity = AE(ae_title=receiver.calling)
        except ValueError as error:
            raise BadInput(f"{receiver.calling!r} is no AE title: {error}") from error
        self._entity.acse_timeout = self._entity.dimse_timeout = self._entity.connection_timeout = _SECONDS

    def send(self, files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
        """Each in its own transfer syntax; whether the receiver converts is its business."""
        kinds: dict[tuple[str, str], list[Path]] = {}
        for file in files:
            try:
                meta = read_file_meta_info(file)
            except FileNotFoundError:
                yield file, "it is not in the folder of results any more"
                continue
            kinds.setdefault((str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)), []).append(file)
        todo = list(kinds)
        for start in range(0, len(todo), _MOST_CONTEXTS):
            yield from self._send({kind: kinds[kind] for kind in todo[start : start + _MOST_CONTEXTS]})

    def _send(self, kinds: dict[tuple[str, str], list[Path]]) -> Iterator[tuple[Path, str]]:
        to = self._receiver
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in kinds]
        tls = (to.tls, to.host) if to.tls else None
        with _Named(to):
            association = self._entity.associate(to.host, to.port, contexts=contexts, ae_title=to.called, tls_args=tls)
        taken = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
        if not association.is_established and (taken or not association.rejected_contexts):
            raise StoreUnavailable(f"{to} {'rejects us' if association.is_rejected else 'does not answer'}")
        try:
            for (sop_class, syntax), files in kinds.items():
                for file in files:
                    if (sop_class, syntax) in taken:
                        yield file, self._store(association, file)
                    else:
                        yield file, f"{to} does not take SOP class {sop_class} in transfer syntax {syntax}"
        finally:
            if association.is_established:
                association.release()

    def _store(self, association: Association, file: Path) -> str:
        to = self._receiver
        with _Named(to):
            answer = association.send_c_store(file)
        if "Status" not in answer:
            raise StoreUnavailable(f"{to} broke off")
        status = int(answer.Status)
        if status >> 8 == _NO_ROOM:
            raise StoreUnavailable(f"{to} has no room (status {status:04X})")
        return "" if status == 0 or status >> 12 == _WARNING else f"{to} refuses it (status {status:04X})"


class _Named:
    """Turns what pynetdicom raises into what names the receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError | RuntimeError | ValueError):
            raise StoreUnavailable(f"{self._receiver} cannot be sent to ({type(error).__name__})") from error
