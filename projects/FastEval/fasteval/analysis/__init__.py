"""What results files tell: intervals, cameras, identities, comparisons."""
