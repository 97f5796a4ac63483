"""A learned codec of the whole pyramid: all levels to one latent, distilled from the heads."""
