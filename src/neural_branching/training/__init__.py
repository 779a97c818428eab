"""Parents and branches as LightningModules, their recipe, one fit, and stacks of branches."""
