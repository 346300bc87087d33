"""What a run of trainSpeakerNet.py is made of: batches, checkpoints, the memory it may take, and the task, checked before the first step."""
