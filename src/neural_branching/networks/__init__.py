"""Networks of named stages. A branch point is the name of a stage, of any network."""
