"""What a network is good for. evaluation: from trials to scores and metrics, while it is trained and after. checkpoint: --eval, --check, --extract, --generate,
--verify and --all_pairs, the last by all_pairs. Needs nothing of training."""
