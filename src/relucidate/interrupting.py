"""Ctrl-C: a command ends with one sentence that says what was written, and writes nothing more."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

TEMPORARY = ".relucidate-tmp-"  # what is half written; a run that was killed leaves it behind, and it may be deleted


@dataclass(eq=False)
class Interrupts:
    """Whether Ctrl-C was pressed, and how far the program had come.

    Parameters
    ----------
    met : whether it was pressed since `ends_at_an_interrupt` listens.
    written : files and folders that took their final name. when : how far the work is, such as "after 10 rows".
    """

    met: bool = False
    written: list[Path] = field(default_factory=list)
    when: str = ""

    def heed(self) -> None:
        """Raise `KeyboardInterrupt` if the one that was raised at Ctrl-C was lost on its way."""
        if self.met:
            _wake(0)
            raise KeyboardInterrupt

    def __str__(self) -> str:
        done = [str(path) for path in self.written if not any(part.startswith(TEMPORARY) for part in path.parts)]
        were = "was" if len(done) == 1 else "were"
        what = f"{', '.join(done)} {were} written before, nothing else" if done else "nothing was written"
        return f"interrupted{' ' * bool(self.when)}{self.when}; {what}."


interrupts = Interrupts()
_LATER = 0.02  # seconds until an interrupt in the middle of an import is tried again


def _wake(seconds: float) -> bool:
    """Have SIGALRM sent after some time, or no more for 0; return whether this system can do that."""
    if not hasattr(signal, "setitimer"):
        return False
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return True


def _imports(frame: FrameType | None) -> bool:
    """Return whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def ends_at_an_interrupt() -> Iterator[None]:
    """Run a program that Ctrl-C ends with one sentence and exit code 130, before anything more takes its final name.

    Notes
    -----
    `KeyboardInterrupt` alone is not enough: raised while compiled code imports a module it is swallowed there, crashes it, or
    leaves a module half made that fails later with some other error. So it waits for the end of an import, unless Ctrl-C is
    pressed again, and it is also noted: whatever is raised afterwards means that the user interrupted. Interrupts that the
    parent process ignores stay ignored.
    """
    if (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        again = interrupts.met and number == signal.SIGINT
        interrupts.met = True
        if not again and _imports(frame) and _wake(_LATER):
            return
        raise KeyboardInterrupt

    def lost(problem: sys.UnraisableHookArgs) -> None:
        # raised where nothing can be raised, as while an object is deleted: try again
        if not (interrupts.met and problem.exc_type is KeyboardInterrupt and _wake(_LATER)):
            told(problem)

    interrupts.met = False
    interrupts.written.clear()
    told, sys.unraisablehook = sys.unraisablehook, lost
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, note)
    signal.signal(signal.SIGINT, note)
    try:
        yield
        interrupts.heed()
    except BaseException:  # SystemExit too: what ends now ends because of the interrupt
        if not interrupts.met:
            raise
        # all is cleared away: one more may end the process at once
        _wake(0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        print(f"relucidate: {interrupts}", file=sys.stderr)
        sys.exit(130)
    finally:
        _wake(0)
        sys.unraisablehook = told
        # a program that goes on has its own Ctrl-C back; one that was interrupted ends
        signal.signal(signal.SIGINT, signal.SIG_DFL if interrupts.met else signal.default_int_handler)
