"""Image autoencoders by the names that pipelines use; encoder, losses, corruption and training are those of `core`."""

from recsys_ae.registry import Registry

IMAGE_MODELS = Registry(
    "image model",
    {
        "dense": "recsys_ae.images.dense:DenseAutoencoder",
        "stacked": "recsys_ae.images.stacked:StackedAutoencoder",
        "convolutional": "recsys_ae.images.convolutional:ConvolutionalAutoencoder",
        "variational": "recsys_ae.images.variational:VariationalImages",
        "pca": "recsys_ae.images.principal:PrincipalComponents",
    },
)
