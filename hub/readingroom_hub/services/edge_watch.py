"""Waits for studies to settle, and has them worked off, until it is told to stop."""

from collections.abc import Callable, Sequence
from contextlib import closing
from threading import Event

from readingroom_hub.errors import ReadingRoomError
from readingroom_hub.services.edge_spool import Spool
from readingroom_hub.services.edge_studies import StudyDone, StudyService

_LOOK_EVERY = 1.0
_MOST_AGAIN_AFTER = 60.0


class _Stopped(Exception):
    """There is no time for the rest of a batch: it waits for the next start."""


class Watch:
    """One thread's work. `tell` gets lines that name no patient: studies go by the first digits of their digests."""

    def __init__(
        self,
        spool: Spool,
        studies: StudyService,
        settle: float,
        tell: Callable[[str], None],
        progress: Callable[[int, int], None],
    ) -> None:
        self._spool, self._studies, self._settle = spool, studies, settle
        self._tell, self._progress = tell, progress

    def until(self, stop: Event) -> None:
        """Work off what settles. A study that fails holds up no other; it is tried again, more and more rarely."""
        again_after = 0.0
        while not stop.is_set():
            due = self._spool.settled(self._settle)
            if not due:
                stop.wait(min(_LOOK_EVERY, self._spool.next_settles_in(self._settle) or _LOOK_EVERY))
                continue
            # After a failure one by one, to find out whose it was.
            batches: Sequence[Sequence[str]] = [(s,) for s in due] if again_after else [due]
            done = [self._work_off(batch, stop) for batch in batches]
            if all(done):
                again_after = 0.0
            elif not stop.is_set():
                again_after = min(_MOST_AGAIN_AFTER, 2 * again_after or _LOOK_EVERY)
                stop.wait(again_after)

    def _work_off(self, batch: Sequence[str], stop: Event) -> bool:
        """Whether it was done, or there was no time for it."""

        def progress(done: int, total: int) -> None:
            # Not only to be quick: whoever stops us may have stopped our workers, whose files would seem to be deadly.
            if stop.is_set():
                raise _Stopped
            self._progress(done, total)

        if stop.is_set():
            return True
        try:
            with closing(self._studies.work_off(batch, progress)) as done:
                for one in done:
                    self._tell(_line(one))
        except _Stopped:
            return True
        except ReadingRoomError as error:
            self._tell(f"nothing is lost, and it will be tried again: {error}")
            return False
        except Exception as error:  # noqa: BLE001  # its text may quote an object; the objects stay where they are
            self._tell(f"a study could not be worked off ({type(error).__name__}); it will be tried again")
            return False
        return True


def _line(done: StudyDone) -> str:
    parts = [f"study {done.study[:8]}: {done.results} objects de-identified"]
    if done.left_out:
        parts.append(f"{done.left_out} in quarantine")
    if done.again:
        parts.append(f"{done.again} had been done before")
    return ", ".join(parts)
