"""Autoencoders, sparse layers, losses, optimisers and the training loop that sparse matrices and images share."""

import sys

if "torch" in sys.modules:  # otherwise it will be loaded with the settings of `recsys_ae`; kernels alone do not need it
    from recsys_ae.core.threads import spin_briefly

    spin_briefly()
