"""What a network is good for. evaluation: from trials to scores and metrics, while it is trained and after. checkpoint: --eval, --check, --extract, --generate,
--verify, and with the help of all_pairs, averaging (the mean of checkpoints) and export (ONNX files) --all_pairs, --average and --export. Needs nothing of
training."""
