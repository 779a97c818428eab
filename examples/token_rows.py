"""Every token of a text as a row, with its text as the group: splits and certificates count texts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel, PreTrainedModel

import neural_branching as nb


@torch.inference_mode()
def dump(
    model: PreTrainedModel,
    texts: Sequence[Sequence[int]],
    labels: Sequence[str],
    layers: Sequence[int],
    folder: Path,
) -> None:
    """Write the hidden states of some layers, a row for each token, with label and group."""
    model.eval()
    # One text at a time, so that no token is padding.
    states = [model(torch.tensor([ids]), output_hidden_states=True).hidden_states for ids in texts]
    folder.mkdir()
    for layer in layers:
        np.save(folder / f"layer{layer}.npy", torch.cat([one[layer][0] for one in states]).numpy())
    lengths = [len(ids) for ids in texts]
    np.save(folder / "labels.npy", np.repeat(labels, lengths))
    np.save(folder / "groups.npy", np.repeat(np.arange(len(texts)), lengths))


if __name__ == "__main__":
    # In your place: AutoModel.from_pretrained(NAME), and what its tokenizer makes of your texts.
    torch.manual_seed(0)
    model = BertModel(
        BertConfig(
            vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
        )
    )
    rng = np.random.default_rng(0)
    labels = [("low", "high")[number % 2] for number in range(800)]
    # Texts of one class have ids of 0 to 21, those of the other of 18 to 39: some tokens may be of either.
    texts = [rng.integers(*((0, 22) if label == "low" else (18, 40)), size=8).tolist() for label in labels]
    dump(model, texts, labels, [0, 2], Path("tokens"))
    for layer in ("layer0", "layer2"):
        experiment = nb.Experiment(
            data=nb.sources.Vectors("tokens"),
            parent=nb.parents.Identity(),
            branches=nb.Branch(
                ["low", "high"],
                at=layer,
                kind="linear",
                fit={"epochs": 10},
                threshold=nb.thresholds.RandomWalk(target=0.2),
            ),
        )
        node = experiment.run("outputs").results["nodes"]["custom"]
        [found] = node["thresholds"]
        print(
            f"{layer}: accuracy {found['test']['accuracy']:.3f}, coverage {found['test']['coverage']:.3f}, "
            f"certified with {found['threshold']['n']} calibration {found['threshold']['unit']}"
        )
