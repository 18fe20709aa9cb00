"""Entries of the access log that wait to be written, and which of many similar entries are written at all."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from headrace.access.access_log import Action, ActionOutcome, Entry

MOST_WAITING = 10_000
WINDOW_SECONDS = 60.0
ADDRESS_ENTRIES = 10
"""Refusals of one address, and reads of one caller, that are written in a minute; the rest is counted in one entry."""
ALL_ENTRIES = 600
"""The same of each action, for all addresses together: refusals never crowd out reads."""
MOST_ADDRESSES = 1_000
SAMPLED = (Action.REQUEST_REFUSED, Action.KEYS_READ, Action.AUDIT_LOG_READ, Action.ACCESS_LOG_READ)
"""Actions that a client can repeat without an effect: they must not fill the disk."""


class _Sender(NamedTuple):
    caller: str
    address: str | None


class _Window:
    """What one sender, or all of them, had in this minute."""

    __slots__ = ("left_out", "started", "written")

    def __init__(self, started: float) -> None:
        self.started = started
        self.written = 0
        self.left_out = 0


class _Sampler:
    """Decides which entries of one action are written."""

    def __init__(self, action: Action, clock: Callable[[], float], append: Callable[[Entry], None]) -> None:
        self._action = action
        self._clock = clock
        self._append = append
        self._windows: OrderedDict[_Sender, _Window] = OrderedDict()
        self._all = _Window(clock())
        self._others_left_out = 0

    def takes(self, entry: Entry) -> bool:
        """Whether this entry is written; if not, it is counted."""
        sender = _Sender(entry.caller, entry.address)
        now = self._clock()
        window = self._windows.get(sender)
        if window is None or now - window.started >= WINDOW_SECONDS:
            self.end_windows()
            window = self._windows[sender] = _Window(now)
            self._make_room()
        if window.written >= ADDRESS_ENTRIES or self._all.written >= ALL_ENTRIES:
            window.left_out += 1
            return False
        window.written += 1
        self._all.written += 1
        return True

    def end_windows(self, *, early: bool = False) -> None:
        """Write the counts of the minutes that are over. Windows are in the order of their starts."""
        now = self._clock()
        while self._windows:
            sender, window = next(iter(self._windows.items()))
            if not early and now - window.started < WINDOW_SECONDS:
                break
            del self._windows[sender]
            if window.left_out:
                self._count(sender, window.left_out)
        if early or now - self._all.started >= WINDOW_SECONDS:
            self._all = _Window(now)
            if left_out := self._others_left_out:
                self._others_left_out = 0
                self._count(_Sender("", None), left_out)

    def _make_room(self) -> None:
        while len(self._windows) > MOST_ADDRESSES:
            _, oldest = self._windows.popitem(last=False)
            self._others_left_out += oldest.left_out

    def _count(self, sender: _Sender, left_out: int) -> None:
        outcome = ActionOutcome.REFUSED if self._action is Action.REQUEST_REFUSED else ActionOutcome.DONE
        detail = {"left_out": left_out}
        self._append(Entry(self._action, sender.caller, outcome=outcome, address=sender.address, detail=detail))


class PendingEntries:
    """A bounded queue. `added` is called after each entry, so that somebody writes it. A worker has one instance."""

    def __init__(self, clock: Callable[[], float], *, at_most: int = MOST_WAITING) -> None:
        self.lost = 0
        """Entries for which there was no room while PostgreSQL was away."""
        self.added: Callable[[], None] = lambda: None
        self._at_most = at_most
        self._waiting: deque[Entry] = deque()
        self._samplers = {action: _Sampler(action, clock, self._append) for action in SAMPLED}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, entry: Entry) -> None:
        """Let an entry wait, unless enough like it were written in this minute. Never raises, never waits."""
        sampler = self._samplers.get(entry.action)
        if sampler is None or sampler.takes(entry):
            self._append(entry)

    def take(self, at_most: int) -> list[Entry]:
        """The oldest entries, which then wait no longer. Counts of what was left out come after their minute."""
        self._end_windows()
        return [self._waiting.popleft() for _ in range(min(at_most, len(self._waiting)))]

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Let entries wait again that could not be written."""
        room = max(self._at_most - len(self._waiting), 0)
        self.lost += max(len(entries) - room, 0)
        self._waiting.extendleft(reversed(entries[:room]))

    def close(self) -> None:
        """Add the counts of what was left out now, before their minute is over."""
        self._end_windows(early=True)

    def _append(self, entry: Entry) -> None:
        if len(self._waiting) >= self._at_most:
            self.lost += 1
            return
        self._waiting.append(entry)
        self.added()

    def _end_windows(self, *, early: bool = False) -> None:
        for sampler in self._samplers.values():
            sampler.end_windows(early=early)
