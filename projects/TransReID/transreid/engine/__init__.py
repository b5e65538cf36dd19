"""What a training of TransReID has beside FastReID's: a watch over its embedding."""
