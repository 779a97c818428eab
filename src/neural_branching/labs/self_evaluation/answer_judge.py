"""What a parent answers to new examples, and how probably each answer is right."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from array_api_compat import array_namespace
from numpy.typing import NDArray
from torch import Tensor, nn

from neural_branching.artifacts.activations import BATCH
from neural_branching.data.inputs.adapter import InputAdapter
from neural_branching.data.inputs.text_inputs import TextInputs, packed
from neural_branching.labs.self_evaluation.confidences import BOTH, BRANCH, Regression, pair
from neural_branching.labs.self_evaluation.generation_spec import GenerationSpec
from neural_branching.labs.self_evaluation.stage_branches import READOUT
from neural_branching.labs.self_evaluation.written_answers import BATCH as PROMPTS
from neural_branching.networks.generation import generate
from neural_branching.networks.logit_lens import LogitLens
from neural_branching.networks.readout import stages_of
from neural_branching.networks.tokenizer import Tokenizer
from neural_branching.predictor import ExamplePredictor, HeadNetworks, Prediction, Step
from neural_branching.routing.hierarchy import UNCERTAIN
from neural_branching.selection.scores import formulas

Array = Any  # of numpy or torch


@dataclass(frozen=True)
class Decision:
    """What says how probably an answer is right, and from when on it is accepted.

    Attributes:
        stage: where the branch grows.
        both: joins the branch with the parent's own confidence; None where the branch says it alone.
        threshold: the least log-odds that are accepted; inf accepts nothing.
    """

    stage: str
    both: Regression | None
    threshold: float

    @property
    def name(self) -> str:
        """The confidence and the stage, as traces show them."""
        return f"{BRANCH if self.both is None else BOTH} at {self.stage}"

    def log_odds(self, branch: Array, own: Array) -> Array:
        """Log-odds that answers are right, from a branch's logits (n, 2) and the parent's own confidence."""
        xp = array_namespace(branch)
        wide = xp.astype(branch, xp.float64)
        odds = wide[:, 1] - wide[:, 0]
        return odds if self.both is None else self.both(pair(odds, own))


def probability(log_odds: Array) -> Array:
    """1 / (1 + exp(−log-odds))."""
    xp = array_namespace(log_odds)
    return formulas.softmax(xp.stack([xp.zeros_like(log_odds), log_odds], axis=1))[:, 1]


class Judge(ExamplePredictor):
    """A parent with a branch that says whether its answers are right.

    Args:
        decision: what is accepted.
        networks: the parent, and ``BRANCH`` among its branches.
        input: what an example is.
        device: where networks run.
        examples: some that the run was evaluated on, as the table holds them, (n, …).
        at_once: most examples of a pass.
    """

    def __init__(
        self,
        decision: Decision,
        networks: HeadNetworks,
        input: InputAdapter,
        device: torch.device,
        examples: NDArray[Any],
        at_once: int = BATCH,
    ) -> None:
        super().__init__(networks, input, device, examples, at_once)
        self.decision = decision

    @property
    def stages(self) -> tuple[str, ...]:
        """See ``ExamplePredictor.stages``."""
        asked = {stage for head in self.networks.heads.values() for stage in stages_of(head.stage)}
        ordered: tuple[str, ...] = self.networks.parent.network.ordered(asked | self._answered_at)
        return ordered

    @property
    def _answered_at(self) -> set[str]:
        """The stage that gives the parent's answer; none where it writes one."""
        return set()

    @abstractmethod
    def told(self, batch: Tensor) -> tuple[Sequence[str], NDArray[np.float64]]:
        """The parent's answers to examples as the table holds them, and the log-odds that each is right."""

    def answered(self, batch: Tensor) -> list[Prediction]:
        """See ``ExamplePredictor.answered``."""
        answers, odds = self.told(batch)
        threshold = self.decision.threshold
        # What accepts nothing is no probability.
        least = threshold if np.isinf(threshold) else float(probability(np.array([threshold]))[0])
        columns = answers, probability(odds).tolist(), (odds >= threshold).tolist()
        return [
            Prediction(
                answer=answer,
                path=(answer,) if accepted else (),
                confidence=share,
                accepted=accepted,
                trace=(Step(self.decision.name, answer, share, share, least, accepted),),
            )
            for answer, share, accepted in zip(*columns, strict=True)
        ]


class ClassifierJudge(Judge):
    """A judge of a parent that classifies, or of a stage's readout that answers for it.

    Args:
        labels: what can be answered.
        decision: what is accepted.
        networks: the parent, and ``BRANCH`` among its branches; where a readout answers ``READOUT`` too.
        input: what an example is.
        device: where networks run.
        examples: some that the run was evaluated on, as the table holds them, (n, …).
        at_once: most examples of a pass.
    """

    def __init__(
        self,
        labels: Sequence[str],
        decision: Decision,
        networks: HeadNetworks,
        input: InputAdapter,
        device: torch.device,
        examples: NDArray[Any],
        at_once: int = BATCH,
    ) -> None:
        super().__init__(decision, networks, input, device, examples, at_once)
        self.labels = tuple(labels)

    @property
    def answers(self) -> tuple[str, ...]:
        """See ``ExamplePredictor.answers``."""
        return (UNCERTAIN, *self.labels)

    @property
    def _answered_at(self) -> set[str]:
        return set() if READOUT in self.networks.heads else {"logits"}

    def rated(self, outputs: Mapping[str, Mapping[str, Array]]) -> tuple[Array, Array]:
        """Indices of the answers, and the log-odds that each is right.

        Args:
            outputs: what ``HeadNetworks.forward`` gives, arrays of numpy or torch.
        """
        logits = outputs["logits"]
        said = logits[READOUT] if READOUT in logits else outputs["parent"]["logits"]
        xp = array_namespace(said)
        own = formulas.log_odds(xp.astype(said, xp.float64))
        return xp.argmax(said, axis=1), self.decision.log_odds(logits[BRANCH], own)

    def told(self, batch: Tensor) -> tuple[Sequence[str], NDArray[np.float64]]:
        """See ``Judge.told``."""
        index, odds = self.rated(self.outputs(self.encoded(batch)))
        return [self.labels[one] for one in index], odds

    def program(self) -> nn.Module:
        """The judge as a module of tensor operations alone."""
        return _Program(self)


class _Program(nn.Module):
    def __init__(self, judge: ClassifierJudge) -> None:
        super().__init__()
        self.networks, self.stages = judge.networks, judge.stages
        self.rated, self.threshold = judge.rated, judge.decision.threshold

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Index into the judge's answers, probability that the answer is right, whether it is accepted."""
        index, odds = self.rated(self.networks(batch, self.stages))
        return index + 1, probability(odds).float(), odds >= self.threshold


class _OfQuestions(Judge):
    """A judge of a language model.

    Args:
        how: it is asked, and where the branch looks.
        decision: what is accepted.
        networks: the model without its head, and ``BRANCH``.
        input: texts, which are questions.
        device: where networks run.
        examples: some that the run was evaluated on, as the table holds them, (n, …).
        at_once: most examples of a pass.
    """

    def __init__(
        self,
        how: GenerationSpec,
        decision: Decision,
        networks: HeadNetworks,
        input: TextInputs,
        device: torch.device,
        examples: NDArray[Any],
        at_once: int = BATCH,
    ) -> None:
        super().__init__(decision, networks, input, device, examples, at_once)
        self.how, self.texts = how, input

    @property
    def answers(self) -> tuple[str, ...]:
        """Nothing that could be listed."""
        return (UNCERTAIN,)

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own."""
        found = self.networks.parent.network.tokenizer
        assert found
        return found

    def refused(self, examples: NDArray[Any]) -> dict[int, str]:
        """See ``ExamplePredictor.refused``: questions too long to be asked."""
        prompts = [self.how.prompt(question) for question in self.texts.decoded(examples)]
        if not prompts or not self.tokenizer.encode(prompts)[1]:
            return {}
        long = [place for place, prompt in enumerate(prompts) if self.tokenizer.encode([prompt])[1]]
        why = f"with what stands before it, it has more than {self.tokenizer.tokens} tokens"
        return dict.fromkeys(long, why)

    def seen(self, texts: Sequence[str]) -> dict[str, dict[str, NDArray[np.float32]]]:
        """What networks put out for what a branch sees."""
        return self.outputs(self.encoded(torch.tensor(packed(texts))))


class LensJudge(_OfQuestions):
    """A judge of a stage of a language model, which the model's own head reads.

    Args:
        lens: reads the stage, on the device.
        options: as the other judges of language models take them.
    """

    def __init__(self, lens: LogitLens, *options: Any) -> None:
        super().__init__(*options)
        self.lens = lens

    def told(self, batch: Tensor) -> tuple[Sequence[str], NDArray[np.float64]]:
        """See ``Judge.told``: the first token of each answer."""
        found = self.seen([self.how.prompt(question) for question in self.texts.decoded(batch)])
        read = self.lens(torch.from_numpy(found["vectors"][BRANCH]), self.decision.stage)
        answers = [self.tokenizer.text([int(token)]).strip() for token in read.token]
        return answers, self.decision.log_odds(found["logits"][BRANCH], read.log_probability)


class LanguageModelJudge(_OfQuestions):
    """A judge of a language model that writes its answers.

    Args:
        model: the causal language model, in evaluation mode.
        options: as the other judges of language models take them.
    """

    def __init__(self, model: nn.Module, *options: Any) -> None:
        super().__init__(*options)
        self.model = model.to(self.device)

    def told(self, batch: Tensor) -> tuple[Sequence[str], NDArray[np.float64]]:
        """See ``Judge.told``."""
        questions = self.texts.decoded(batch)
        prompts = [self.how.prompt(question) for question in questions]
        written = generate(self.model, self.tokenizer, prompts, self.how.tokens, PROMPTS)
        answers = [one.text for one in written]
        pairs = zip(questions, answers, strict=True)
        found = self.seen([self.how.seen(question, answer) for question, answer in pairs])
        own = np.array([sum(one.log_probability) for one in written])
        return answers, self.decision.log_odds(found["logits"][BRANCH], own)
