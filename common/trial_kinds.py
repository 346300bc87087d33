"""Kinds of trials, and what lists call real and spoofed speech."""

# of spoofing-aware trials
TRIAL_KINDS = ("target", "nontarget", "spoof")
# the attack of real speech; a00: SpoofCeleb
BONA_FIDE = ("bonafide", "-", "a00")
# the class of all spoofed speech; and a kind of trials
SPOOF = "spoof"
