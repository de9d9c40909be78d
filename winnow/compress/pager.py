"""A cache at work: it holds k values, asks a loader for those it lacks, and evicts by the policies of `paging`.

Policies: Antoniadis et al., "Paging with Succinct Predictions", ICML 2023; see `winnow.compress.paging`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, Literal, TypeVar, get_args

from winnow.errors import InputError

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Policy = Literal["lru", "lfu", "fifo", "blind", "flush_when_all_0", "mark_and_predict_lru"]
"""The deterministic ones; randomised policies are for `simulate`."""


class _Slot(Generic[Value]):
    """What is known of a key that is held."""

    def __init__(self, value: Value, now: int) -> None:
        self.value, self.entered = value, now
        self.last, self.uses, self.bit, self.marked = now, 0, 0, False


class Pager(Generic[Key, Value]):
    """Holds the values of at most k keys, all of one size; may be asked by several threads.

    loader: brings in the value of a key. `faults`, `hits` and `evictions` count. Raises InputError for k below 1 and an
    unknown policy; what the loader raises passes through and leaves the cache as it was.
    """

    def __init__(self, k: int, policy: Policy, loader: Callable[[Key], Value]) -> None:
        if k < 1:
            raise InputError(f"k: is {k}; a cache holds 1 value or more")
        if policy not in get_args(Policy):
            raise InputError(f"policy: unknown name {policy!r}; use one of {', '.join(get_args(Policy))}")
        self.k, self.policy, self.loader = k, policy, loader
        self.faults = self.hits = self.evictions = 0
        self._held: dict[Key, _Slot[Value]] = {}
        self._now = 0
        # One lock for all: a loader that is slow keeps others waiting, and no key is ever loaded twice at once.
        self._lock = threading.Lock()

    def get(self, key: Key, bit: int = 0) -> Value:
        """The value of a key; bit is what is foretold of it, 1 that it may go. InputError for another bit."""
        if bit not in (0, 1):
            raise InputError(f"bit: is {bit}; give 0 or 1")
        with self._lock:
            slot = self._held.get(key)
            if slot is None:
                slot = _Slot(self.loader(key), self._now)
                self.faults += 1
                if len(self._held) == self.k:
                    for victim in self._victims():
                        del self._held[victim]
                        self.evictions += 1
                self._held[key] = slot
            else:
                self.hits += 1
            slot.bit, slot.marked, slot.last = bit, True, self._now
            slot.uses += 1
            self._now += 1
            return slot.value

    def _victims(self) -> list[Key]:
        held = self._held
        told = [key for key, slot in held.items() if slot.bit == 1]
        if self.policy == "flush_when_all_0" and not told:
            return list(held)
        choice = list(held)
        if self.policy in ("flush_when_all_0", "blind"):
            choice = told or choice
        elif self.policy == "mark_and_predict_lru":
            if all(slot.marked for slot in held.values()):  # a new phase
                for slot in held.values():
                    slot.marked = False
            choice = [key for key, slot in held.items() if not slot.marked]
            choice = [key for key in choice if held[key].bit == 1] or choice
        elif self.policy == "fifo":
            return [min(choice, key=lambda key: held[key].entered)]
        elif self.policy == "lfu":  # of equals the least recent
            return [min(choice, key=lambda key: (held[key].uses, held[key].last))]
        return [min(choice, key=lambda key: held[key].last)]

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: object) -> bool:
        return key in self._held
