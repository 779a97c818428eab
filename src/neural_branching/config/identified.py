"""What two specs are compared by: the plain values that decide what is computed."""

import json
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

from neural_branching.store.artifact_store import canonical


class Identified(ABC):
    """Something that equals another if what it describes is the same."""

    @property
    @abstractmethod
    def described(self) -> Any:
        """Plain values that decide what is computed from it."""

    @cached_property
    def text(self) -> str:
        """The same as text."""
        return json.dumps(canonical(self.described), sort_keys=True)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)
