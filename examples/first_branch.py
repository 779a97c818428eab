"""A parent on rendered characters, frozen, and a branch for the digits on its second hidden layer."""

import neural_branching as nb

experiment = nb.Experiment(
    data=nb.sources.Glyphs(train_per_class=100, test_per_class=40, image_size=16),
    parent=nb.parents.MLP([128, 64], dropout=0.1, fit={"epochs": 8}),
    branches=nb.Branch(
        "digits", at="hidden2", threshold=nb.thresholds.Coverage(0.7), fit={"epochs": 10, "lr": 1e-2}
    ),
)
run = experiment.run("outputs")

[row] = run.summary().to_dict("records")
print(f"test accuracy {row['test_accuracy']:.3f} of all answers")
print(f"{row['test_selective_accuracy']:.3f} of the {row['test_coverage']:.0%} that are accepted")

vectors, labels = run.activations("hidden2", split="test")
print(f"a branch sees {vectors.shape[1]} numbers of each of {len(labels)} test images")

for name, figure in run.figures().items():
    figure.savefig(f"{name}.png")
