"""Names that DATALOADER.SAMPLER_TRAIN may have."""

IDENTITY_SAMPLERS = {"NaiveIdentitySampler", "BalancedIdentitySampler", "SetReWeightSampler"}
# A project whose trainer builds other samplers adds their names to this set.
SAMPLERS = {"TrainingSampler", "ImbalancedDatasetSampler", *IDENTITY_SAMPLERS}
