"""What a network is good for. evaluation: from trials to scores and metrics, while it is trained and after. checkpoint: --eval, --check, --extract, --generate,
--verify, --average and --export. averaging: the mean of checkpoints. export: ONNX files. Needs nothing of training."""
