"""Reports about runs: HTML pages, DET plots, training curves and TensorBoard files."""
