"""Autoencoders, sparse layers, losses, optimisers and the training loop that sparse matrices and images share."""

from recsys_ae.core.threads import spin_briefly

spin_briefly()
