"""Results files: one evaluation, to be analysed without the model."""
