"""What a pickle says, written down: a reader of its instructions that calls nothing.

A pickle is a program for a machine with a stack; its instructions may name any callable and call
it. Here a name is a `Name`, a call is a `Call` and an outside reference a `Reference`: records of
what was asked for. No name is looked up and nothing is imported, so nothing can be run, whatever
the file holds.
"""

import dataclasses
import itertools
import pickletools
from collections.abc import Callable, Collection
from typing import IO, Any

from dilax.data._dataset import DataError

MAX_INSTRUCTIONS = 2**20
"""More than any file has that is read here; each takes memory."""
DICTIONARY = "collections.OrderedDict"
"""The one callable whose result is known here: a call of it stands for a dictionary."""

_MARK = object()
_PUSHED = {
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINSTRING",
    "SHORT_BINSTRING",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
}
_MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclasses.dataclass(frozen=True, eq=False)
class Name:
    """A callable or class that the pickle names: its module and its name, with a dot."""

    text: str


@dataclasses.dataclass(eq=False)
class Call:
    """A call that the pickle asks for, which was not made."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None
    """What the pickle then gives to the result, to be its attributes."""


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """Something that lies outside the pickle, by its identity there."""

    identity: Any


def read(file: IO[bytes], names: Collection[str]) -> Any:
    """What the next pickle in ``file`` builds; the file is then just behind it.

    Args:
      file: opened in binary mode, or ``io.BytesIO``.
      names: the callables and classes that the pickle may name, beside `DICTIONARY`.

    Raises:
      DataError: when it names anything else, has an instruction that plain arrays, lists and
        dictionaries do not need, or more than `MAX_INSTRUCTIONS`.
      ValueError, LookupError, TypeError, AttributeError: when it is damaged.

    >>> import io, pickle
    >>> read(io.BytesIO(pickle.dumps({"shape": (3, 4)}, protocol=2)), names=())
    {'shape': (3, 4)}
    """
    machine = _Machine(names)
    for opcode, argument, _ in itertools.islice(pickletools.genops(file), MAX_INSTRUCTIONS):
        if opcode.name == "STOP":
            return machine.stack.pop()
        machine.step(opcode.name, argument)
    raise DataError(f"it has more than {MAX_INSTRUCTIONS} instructions")


class _Machine:
    """A stack and a memory, and what the instructions do with them."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = {*names, DICTIONARY}
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Obey one instruction."""
        if name in _PUSHED:
            self.stack.append(argument)
        elif name in _MADE:
            self.stack.append(_MADE[name]())
        elif name in _TUPLES:
            self.stack.append(tuple(self._popped(_TUPLES[name])))
        elif name in _INSTRUCTIONS:
            _INSTRUCTIONS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise DataError(f"it has the instruction {name}, which no plain data has")

    def _popped(self, count: int) -> list[Any]:
        values = [self.stack.pop() for _ in range(count)]
        return values[::-1]

    def _marked(self) -> list[Any]:
        """Take everything down to the last mark."""
        values = list(iter(self.stack.pop, _MARK))
        return values[::-1]

    def tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._marked()))

    def append(self, _: Any) -> None:
        value = self.stack.pop()
        list.append(self.stack[-1], value)

    def extend(self, _: Any) -> None:
        values = self._marked()
        list.extend(self.stack[-1], values)

    def set_item(self, _: Any) -> None:
        self._fill(self._popped(2))

    def set_items(self, _: Any) -> None:
        self._fill(self._marked())

    def _fill(self, values: list[Any]) -> None:
        pairs = zip(values[::2], values[1::2], strict=True)
        dict.update(self.stack[-1], _dictionary(pairs))

    def keep(self, place: int) -> None:
        self.memory[place] = self.stack[-1]

    def keep_next(self, _: Any) -> None:
        self.memory[len(self.memory)] = self.stack[-1]

    def recall(self, place: int) -> None:
        self.stack.append(self.memory[place])

    def name(self, text: str) -> None:
        self._name(*text.split(" ", 1))

    def name_on_stack(self, _: Any) -> None:
        self._name(*self._popped(2))

    def _name(self, module: str, name: str) -> None:
        text = f"{module}.{name}"
        if text not in self.names:
            raise DataError(
                f"it asks for {text[:100]}, which no plain data does; nothing was run. Do not "
                f"trust this file"
            )
        self.stack.append(Name(text))

    def call(self, _: Any) -> None:
        name, arguments = self._popped(2)
        known = name.text == DICTIONARY
        made = _dictionary(*arguments) if known else Call(name.text, tuple(arguments))
        self.stack.append(made)

    def refer(self, _: Any) -> None:
        self.stack.append(Reference(self.stack.pop()))

    def attributes(self, _: Any) -> None:
        """Those of the object below; a dictionary's (versions of layers) mean nothing here."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Call):
            self.stack[-1].state = state


_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "TUPLE": _Machine.tuple,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "BINPUT": _Machine.keep,
    "LONG_BINPUT": _Machine.keep,
    "MEMOIZE": _Machine.keep_next,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_on_stack,
    "REDUCE": _Machine.call,
    "BINPERSID": _Machine.refer,
    "BUILD": _Machine.attributes,
}


def _dictionary(pairs: Any = ()) -> dict[str, Any]:
    """A dictionary of names; a name that comes twice, or a key of another type, is an error."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str) or key in found:
            raise DataError("its dictionaries have keys that are twice there, or no text")
        found[key] = value
    return found
