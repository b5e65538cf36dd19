"""From features to pseudo labels: distances, clusters, constraints, the choice of eps."""
