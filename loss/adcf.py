"""The a-DCF as a loss (Kurnaz et al., arXiv:2407.04034), on the trials of each batch.

It trains the metric of spoofing-aware verification itself. loss/_adcf.py has the definition, and
says which trials a batch has. Add it to another loss with --trainfunc sasv_e2e_v1 --adcf_weight 1.

    python trainSpeakerNet.py --trainfunc adcf --num_spk 20 --num_utt 2 --batch_size 80 ...
"""

from loss._adcf import AdcfSettings, TrialCost

DEFAULTS = AdcfSettings()


class LossFunction(TrialCost):
    """AdcfSettings declares the options. The scores are cosines.

    Raises ValueError if the weight is 0.
    """

    def __init__(self, *, settings: AdcfSettings = DEFAULTS):
        if not settings.adcf_weight:
            raise ValueError(
                "--adcf_weight: expected a number above 0, because --trainfunc adcf has no other "
                "term, found 0."
            )
        super().__init__(settings)
