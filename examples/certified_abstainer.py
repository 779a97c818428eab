"""From a finished run to an abstainer whose error is certified, and its answers to new images."""

import neural_branching as nb

data = nb.sources.Glyphs(
    train_per_class=200,
    test_per_class=40,
    image_size=16,
    split={"train": 0.6, "validation": 0.1, "calibration": 0.3},
)
parent = nb.parents.MLP([128, 64], dropout=0.1, fit={"epochs": 8})
rule = nb.thresholds.RandomWalk(target=0.3, delta=0.1)
branch = nb.Branch("digits", at="hidden2", threshold=rule, fit={"epochs": 10, "lr": 1e-2})
run = nb.Experiment(data, parent, branch).run("outputs")

[threshold] = run.results["nodes"]["digits"]["thresholds"]
print(threshold["threshold"]["promise"])
print(f"test: {threshold['test']['selective_accuracy']:.3f} of {threshold['test']['coverage']:.0%} right")

predictor = nb.load(run.folder)  # as another process would; run.predict does the same
for answer in predictor.predict(predictor.examples[:5]):
    print(answer.answer or "no answer", f"{answer.confidence:.2f}")
