"""What lies below a data key and belongs to no published version: left by a killed process, or by a deleted version."""

from readingroom_hub.model.dataset import DatasetVersion, Instance
from readingroom_hub.model.ids import KeyId
from readingroom_hub.ports.catalogue import Versions
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.objects import ObjectStore
from readingroom_hub.services import manifests


class Leftovers:
    """Every method raises IntegrityError, KeyUnavailable or NotFound where a version's manifest cannot be read: what it
    names is not known then, so nothing is removed. The caller holds the key's lock."""

    def __init__(self, versions: Versions, objects: ObjectStore, custody: KeyCustody) -> None:
        self._versions = versions
        self._objects = objects
        self._custody = custody

    def versions(self, key_id: KeyId) -> list[DatasetVersion]:
        """Published versions whose objects lie below this key."""
        return [v for v in self._versions.all() if v.key == key_id]

    def instances(self, versions: list[DatasetVersion]) -> dict[str, Instance]:
        """What these versions, all of one key, name, by SOP Instance UID. Below one key it has one content."""
        if not versions:
            return {}
        secret = self._custody.unwrap(self._versions.key(versions[0].key))
        return {i.instance: i for v in versions for i in manifests.load(self._objects, v, secret).instances}

    def remove(self, key_id: KeyId) -> None:
        """Remove every object below this key that no published version names."""
        versions = self.versions(key_id)
        if not versions:
            self._objects.delete(key_id)
            return
        names = {i.object_name for i in self.instances(versions).values()}
        names |= {manifests.sealed(self._objects, v)[0] for v in versions}
        needed = {f"{key_id}/{name}" for name in names}
        for name in [n for n in self._objects.names(key_id) if n not in needed]:
            self._objects.remove(name)
        self._objects.sweep(key_id)
