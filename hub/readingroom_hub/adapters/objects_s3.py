"""The object store in a bucket of any S3 service that obeys `If-None-Match: *` (RFC 9110 section 13.1.2)."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from readingroom_hub.adapters import aws
from readingroom_hub.errors import Conflict, NotFound, StoreUnavailable
from readingroom_hub.ports.objects import ObjectStore, check_name

_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_EXISTS = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
_WRITER = "writer"
_BODY_SECONDS, _SLOWEST = 60.0, 1_000_000
"""How long an answer may take: this, and a second more for each megabyte that came."""


@contextmanager
def _reported(name: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in _MISSING:
            raise NotFound(f"the object store holds no object {name}") from error
        raise StoreUnavailable(f"object {name}: the S3 store answered {code or error}; tell the operator") from error
    except (BotoCoreError, HTTPError, OSError) as error:
        raise StoreUnavailable(
            f"object {name}: the S3 store does not answer ({error}); try again in a minute"
        ) from error


class S3ObjectStore(ObjectStore):
    """Objects of one bucket, which the operator has made. Thread-safe. Nothing is asked before the first use."""

    def __init__(
        self, endpoint: str, bucket: str, region: str, keys: dict[str, str], ca_file: Path | None = None
    ) -> None:
        """`endpoint` is the service's URL; `keys` as `credentials` gives them; `ca_file` a private authority's PEM."""
        self._bucket = bucket
        self._made_of = endpoint, bucket, region, keys, ca_file
        # Every byte is authenticated by its envelope; a second checksum is time and not every service has it.
        self._s3 = aws.client(
            "s3", endpoint, region, keys, ca_file, s3={"addressing_style": "path"},
            request_checksum_calculation="when_required", response_checksum_validation="when_required",
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: a connection of its own."""
        return S3ObjectStore, self._made_of

    def put(self, name: str, data: bytes) -> None:
        """One conditional PUT. Sent twice, it may be in conflict with itself: the object says who wrote it."""
        check_name(name)
        writer = uuid.uuid4().hex
        with _reported(name):
            try:
                self._s3.put_object(
                    Bucket=self._bucket, Key=name, Body=data, IfNoneMatch="*", Metadata={_WRITER: writer}
                )
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in _EXISTS:
                    raise
                if self._head(name)["Metadata"].get(_WRITER) != writer:
                    raise Conflict(f"object {name} exists; objects are never replaced") from error

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """One ranged GET; a range behind the end is empty."""
        check_name(name)
        if size == 0:
            self.size(name)
            return b""
        wanted = {"Range": f"bytes={offset}-{'' if size is None else offset + size - 1}"} if offset or size else {}
        with _reported(name):
            try:
                return _whole(self._s3.get_object(Bucket=self._bucket, Key=name, **wanted))
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in {"InvalidRange", "416"}:
                    raise
                self._head(name)
                return b""

    def size(self, name: str) -> int:
        """By HEAD."""
        check_name(name)
        with _reported(name):
            return int(self._head(name)["ContentLength"])

    def names(self, prefix: str) -> Iterator[str]:
        """By pages of a thousand."""
        check_name(prefix)
        pages = iter(self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{prefix}/"))
        while True:
            with _reported(prefix):
                page = next(pages, None)
            if page is None:
                return
            yield from (found["Key"] for found in page.get("Contents", ()))

    def remove(self, name: str) -> None:
        """One DELETE, which S3 answers alike where there is nothing."""
        check_name(name)
        with _reported(name):
            self._s3.delete_object(Bucket=self._bucket, Key=name)

    def delete(self, prefix: str) -> None:
        """A request for a thousand names."""
        check_name(prefix)
        names = list(self.names(prefix))
        for start in range(0, len(names), 1000):
            wanted = {"Objects": [{"Key": name} for name in names[start : start + 1000]], "Quiet": True}
            with _reported(prefix):
                answer = self._s3.delete_objects(Bucket=self._bucket, Delete=wanted)
            if errors := answer.get("Errors"):
                first = errors[0]
                raise StoreUnavailable(
                    f"{len(errors)} objects below {prefix} were not removed, the first is {first.get('Key')} "
                    f"({first.get('Code')}); tell the operator"
                )

    def _head(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._s3.head_object(Bucket=self._bucket, Key=name)
        return answer


def _whole(answer: dict[str, Any]) -> bytes:
    """The body. A socket's time limit begins anew with each byte, so one that drips is given up here: TimeoutError."""
    started, parts, came = time.monotonic(), [], 0
    with answer["Body"] as body:
        # The raw response, as the context gives it, hands over what has come; `read` waits until all of it has.
        while part := body.read1(1 << 20):
            parts.append(part)
            came += len(part)
            if time.monotonic() - started > _BODY_SECONDS + came / _SLOWEST:
                raise TimeoutError(f"{came} bytes in {_BODY_SECONDS:g} s")
    if came != answer["ContentLength"]:
        raise ConnectionError(f"{came} bytes of {answer['ContentLength']}")
    return parts[0] if len(parts) == 1 else b"".join(parts)
