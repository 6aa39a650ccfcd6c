"""Where faces were cut, sealed, so that slices of a series that come late are cut by the plane of those before them."""

import json
from collections.abc import Callable
from dataclasses import astuple

from readingroom_hub.deid.faces.geometry import Plane
from readingroom_hub.deid.faces.plan import Faces, Series
from readingroom_hub.durable import make
from readingroom_hub.errors import IntegrityError
from readingroom_hub.services.edge_vault import Vault, digest, keep

_DIGITS = 32


class KnownFaces:
    """Planes of series that have results. Used by one thread."""

    def __init__(self, vault: Vault, names: bytes) -> None:
        """`names` is the key of digests. Raises OSError."""
        self._vault, self._names = vault, names
        self._folder = vault.folder / "faces"
        make(self._folder, 0o700)

    def recall(self, found: Faces) -> Faces:
        """`found`, but for series that are known: a few late slices would give another plane, or none.

        Raises OSError, IntegrityError."""
        known = {one: plane for one in (*found.planes, *found.doubts) if (plane := self._read(one))}
        return Faces({**found.planes, **known}, {one: why for one, why in found.doubts.items() if one not in known})

    def remember(self, used: Faces, of: Callable[[Series], bool]) -> None:
        """Keep the planes of these series, durably. Raises StoreUnavailable."""
        for one, plane in used.planes.items():
            path = self._folder / self._name(one)
            if of(one) and not path.exists():
                content = json.dumps({"normal": plane.normal, "offset": plane.offset})
                keep(path, self._vault.seal(f"faces/{path.name}", content.encode()))

    def _name(self, one: Series) -> str:
        return digest(self._names, json.dumps(["face", *astuple(one)]).encode(), _DIGITS)

    def _read(self, one: Series) -> Plane | None:
        path = self._folder / self._name(one)
        try:
            content = json.loads(self._vault.unseal(f"faces/{path.name}", path.read_bytes()))
        except FileNotFoundError:
            return None
        except IntegrityError as error:
            raise IntegrityError(f"{path} is damaged: restore it from a backup, or remove it") from error
        x, y, z = content["normal"]
        return Plane((x, y, z), content["offset"])
