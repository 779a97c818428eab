"""A sweep is a loop: one parent, one pass over the images, a branch for each setting."""

import neural_branching as nb

data = nb.sources.Glyphs(train_per_class=100, test_per_class=40, image_size=16)
parent = nb.parents.MLP([128, 64], dropout=0.1, fit={"epochs": 8})

for subset in ("digits", "upper"):
    for stage in ("hidden1", "hidden2"):
        branch = nb.Branch(subset, at=stage, fit={"epochs": 10, "lr": 1e-2})
        run = nb.Experiment(data, parent, branch).run("outputs")
        built = [name for name, artifact in run.results["artifacts"].items() if artifact["built"]]
        print(f"{subset} at {stage}: built {', '.join(built)}")

frame = nb.summary("outputs/runs")
print(frame.pivot(index="subset", columns="branch_point", values="test_accuracy"))
