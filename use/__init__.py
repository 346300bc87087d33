"""What a network is good for. evaluation: from trials to scores and metrics, while it is trained and after. checkpoint: --eval, --check, --extract, --generate
and --verify. Needs nothing of training."""
