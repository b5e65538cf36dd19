"""From distances to CMC, mAP, mINP, ROC and the first K."""
