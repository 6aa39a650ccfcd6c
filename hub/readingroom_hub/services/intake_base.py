"""An earlier version whose data key and objects a new one shares, where the instances are the same."""

from dataclasses import dataclass
from functools import partial
from typing import Self

from readingroom_hub.crypto.envelope import sealed_size
from readingroom_hub.errors import IntegrityError, NotFound
from readingroom_hub.model.dataset import Instance
from readingroom_hub.model.ids import DatasetName, ProjectId
from readingroom_hub.model.keys import destroyed
from readingroom_hub.ports.catalogue import Versions
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.objects import ObjectStore
from readingroom_hub.services import object_checks
from readingroom_hub.services.leftovers import Leftovers
from readingroom_hub.services.object_checks import Key


class Changed(Exception):  # not an error: the ingest begins anew, with a key of its own
    """An instance has another content than below the data key that was to be shared."""


@dataclass(slots=True)
class Base:
    """A data key, and what lies below it by SOP Instance UID."""

    key: Key
    instances: dict[str, Instance]
    reused: int = 0

    @classmethod
    def newest(
        cls, versions: Versions, custody: KeyCustody, leftovers: Leftovers, project: ProjectId, dataset: DatasetName
    ) -> Self | None:
        """What the dataset's newest version offers; None where there is none, or where its key was destroyed.

        Raises IntegrityError or NotFound where its manifest cannot be read; KeyUnavailable where its key cannot be had
        now: everything stored twice is not what was asked for."""
        for newest in versions.all(project, dataset)[:1]:
            wrapped = versions.key(newest.key)
            if not destroyed(wrapped.kek, custody.keks()):
                secret = custody.unwrap(wrapped)
                return cls(Key(newest.key, secret), leftovers.instances(leftovers.versions(newest.key)))
        return None

    def holds(self, instance: Instance, objects: ObjectStore) -> bool:
        """Whether this object is stored; it is read again, so that the new version is whole too.

        Raises Changed; IntegrityError where the stored object is not what it should be."""
        known = self.instances.get(instance.instance)
        if known is None:
            return False
        if (known.sha256, known.size) != (instance.sha256, instance.size):
            raise Changed
        read = partial(objects.read, f"{self.key.id}/{instance.object_name}")
        try:
            object_checks.check(self.key, instance, read, sealed_size(instance.size))
        except (IntegrityError, NotFound) as error:
            raise IntegrityError(f"{error}; or take the folder in without --reuse") from error
        self.reused += 1
        return True
