"""Whom a verifier trusts: logs, witnesses and their quorum, in the form of C2SP tlog-policy.

Two things that the form lacks stand in comment lines which other programs pass over, and which are read strictly here:

    #readingroom valid <key name>+<key id> <first size> <last size, or ->
    #readingroom freshness <seconds>
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.note import ED25519, VKey

_OURS = "#readingroom"
_LIMIT = 64
_FORMS = {"log": (2, 3), "witness": (3, 4), "quorum": (2, 2), "group": (4, _LIMIT)}


@dataclass(frozen=True, slots=True)
class Group:
    """Counts as one witness where at least `needed` of its members do."""

    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A checkpoint counts where a log key valid for its size signed it, and the quorum cosigned it."""

    logs: tuple[VKey, ...]
    witnesses: Mapping[str, VKey] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    quorum: str = "none"
    urls: Mapping[str, str] = field(default_factory=dict)
    """Submission prefixes of witnesses, by name."""
    validity: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    """First and last tree size by `name+id` of a log key; a key that is not in here is valid for every size."""
    freshness: int | None = None
    """Seconds that the newest cosignature of the quorum may be old."""

    @classmethod
    def of_keys(cls, vkeys: Sequence[VKey]) -> Self:
        """Keys alone: the first one's name is the log's; keys of other names are witnesses, of whom none is needed."""
        if not vkeys:
            raise BadInput("no verifier key was given: a log can only be verified against its public key")
        logs = tuple(v for v in vkeys if v.name == vkeys[0].name)
        return cls(logs, {f"{v.name}+{v.id.hex()}": v for v in vkeys if v not in logs})

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises BadInput naming the line that cannot be used."""
        reader = _Reader()
        for number, line in enumerate(text.split("\n"), 1):
            try:
                reader.read(line)
            except (BadInput, ValueError) as error:
                raise BadInput(f"line {number} of the policy cannot be used: {error}") from error
        if reader.quorum is None or not reader.logs:
            raise BadInput("the policy needs a log line and a quorum line (`quorum none` asks for no witness)")
        known = {f"{v.name}+{v.id.hex()}" for v in reader.logs}
        if unknown := set(reader.validity) - known:
            raise BadInput(f"the policy limits the key {min(unknown)}, which is no log's key in it")
        return cls(
            tuple(reader.logs),
            reader.witnesses,
            reader.groups,
            reader.quorum,
            reader.urls,
            reader.validity,
            reader.freshness,
        )

    def check_log_key(self, vkey: VKey, size: int) -> None:
        """Raises BadInput where this log key does not sign checkpoints of this size (any more, or yet)."""
        first, last = self.validity.get(f"{vkey.name}+{vkey.id.hex()}", (0, None))
        if size < first or (last is not None and size > last):
            to = "" if last is None else f" to {last}"
            raise BadInput(f"the key {vkey.name}+{vkey.id.hex()} signs sizes from {first}{to}, not {size}")

    def is_met(self, signed: Collection[VKey]) -> bool:
        """Whether these cosigners make the quorum."""
        return self.quorum == "none" or self._counts(self.quorum, signed)

    def _counts(self, name: str, signed: Collection[VKey]) -> bool:
        if name in self.witnesses:
            return self.witnesses[name] in signed
        group = self.groups[name]
        return sum(self._counts(member, signed) for member in group.members) >= group.needed


class _Reader:
    """Takes a policy's lines in order."""

    def __init__(self) -> None:
        self.logs: list[VKey] = []
        self.witnesses: dict[str, VKey] = {}
        self.groups: dict[str, Group] = {}
        self.urls: dict[str, str] = {}
        self.validity: dict[str, tuple[int, int | None]] = {}
        self.quorum: str | None = None
        self.freshness: int | None = None
        self._members: set[str] = set()
        self._public: set[bytes] = set()

    def read(self, line: str) -> None:
        """Raises BadInput, ValueError."""
        if any((ord(c) < 0x20 and c != "\t") or ord(c) == 0x7F for c in line):
            raise BadInput("it has control characters")
        words = line.replace("\t", " ").split(" ")
        words = [w for w in words if w]
        if not words or (words[0].startswith("#") and words[0] != _OURS):
            return
        if words[0] == _OURS:
            self._extension(words[1:])
            return
        shortest, longest = _FORMS.get(words[0], (0, 0))
        if not shortest <= len(words) <= longest:
            raise BadInput(f"{line[:80]!r} is no line of a policy")
        getattr(self, f"_{words[0]}")(*words[1:])

    def _key(self, text: str) -> VKey:
        vkey = VKey.parse(text)
        if vkey.public in self._public:
            raise BadInput(f"the key of {vkey.name} is there twice")
        self._public.add(vkey.public)
        return vkey

    def _name(self, name: str) -> str:
        if name == "none" or name in self.witnesses or name in self.groups:
            raise BadInput(f"the name {name} is taken")
        return name

    def _log(self, vkey: str, _url: str = "") -> None:
        self.logs.append(self._key(vkey))

    def _witness(self, name: str, vkey: str, url: str = "") -> None:
        self._name(name)
        key = self._key(vkey)
        if key.type == ED25519:
            raise BadInput(f"the key of {name} is a log's: a witness has a cosigning key (type 4 or 6)")
        self.witnesses[name] = key
        if url:
            self.urls[name] = url

    def _group(self, name: str, needed: str, *members: str) -> None:
        self._name(name)
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise BadInput(f"{member} is no witness or group of a line before")
            if member in self._members:
                raise BadInput(f"{member} is a member already")
            self._members.add(member)
        count = {"all": len(members), "any": 1}.get(needed) or int(needed)
        if not 1 <= count <= len(members):
            raise BadInput(f"{count} of {len(members)} members can never be")
        self.groups[name] = Group(count, members)

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise BadInput("it is the second quorum line")
        if name != "none" and name not in self.witnesses and name not in self.groups:
            raise BadInput(f"{name} is no witness or group of a line before")
        self.quorum = name

    def _extension(self, words: list[str]) -> None:
        match words:
            case ["valid", key, first, last]:
                self.validity[key] = (int(first), None if last == "-" else int(last))
            case ["freshness", seconds]:
                self.freshness = int(seconds)
            case _:
                raise BadInput(f"{' '.join(words)[:80]!r} is no addition that this program knows")
