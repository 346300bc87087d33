"""The words of lists and scores files for kinds of trials, and for real and spoofed speech."""

# The kinds of spoofing-aware trials: the claimed speaker, another speaker, spoofed speech.
TRIAL_KINDS = ("target", "nontarget", "spoof")
# What lists write as the attack of real speech. SpoofCeleb writes a00.
BONA_FIDE = ("bonafide", "-", "a00")
# The class of all spoofed speech, and the kind of trials with spoofed speech.
SPOOF = "spoof"
# The kinds of single files: the words of countermeasure protocols.
FILE_KINDS = ("bonafide", SPOOF)
