"""How well the steps that a model writes do, on labelled examples."""
