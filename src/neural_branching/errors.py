"""The one kind of error that a user of this package is meant to read."""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches

# More names than this are not listed in a sentence.
MANY = 40
# Bytes that a name may have in the name of a folder, of which file systems take 255.
LONG = 100


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence that names the value, the place and what is allowed. The
    command line prints it without a traceback; library users catch it as a ``ValueError``.
    """


class ArgumentError(InputError):
    """A constructor's argument has a value that is not allowed.

    Args:
        argument: name of the argument. Whoever builds the object from a configuration puts the
            place in front ("parent.fit." + "lr"), so that the sentence names what the user typed.
        problem: the rest of the sentence.
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument} {problem}")
        self.argument = argument
        self.problem = problem


def one_of(value: object, allowed: Iterable[str], argument: str) -> str:
    """Return ``value`` if it is among ``allowed``.

    Raises:
        ArgumentError: otherwise, naming the nearest allowed value and then all of them, or the five
            nearest if they are many.
    """
    names = list(allowed)
    if isinstance(value, str) and value in names:
        return value
    if len(names) > MANY:
        near = get_close_matches(str(value), names, n=5, cutoff=0) or names[:5]
        raise ArgumentError(
            argument, f"is {value!r}, which is unknown: the nearest of {len(names)} are {', '.join(near)}."
        )
    near = get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ArgumentError(argument, f"is {value!r}, which is unknown: {hint}allowed are {', '.join(names)}.")


def each_of(values: Iterable[object], allowed: Iterable[str], argument: str) -> list[str]:
    """Return the values if each is among ``allowed``.

    Raises:
        ArgumentError: as ``one_of``, for the first that is not.
    """
    names = dict.fromkeys(allowed)
    return [
        value if isinstance(value, str) and value in names else one_of(value, names, argument)
        for value in values
    ]


def printable(name: object) -> str:
    """A name of a file for a sentence: bytes that are no UTF-8 as escapes, which any output can print."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def number(
    value: object,
    argument: str,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return ``value`` as a float if it is a finite number within [low, high], ends left out if open.

    Raises:
        ArgumentError: for text, booleans, nan and numbers outside the range.
    """
    open_low, open_high = open_low or low == -float("inf"), open_high or high == float("inf")
    bounds = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    inside = (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and (low < value if open_low else low <= value)
        and (value < high if open_high else value <= high)
    )
    if not inside:
        allowed = "finite number" if bounds == "(-inf, inf)" else f"number within {bounds}"
        raise ArgumentError(argument, f"is {value!r}: it must be a {allowed}.")
    return float(value)  # type: ignore[arg-type]


def whole(value: object, argument: str, low: int) -> int:
    """Return ``value`` if it is an integer of at least ``low``.

    Raises:
        ArgumentError: otherwise.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ArgumentError(argument, f"is {value!r}: it must be a whole number of at least {low}.")
    return value


def switch(value: object, argument: str) -> bool:
    """Return ``value`` if it is true or false.

    Raises:
        ArgumentError: otherwise.
    """
    if not isinstance(value, bool):
        raise ArgumentError(argument, f"is {value!r}: it must be true or false.")
    return value


def folder_name(value: object, argument: str) -> str:
    """Return ``value`` if it can be a part of a folder's name, beside a date and a branch point.

    Raises:
        ArgumentError: otherwise.
    """
    if not isinstance(value, str) or not re.fullmatch(r"[\w.+-]+", value):
        raise ArgumentError(argument, f"is {value!r}: only letters, digits and _.+- can name a folder.")
    if (size := len(value.encode())) > LONG:
        raise ArgumentError(
            argument, f"is {value[:20]}…, which has {size} bytes: at most {LONG} can name a folder."
        )
    return value


def refused_file(error: BaseException) -> InputError | None:
    """The sentence for what a file system refuses: no room, no permission, a disk that is read-only.

    Returns:
        None for any other error.
    """
    if is_full_disk(error):
        place = getattr(error, "filename", None) or "what is written"
        return InputError(
            f"The disk that holds {place} is full: free some space or choose another; what was finished "
            "before is kept."
        )
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return InputError(f"{error.filename} cannot be read or written ({error.strerror}).")
    return None


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that a disk, or somebody's share of it, is full."""
    # safetensors and numpy have words of their own for it: "1000 requested and 300 written".
    words = re.search(r"No space left on device|^\d+ requested and \d+ written$", str(error))
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or words is not None
