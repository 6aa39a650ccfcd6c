"""Where the manifest of a version lies: below its data key, which several versions may share, by its own digest.

Versions from before keys were shared have it under the plain name."""

from readingroom_hub.crypto.envelope import MANIFEST_PART, open_whole
from readingroom_hub.errors import NotFound
from readingroom_hub.model.dataset import DatasetVersion, Manifest
from readingroom_hub.model.ids import VersionDigest
from readingroom_hub.ports.objects import ObjectStore


def part_of(digest: VersionDigest) -> str:
    """The manifest's name below its data key's folder, and its part for the envelope."""
    return f"{MANIFEST_PART}-{digest.removeprefix('sha256:')}"


def sealed(objects: ObjectStore, version: DatasetVersion) -> tuple[str, bytes]:
    """Its part and its sealed bytes. Raises NotFound, StoreUnavailable."""
    part = part_of(version.digest)
    try:
        return part, objects.read(f"{version.key}/{part}")
    except NotFound:
        return MANIFEST_PART, objects.read(f"{version.key}/{MANIFEST_PART}")


def load(objects: ObjectStore, version: DatasetVersion, secret: bytes) -> Manifest:
    """The manifest, opened with the version's data key. Raises IntegrityError, NotFound, StoreUnavailable."""
    part, data = sealed(objects, version)
    return Manifest.from_bytes(open_whole(secret, version.key, part, data), version.digest)
