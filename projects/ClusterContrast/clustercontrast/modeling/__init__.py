"""Model of cluster contrast: head, BatchNorm in groups, meta-architecture."""
