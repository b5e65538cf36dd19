"""What a run shows of its clusters: contact sheets, and tables of pseudo labels."""
