"""Neural branching: grow small, selective networks from the hidden layers of a frozen parent.

``data → parent → activations → branch → threshold → report``: each arrow is one step, each step
has one room in this package, and nothing flows back.

- ``data`` knows pixels: sources, splits, subsets of classes, augmentation.
- ``networks`` are ordered sequences of named stages; a *branch point* is the name of a stage.
- ``parent`` is trained once on all classes and then frozen.
- ``activations`` holds the parent's outputs at every stage, computed in one pass and stored.
- ``branch`` is trained on the activations of one stage, for a subset of the classes.
- ``selection`` decides when a branch answers and when it abstains.
- ``report`` turns results into tables, figures and TensorBoard events.
- ``store`` keeps parents, activations and branches, so that nothing is computed twice.
- ``pipeline`` is the whole flow on one page.

Importing this package imports nothing heavy.
"""

__version__ = "0.1.0"
