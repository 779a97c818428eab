"""The only room that knows what an example is: sources, input adapters, one table, splits, subsets."""
