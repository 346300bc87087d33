"""Kinds of trials, and what lists call real and spoofed speech."""

KINDS = ("target", "nontarget", "spoof")                                                      # of spoofing-aware trials
REAL = ("bonafide", "-", "a00")                                                               # the attack of real speech; a00: SpoofCeleb
SPOOF = "spoof"                                                          # the class of all spoofed speech; and a kind of trials
