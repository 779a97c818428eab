"""What a network must offer to be branched from: named stages, and a forward pass that stops at one."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from neural_branching.errors import one_of
from neural_branching.selection.array_types import Bool, Shaped

if TYPE_CHECKING:
    from neural_branching.networks.tokenizer import Tokenizer

Stays = Callable[[str, Shaped[Tensor, "m ..."]], Tensor]


class Network(nn.Module):
    """A network whose intermediate outputs have names; the last of them, if it gives logits, is "logits".

    Attributes:
        class_token: the first stage at which the first of the tokens (n, tokens, width) stands for the
            input; None if none ever does. Before it a class token is the same for every input.
        last_token: whether the last of the tokens stands for the input, as in a causal language model.
        tokenizer: what makes token ids of texts, by which such a network takes them; else None.
        pass_recipe: version of how a pass hands out stages, part of the key of their activations.
    """

    class_token: str | None = None
    last_token: bool = False
    tokenizer: "Tokenizer | None" = None
    pass_recipe: int = 1

    @property
    @abstractmethod
    def stage_names(self) -> tuple[str, ...]:
        """Names of all stages in the order of their computation; "logits", if there are any, is the last."""

    @property
    def main_stages(self) -> tuple[str, ...]:
        """The stages whose activations are worth keeping together, "logits" among them if there are any."""
        return self.stage_names

    def place(self, stage: str, argument: str = "stage") -> int:
        """Number of a stage in the order of their computation.

        Args:
            stage: its name.
            argument: what the name is of, for messages.

        Raises:
            InputError: if there is no stage of that name.
        """
        return self.stage_names.index(one_of(stage, self.stage_names, argument))

    def ordered(self, stages: Iterable[str]) -> tuple[str, ...]:
        """Stages in the order of their computation; elements of one by their names."""
        return tuple(sorted(stages, key=lambda stage: (self.place(stage), stage)))

    def has_class_token(self, stage: str) -> bool:
        """Whether the first of a stage's tokens, if it has tokens, stands for the input."""
        return self.class_token is not None and self.place(self.class_token) <= self.place(stage)

    def token_readout(self, stage: str) -> str | None:
        """The readout of the token that stands for the input at a stage; None if none does."""
        if self.last_token:
            return "last_token"
        return "class_token" if self.has_class_token(stage) else None

    def mask(self, x: Shaped[Tensor, "n ..."]) -> Bool[Tensor, "n tokens"] | None:
        """Which places of a batch of token ids hold tokens of a text; None for anything else.

        Args:
            x: input batch.
        """
        return None if self.tokenizer is None else x >= 0

    @property
    def resolved(self) -> Mapping[str, Any]:
        """What the configuration leaves to the network: plain values that decide what it computes."""
        return {}

    @property
    def bare(self) -> nn.Module:
        """The module that weights trained elsewhere belong to."""
        return self

    @abstractmethod
    def walk(
        self, x: Shaped[Tensor, "n ..."], stages: Sequence[str]
    ) -> Iterator[tuple[str, Shaped[Tensor, "n ..."]]]:
        """Name and output of some stages, in order, from one pass that ends with the last of them.

        Args:
            x: input batch.
            stages: names among ``stage_names``.
        """

    def walk_while(self, x: Shaped[Tensor, "n ..."], stages: Sequence[str], stays: Stays) -> None:
        """One pass from which examples leave: behind each of some stages only those go on that stay.

        What has left is not computed any further, in networks that can: this one computes everything.

        Args:
            x: input batch.
            stages: names among ``stage_names``.
            stays: from the name of a stage and its output for the m examples that are still there, which of
                them go on, bool (m,).
        """
        left = torch.arange(len(x), device=x.device)
        for name, output in self.walk(x, stages):
            left = left[stays(name, output[left])]
            if not len(left):
                return

    def forward(self, x: Shaped[Tensor, "n ..."], until: str | None = None) -> Shaped[Tensor, "n ..."]:
        """Run the network up to and including a stage; later stages cost nothing.

        Args:
            x: input batch.
            until: name of the last stage to run; None for the last of all.

        Raises:
            InputError: if there is no stage of that name.
        """
        last = self.stage_names[-1] if until is None else until
        self.place(last, "until")
        ((_, output),) = self.walk(x, (last,))
        return output
