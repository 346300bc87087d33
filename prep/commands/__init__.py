"""The sub-commands of dataprep.py: their options and help, and the functions that run them.

The tables of options import only light modules. Each run function imports what it needs, because
some modules load scipy or torch, which `dataprep.py --help` does not need.
"""
