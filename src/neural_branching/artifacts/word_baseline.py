"""What a text's words alone tell of its class: TF-IDF and logistic regression, without any parent."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from neural_branching.artifacts.activations import subset_targets
from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.workspace import Workspace
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.data.inputs.text_inputs import TextInputs
from neural_branching.store.artifact_store import Artifact, Facts

RECIPE = 1
LOGITS = "logits.safetensors"
STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # inverse ones of the penalty, of which validation chooses


def ensure_words(workspace: Workspace, spec: BranchSpec) -> Artifact:
    """Logits of the test texts of a branch's classes, found or computed from its own training texts."""
    table, adapter = workspace.table, workspace.parent.input
    assert isinstance(adapter, TextInputs)
    rows = {
        split: table.rows(split, spec.classes, per_class=spec.examples_per_class)
        for split in ("train", "validation", "test")
    }
    identity = {
        "recipe": RECIPE,
        "data": table.artifact.key,
        "split": table.split_key,
        "groups": spec.groups,
        "examples_per_class": spec.examples_per_class,
        "strengths": STRENGTHS,
    }

    def fit(folder: Path) -> Facts:
        from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import
        from sklearn.linear_model import LogisticRegression

        whole = ensure_data(workspace.data, workspace.store, content=True, fingerprint=table.artifact.key)
        texts = {split: adapter.decoded(whole.examples()[mine]) for split, mine in rows.items()}
        y = {split: subset_targets(table, mine, spec.groups) for split, mine in rows.items()}
        words = TfidfVectorizer(sublinear_tf=True).fit(texts["train"])
        x = {split: words.transform(some) for split, some in texts.items()}
        fitted = [LogisticRegression(C=c, max_iter=1000).fit(x["train"], y["train"]) for c in STRENGTHS]
        best = max(fitted, key=lambda one: one.score(x["validation"], y["validation"]))
        logits = torch.from_numpy(best.predict_log_proba(x["test"])).float()
        save_file({"logits": logits}, folder / LOGITS)
        # Of a text only the words that it has are multiplied.
        macs = round(x["test"].nnz / len(rows["test"]) * logits.shape[1])
        return {"c": best.C, "macs": macs, "parameters": int(best.coef_.size + best.intercept_.size)}

    return workspace.store.fetch("words", identity, fit, needs=(LOGITS,))
