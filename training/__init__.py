"""A run of trainSpeakerNet.py: batches, checkpoints, memory, and the task.

The task is checked before the first step.
"""
