"""From a run's numbers to results.json, tables, figures, TensorBoard events and sweep summaries."""
